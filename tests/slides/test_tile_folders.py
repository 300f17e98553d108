"""Slides that are folders of tiles: Deep Zoom and OME-Zarr, through the verbs of slides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
import pytest
import tifffile
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.masks import write_mask
from histomend.slides.scans import open_scan
from histomend.slides.tile_folders import folder_sha256
from histomend.slides.whole import is_whole_slide, open_slide

SIDE = 100


def halved(pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[:2]
    return cv2.resize(pixels, (-(-w // 2), -(-h // 2)), interpolation=cv2.INTER_AREA)


def deep_zoom(path: Path, pixels: np.ndarray, overlap: int = 3, suffix: str = "png") -> Path:
    """Write tiles as DeepZoomTools does: level 0 is one pixel, tiles share what overlaps."""
    h, w = pixels.shape[:2]
    size = f'<Size Width="{w}" Height="{h}"/>'
    path.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><Image xmlns="http://schemas.microsoft.com/deepzoom/'
        f'2008" TileSize="{SIDE}" Overlap="{overlap}" Format="{suffix}">{size}</Image>'
    )
    for level in range((max(h, w) - 1).bit_length(), -1, -1):
        folder = path.with_name(f"{path.stem}_files") / str(level)
        folder.mkdir(parents=True)
        for top in range(0, pixels.shape[0], SIDE):
            for left in range(0, pixels.shape[1], SIDE):
                y, x = max(0, top - overlap), max(0, left - overlap)
                tile = pixels[y : top + SIDE + overlap, x : left + SIDE + overlap]
                name = f"{left // SIDE}_{top // SIDE}.{suffix}"
                PIL.Image.fromarray(tile).save(folder / name, quality=95)
        pixels = halved(pixels)
    return path


def ome_zarr(path: Path, pixels: np.ndarray, version: str = "0.5", axes: str = "czyx") -> Path:
    """Write three levels in chunks, as a converter of slides does."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    sets = []
    for level in range(3):
        order = [axis for axis in axes if axis in "yxc"]
        values = pixels.transpose(["yxc".index(axis) for axis in order])
        for number, axis in enumerate(axes):
            if axis in "tz":
                values = np.expand_dims(values, number)
        chunks = tuple(min(64, side) for side in values.shape)
        array = group.create_array(
            str(level), shape=values.shape, chunks=chunks, dtype=values.dtype
        )
        array[:] = values
        scale = [0.5 * 2**level if axis in "yx" else 1.0 for axis in axes]
        sets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
        pixels = halved(pixels)
    kinds = {"c": "channel", "t": "time"}
    named: list[dict[str, Any]] = [
        {"name": axis, "type": kinds.get(axis, "space"), "unit": "micrometer"} for axis in axes
    ]
    said = {"multiscales": [{"axes": named, "datasets": sets, "version": version}]}
    group.attrs.update({"ome": {**said, "version": version}} if version == "0.5" else said)
    return path


MAKERS = {
    "dzi": lambda path, pixels: deep_zoom(path / "s.dzi", pixels),
    "dzi without overlap": lambda path, pixels: deep_zoom(path / "s.dzi", pixels, 0),
    "zarr 0.5": lambda path, pixels: ome_zarr(path / "s.ome.zarr", pixels),
    "zarr 0.4": lambda path, pixels: ome_zarr(path / "s.zarr", pixels, "0.4", "tczyx"),
    "zarr of pixels": lambda path, pixels: ome_zarr(path / "s.zarr", pixels, "0.5", "yxc"),
    "zarr of 16 bits": lambda path, pixels: ome_zarr(path / "s.zarr", pixels.astype("u2") * 257),
}


@pytest.fixture
def pixels(tissue: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tissue[:417, :503])


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_regions_of_all_levels_are_those_of_the_image(
    kind: str, pixels: np.ndarray, tmp_path: Path
) -> None:
    path = MAKERS[kind](tmp_path, pixels)
    deep = 257 if "16" in kind else 1
    assert is_whole_slide(path)
    with open_slide(path) as slide:
        assert slide.size == (503, 417)
        assert slide.about.mpp == (0.5 if "zarr" in kind else None)
        assert slide.about.lossy is False
        assert slide.reader.factors == [1, 2, 4][: len(slide.reader.levels)]
        for level, factor in enumerate(slide.reader.factors):
            expected = pixels.astype(np.uint16) * deep if deep > 1 else pixels
            for _ in range(level):
                expected = halved(expected)
            assert slide.reader.levels[level] == (expected.shape[1], expected.shape[0])
            for x, y, w, h in ((0, 0, 70, 60), (95, 90, 30, 25), (100, 0, 10, 100)):
                part = slide.reader.read((x, y, w, h), level)
                assert (part == expected[y : y + h, x : x + w]).all(), (level, factor, x, y)
        x, y = 503 - 33, 417 - 21
        assert (slide.part((x, y, 33, 21)).pixels == pixels[y:, x:].astype("u2") * deep).all()
    with open_scan(path, source_mpp=0.5) as scan:
        assert len(scan.levels) >= 2


@pytest.mark.parametrize("kind", ["dzi", "zarr 0.5"])
def test_the_verbs_restore_and_denoise_them(
    kind: str, pixels: np.ndarray, untrained: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    path = MAKERS[kind](tmp_path / "in", pixels)
    mask = np.zeros(pixels.shape[:2], bool)
    mask[200:212, 150:163] = True
    write_mask(tmp_path / "m.geojson", mask)
    words = ["--mask", tmp_path / "m.geojson", "--model", untrained, "--preset", "generate"]
    words += ["--steps", 1, "--mpp", 0.5, "--device", "cpu"]

    def run(*words: object) -> Any:
        return CliRunner().invoke(app, [str(word) for word in words])

    before = folder_sha256(path)
    done = run("restore", path, "-o", tmp_path / "out.tif", *words)
    assert done.exit_code == 0, done.stderr
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        restored = file.pages.first.asarray()
    differs = (restored != pixels).any(2)
    assert not differs[~mask].any()
    assert differs[mask].mean() > 0.9
    record = json.loads((tmp_path / "out.ledger.json").read_text())
    assert record["source"]["sha256"] == before == folder_sha256(path)
    assert record["source"]["name"] == path.name
    assert run("verify", tmp_path / "out.tif", "--source", tmp_path / "in").exit_code == 0
    # In a folder of slides it is one of them.
    done = run("denoise", tmp_path / "in", "-o", tmp_path / "clean", "--method", "median")
    assert done.exit_code == 0, done.stderr
    assert [file.name for file in (tmp_path / "clean").glob("*.tif")] == [f"{path.stem}.tif"]


def test_what_is_wrong_is_told_by_name(pixels: np.ndarray, tmp_path: Path) -> None:
    path = deep_zoom(tmp_path / "s.dzi", pixels)
    good = path.read_text()
    tile = tmp_path / "s_files" / "9" / "1_1.png"
    for bad, says in (
        ('TileSize="0"', "claims 503 x 417 px in tiles of 0 px"),
        ('TileSize="many"', "no description of a Deep Zoom slide"),
        ('Width="900000000"', "claims 900000000 x 417"),
    ):
        name = bad.partition("=")[0]
        old = next(part for part in good.replace("/>", " ").split() if part.startswith(name))
        path.write_text(good.replace(old, bad))
        with pytest.raises(UnreadableImageError, match=says), open_slide(path):
            pass
    path.write_text(good.replace('"png"', '"webp"'))
    with pytest.raises(UnsupportedImageError, match="its tiles are webp"), open_slide(path):
        pass
    path.write_text(good)
    PIL.Image.fromarray(pixels[:20, :20]).save(tile)
    with open_slide(path) as slide:
        with pytest.raises(UnreadableImageError, match=r"1_1\.png: .*20, 20"):
            slide.part((120, 120, 30, 30))
        tile.unlink()
        with pytest.raises(UnreadableImageError, match=r"1_1\.png"):
            slide.part((120, 120, 30, 30))
    shutil.rmtree(tmp_path / "s_files")
    with pytest.raises(UnreadableImageError, match="does not lie beside it"), open_slide(path):
        pass


def test_other_images_of_ome_zarr_are_refused_by_name(pixels: np.ndarray, tmp_path: Path) -> None:
    stack = np.stack([pixels[..., 0], pixels[..., 1]], 2)
    two = ome_zarr(tmp_path / "two.zarr", np.ascontiguousarray(stack))
    with pytest.raises(UnsupportedImageError, match="with 2 channels"), open_slide(two):
        pass
    real = ome_zarr(tmp_path / "real.zarr", pixels.astype(np.float32))
    with pytest.raises(UnsupportedImageError, match="values of float32"), open_slide(real):
        pass
    (tmp_path / "odd.zarr").mkdir()
    for text in ("{}", "{", '{"zarr_format": 3, "node_type": "group", "attributes": {"ome": 1}}'):
        (tmp_path / "odd.zarr" / "zarr.json").write_text(text)
        with (
            pytest.raises(UnreadableImageError, match="no image of OME-Zarr"),
            open_slide(tmp_path / "odd.zarr"),
        ):
            pass
