"""Detection on whole slides: in parts, and the same in whatever parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from histomend import detect_slide, restore_slide
from histomend.cli.app import app
from histomend.detect import slides
from histomend.detect.learned import find
from histomend.errors import MaskError, OutputError, SettingError
from histomend.jobs import slide_run
from histomend.masks import read_mask
from histomend.masks.artifact_classes import ARTIFACTS
from histomend.masks.slide_masks import BlockMask
from histomend.models import Model, load_model
from histomend.slides.whole import open_slide

SHAPE = (420, 500)


@pytest.fixture(scope="module")
def soiled(tissue: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slide with three marks of blue ink, one of them large, and its levels."""
    pixels = tissue[:420, :500].copy()
    for place in (np.s_[30:90, 40:120], np.s_[200:260, 200:330], np.s_[380:420, 440:500]):
        pixels[place] = (20, 30, 160)
    path = tmp_path_factory.mktemp("soiled") / "slide.tif"
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"tile": (64, 64), "compression": "zlib", "metadata": None}
        writer.write(pixels, resolution=(20000, 20000), resolutionunit=3, **options)
        writer.write(pixels[::2, ::2], subfiletype=1, **options)
    return path


def blue(pixels: np.ndarray, mpp: float | None) -> tuple[np.ndarray, int, int]:
    """Find ink by its colour alone, whatever lies around it."""
    assert mpp == pytest.approx(0.5)
    assert min(pixels.shape[:2]) >= 64
    found = (pixels == (20, 30, 160)).all(2)
    return found, int(found.sum()), found.size


def ink(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        return np.asarray((file.pages[0].asarray() == (20, 30, 160)).all(2))


@pytest.mark.parametrize(("block", "margin"), [(2048, 128), (100, 10), (64, 0), (417, 30)])
def test_parts_make_the_whole(
    soiled: Path, block: int, margin: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slides, "BLOCK_PX", block)
    monkeypatch.setattr(slides, "MARGIN_PX", margin)
    told: list[tuple[int, int]] = []
    with open_slide(soiled) as slide:
        found = slides.find_on_slide(slide, find=blue, progress=lambda *at: told.append(at))
    assert (found.mask.read((0, 0, 500, 420)) == ink(soiled)).all()
    assert told[-1][0] == told[-1][1] == len(told)
    assert found.share == pytest.approx(ink(soiled).mean(), rel=0.5)


@pytest.mark.parametrize("largest", [2048, 64])
def test_what_was_found_is_written_in_pixels_of_the_slide(
    soiled: Path, tmp_path: Path, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slides, "_LARGEST_PX", largest)
    with open_slide(soiled) as slide:
        found = slides.find_on_slide(slide, find=blue)
        features = list(slides.slide_features(found.mask, slide.size))
    assert len(features) == 3 if largest == 2048 else len(features) > 3
    slides.write_found(tmp_path / "f.geojson", features)
    assert (read_mask(tmp_path / "f.geojson", SHAPE) == ink(soiled)).all()
    with pytest.raises(OutputError, match="exists"):
        slides.write_found(tmp_path / "f.geojson", features)


def test_a_coarser_level_marks_all_pixels_below_it() -> None:
    mask = BlockMask((400, 300), (100, 75), 40)
    rng = np.random.default_rng(0)
    coarse = rng.random((75, 100)) < 0.3
    for y in range(0, 75, 40):
        for x in range(0, 100, 40):
            mask.put(x, y, coarse[y : y + 40, x : x + 40])
    fine = coarse.repeat(4, 0).repeat(4, 1)
    for x, y, w, h in ((0, 0, 400, 300), (3, 5, 31, 17), (159, 158, 5, 5), (399, 299, 1, 1)):
        assert (mask.read((x, y, w, h)) == fine[y : y + h, x : x + w]).all()
        assert mask.may_touch((x, y, w, h)) or not fine[y : y + h, x : x + w].any()


def test_the_verb_writes_geojson(soiled: Path, tmp_path: Path) -> None:
    words = ["detect", str(soiled), "-o", str(tmp_path / "f.geojson"), "--json"]
    words += ["--method", "threshold"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[0]["regions"] >= 3
    mask = read_mask(tmp_path / "f.geojson", SHAPE)
    assert mask[ink(soiled)].mean() > 0.95
    assert mask.mean() < 0.2
    with pytest.raises(SettingError, match="geojson"):
        detect_slide(soiled, tmp_path / "f.png")


@pytest.fixture(scope="module")
def model(untrained: Path) -> Model:
    return load_model(untrained, "cpu")


def test_what_is_found_is_restored_and_written_beside(
    soiled: Path, tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.tif"
    options: dict[str, Any] = {"model": model, "preset": "generate", "detect": True}
    options["detector"] = "threshold"
    with pytest.raises(MaskError, match="max-share"):
        restore_slide(soiled, out, **options)
    assert not list(tmp_path.iterdir())
    real = slide_run._SlideRun._restored

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(slide_run._SlideRun, "_restored", interrupted)
    with pytest.raises(KeyboardInterrupt):
        restore_slide(soiled, out, max_share=1, **options)
    monkeypatch.setattr(slide_run._SlideRun, "_restored", real)
    # What was found is not searched for again.
    monkeypatch.setattr("histomend.methods.slides.find_on_slide", interrupted)
    result = restore_slide(soiled, out, max_share=1, **options)
    mask = read_mask(tmp_path / "out.mask.geojson", SHAPE)
    assert result.record.figures["area_px"] == mask.sum()
    assert mask[ink(soiled)].mean() > 0.95


def test_the_network_finds_what_it_finds_in_the_image(
    soiled: Path, tmp_path: Path, model: Model
) -> None:
    with open_slide(soiled, mpp=0.5) as slide:
        searched = slides.search_slide(slide)
        number = slide.level_for(1.0)
        assert searched.level == slide.reader.levels[number] == (250, 210)
        pixels = slide.reader.read((0, 0, *searched.level), number)
    alone = find(np.asarray(pixels), mpp=1.0).found
    np.testing.assert_array_equal(searched.found.labels, alone.labels)
    assert [r.kind for r in searched.found.regions] == [r.kind for r in alone.regions]
    whole = searched.mask(list(ARTIFACTS)).read((0, 0, *slide.size))
    np.testing.assert_array_equal(whole[::2, ::2], alone.mask(list(ARTIFACTS)))
    count = detect_slide(soiled, tmp_path / "f.geojson", mpp=0.5)
    features = json.loads((tmp_path / "f.geojson").read_text())["features"]
    assert len(features) == count == len(alone.regions) > 0
    assert all(f["properties"]["measurements"]["Probability"] > 0 for f in features)


def test_bare_glass_is_not_searched(tmp_path: Path) -> None:
    path = tmp_path / "glass.tif"
    glass = np.full((300, 300, 3), 245, np.uint8)
    with tifffile.TiffWriter(path) as writer:
        writer.write(glass, tile=(64, 64), compression="zlib", metadata=None)
        writer.write(glass[::2, ::2], tile=(64, 64), subfiletype=1, metadata=None)

    def never(*_: Any) -> Any:
        raise AssertionError("searched")

    with open_slide(path) as slide:
        found = slides.find_on_slide(slide, find=never)
    assert found.share == 0
    assert not found.mask.read((0, 0, 300, 300)).any()
