"""Slides written as OME-Zarr: the pixels of the TIFF pyramid, there as a whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from histomend import denoise_slide, restore_slide
from histomend.cli.app import app
from histomend.errors import (
    ImageSizeError,
    OutputError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
)
from histomend.jobs import slide_fields
from histomend.jobs.journal import journal_of
from histomend.ledger import Record
from histomend.models import Model
from histomend.slides import ome_zarr
from histomend.slides.ome_zarr import write_ome_zarr
from histomend.slides.pyramid import write_pyramid
from histomend.slides.tile_folders import folder_sha256
from histomend.slides.whole import open_slide
from histomend.tiles import slide_blocks

zarr = pytest.importorskip("zarr", minversion="3")
FAST: dict[str, Any] = {"preset": "generate", "steps": 1, "device": "cpu"}


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    height, width = pixels.shape[:2]
    options = {"mpp": 0.25, "dtype": pixels.dtype, "through": path.parent, **options}
    write_ome_zarr(path, (width, height), lambda a, b: pixels[a:b], **options)
    return path


def levels_of(path: Path) -> list[np.ndarray]:
    group = zarr.open_group(str(path), mode="r")
    sets = group.attrs["multiscales"][0]["datasets"]
    return [np.asarray(group[each["path"]])[0, :, 0].transpose(1, 2, 0) for each in sets]


@pytest.mark.parametrize(
    ("size", "dtype"),
    [((1301, 1090), "u1"), ((601, 515), "u2"), ((1100, 1), "u1"), ((1, 1), "u1")],
)
def test_its_levels_are_those_of_the_tiff(
    tissue: np.ndarray, tmp_path: Path, size: tuple[int, int], dtype: str
) -> None:
    pixels = np.tile(tissue, (3, 3, 1))[: size[1], : size[0]]
    pixels = pixels.astype(dtype) * (257 if dtype == "u2" else 1)
    path = write(tmp_path / "s.ome.zarr", pixels)
    rows = lambda a, b: pixels[a:b]  # noqa: E731
    options: dict[str, Any] = {"mpp": 0.25, "dtype": pixels.dtype, "lossless": True}
    write_pyramid(tmp_path / "s.tif", size, rows, **options)
    with tifffile.TiffFile(tmp_path / "s.tif") as file:
        expected = [page.asarray() for page in file.pages]
    found = levels_of(path)
    assert len(found) == len(expected)
    for level, other in zip(found, expected, strict=True):
        assert level.dtype == pixels.dtype
        assert (level == other).all()
    with open_slide(path) as slide:
        assert (slide.part((0, 0, *size)).pixels == pixels).all()
        assert slide.about.mpp == 0.25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.ome.zarr", "s.tif"]


def test_what_it_says_of_itself(tissue: np.ndarray, tmp_path: Path) -> None:
    profile = b"\0" * 36 + b"acsp" + b"\0" * 100
    path = write(
        tmp_path / "s.ome.zarr", np.tile(tissue, (2, 3, 1))[:700, :1301],
        icc=profile, name="a slide", fields={"By": "us"},
    )  # fmt: skip
    said = json.loads((path / ".zattrs").read_text())
    (image,) = said["multiscales"]
    assert image["version"] == "0.4"
    assert image["name"] == "a slide"
    assert [axis["name"] for axis in image["axes"]] == ["t", "c", "z", "y", "x"]
    assert [axis.get("unit") for axis in image["axes"]] == [None, None, *["micrometer"] * 3]
    assert [each["coordinateTransformations"] for each in image["datasets"]] == [
        [{"type": "scale", "scale": [1, 1, 1, side, side]}] for side in (0.25, 0.5, 1.0)
    ]
    assert image["metadata"]["description"] == "Restored, not for diagnosis"
    assert image["metadata"]["By"] == "us"
    assert [channel["color"] for channel in said["omero"]["channels"]] == [
        "FF0000", "00FF00", "0000FF",
    ]  # fmt: skip
    array = json.loads((path / "0" / ".zarray").read_text())
    assert (array["shape"], array["chunks"]) == ([1, 3, 1, 700, 1301], [1, 3, 1, 512, 512])
    assert array["dimension_separator"] == "/"
    assert (path / "0" / "0" / "0" / "0" / "1" / "2").is_file()
    with open_slide(path) as slide:
        assert slide.about.icc == profile
    bare = write(tmp_path / "bare.zarr", tissue[:50, :60], mpp=None)
    said = json.loads((bare / ".zattrs").read_text())["multiscales"][0]
    assert all("unit" not in axis for axis in said["axes"])
    assert "description" not in said["metadata"]
    with open_slide(bare) as slide:
        assert slide.about.mpp is None


def test_another_library_reads_it(tissue: np.ndarray, tmp_path: Path) -> None:
    reading = pytest.importorskip("ome_zarr.reader")
    location = pytest.importorskip("ome_zarr.io")
    pixels = np.tile(tissue, (2, 3, 1))[:700, :1301]
    path = write(tmp_path / "s.ome.zarr", pixels)
    (node, *_) = reading.Reader(location.parse_url(str(path)))()
    assert [level.shape for level in node.data] == [
        (1, 3, 1, 700, 1301), (1, 3, 1, 350, 650), (1, 3, 1, 175, 325),
    ]  # fmt: skip
    assert (np.asarray(node.data[0])[0, :, 0].transpose(1, 2, 0) == pixels).all()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mpp": -1}, PixelSizeError),
        ({"samples": 4}, UnsupportedImageError),
        ({"dtype": np.float32}, UnsupportedImageError),
        ({"fields": {"a|b": "c"}}, SettingError),
        ({"size": (0, 5)}, ImageSizeError),
        ({"rows": lambda a, b: np.zeros((b - a, 7, 3), np.uint8)}, UnsupportedImageError),
        ({"rows": lambda a, b: 1 / 0}, ZeroDivisionError),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception]
) -> None:
    wish: dict[str, Any] = {
        "size": (60, 50), "rows": lambda a, b: np.zeros((b - a, 60, 3), np.uint8),
        "mpp": 0.5, "through": tmp_path, **change,
    }  # fmt: skip
    with pytest.raises(error):
        write_ome_zarr(tmp_path / "s.zarr", wish.pop("size"), wish.pop("rows"), **wish)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays_until_the_new_one_is_whole(
    tissue: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "s.zarr", tissue[:50, :60])
    before = folder_sha256(path)
    with pytest.raises(OutputError, match=r"exists already.*--force"):
        write(path, tissue[:40, :60])
    with monkeypatch.context() as patch:
        patch.setattr(ome_zarr, "_sync", _full)
        with pytest.raises(OutputError, match="the disk is full"):
            write(path, tissue[:40, :60], force=True)
    moves: list[Path] = []
    real = Path.rename

    def rename(self: Path, target: Path) -> Any:
        moves.append(target)
        if len(moves) == 2:  # the old one has gone, the new one cannot come
            raise OSError(5, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(OutputError, match="cannot be written"):
            write(path, tissue[:40, :60], force=True)
    assert moves[1:] == [path, path]
    assert folder_sha256(path) == before
    write(path, tissue[:40, :60], force=True)
    with open_slide(path) as slide:
        assert slide.size == (60, 40)
    assert [each.name for each in tmp_path.iterdir()] == ["s.zarr"]
    other = tmp_path / "other.zarr"
    other.mkdir()
    (other / "thesis.txt").touch()
    with pytest.raises(OutputError, match="is no OME-Zarr"):
        write(other, tissue[:40, :60], force=True)
    assert (other / "thesis.txt").exists()


def _full(folder: Path) -> None:
    raise OSError(28, "No space left on device")


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_same_restoration_as_in_a_tiff(work: Path, untrained: Path, mask: np.ndarray) -> None:
    out, slide = work / "out.ome.zarr", work / "slide.svs"
    words = ["--mask", work / "mask.geojson", "--model", untrained, "--device", "cpu"]
    words += ["--preset", "generate", "--steps", 1]
    assert run("restore", slide, "-o", out, *words).exit_code == 0
    assert run("restore", slide, "-o", work / "out.tif", *words).exit_code == 0
    with open_slide(out) as one, open_slide(slide) as source:
        restored, before = (each.part((0, 0, 500, 420)).pixels for each in (one, source))
        assert one.about.mpp == source.about.mpp == 0.5
    differs = (restored != before).any(2)
    assert not differs[~mask].any()
    assert differs[mask].mean() > 0.9
    with tifffile.TiffFile(work / "out.tif") as file:
        appended = file.pages[0].asarray()
    # What is edited within JPEG tiles is a little off: by rounding only.
    assert np.abs(appended.astype(int) - restored)[mask].mean() < 2
    new, old = (Record.read(work / f"{name}.ledger.json") for name in ("out.ome", "out"))
    assert (new.output.container, old.output.container) == ("ome-zarr", "appended")
    assert new.output.file_sha256 == folder_sha256(out)
    assert (new.source, new.regions, new.settings) == (old.source, old.regions, old.settings)
    assert run("verify", out, "--source", slide).exit_code == 0
    assert run("undo", out, "-o", work / "back.png").exit_code == 2

    again = run("restore", slide, "-o", out, *words)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert run("restore", slide, "-o", out, *words, "--force").exit_code == 0
    assert folder_sha256(out) == new.output.file_sha256
    assert not journal_of(out).exists()
    lossy = run("restore", slide, "-o", work / "l.zarr", *words, "--lossy")
    assert lossy.exit_code == 2
    assert "without loss" in lossy.stderr
    two = run("restore", slide, slide, "-o", work / "l.zarr", *words)
    assert two.exit_code == 2
    chunk = out / "0" / "0" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    assert run("verify", out).exit_code == 1


def test_denoising_goes_on_where_it_was_and_a_slide_of_zarr_is_a_source(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slide_blocks, "BLOCK_PX", 192)
    out, slide = work / "out.zarr", work / "slide.svs"
    options: dict[str, Any] = {"method": "median", "device": "cpu"}
    denoise_slide(slide, work / "whole.zarr", **options)

    def killed(folder: Path) -> None:
        assert (folder / ".zattrs").is_file()  # all of it lies in the journal
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ome_zarr, "_sync", killed)
        # A kill clears nothing up.
        patch.setattr(ome_zarr.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            denoise_slide(slide, out, **options)
    assert not out.exists()
    assert list(journal_of(out).glob("*.part"))
    with monkeypatch.context() as patch:
        patch.setattr(slide_fields, "_worked_on", None)  # nothing is computed once more
        denoise_slide(slide, out, **options)
    assert folder_sha256(out) == folder_sha256(work / "whole.zarr")
    assert not journal_of(out).exists()
    for bad, says in ((out, "slide itself"), (out / "in.zarr", "lie in the other")):
        with pytest.raises(OutputError, match=says):
            denoise_slide(out, bad, **options, force=True)
    denoise_slide(out, work / "twice.zarr", **options)
    assert run("verify", work / "twice.zarr", "--source", out).exit_code == 0


def test_a_restoration_is_killed_while_it_replaces_another(
    work: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = work / "slide.svs", work / "out.zarr", work / "mask.geojson"
    restore_slide(*paths, model=model, **FAST)
    first = folder_sha256(paths[1])
    real = Path.rename

    def rename(self: Path, target: Path) -> Any:
        if target == paths[1]:
            raise SystemExit
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename)
        with pytest.raises(SystemExit):
            restore_slide(*paths, model=model, **FAST, force=True)
    assert not paths[1].exists()
    restore_slide(*paths, model=model, **FAST, force=True)
    assert folder_sha256(paths[1]) == first
    assert not journal_of(paths[1]).exists()
