"""The bundled detector on images that anyone would agree on, and on bad input."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner

import histomend
from histomend.cli.app import app
from histomend.damage.artifacts import simulate
from histomend.detect.learned import find, limits_for
from histomend.detect.pixel_size import estimate_mpp
from histomend.detect.suitability import odd_stain
from histomend.errors import SettingError, UnsupportedImageError
from histomend.image import write_image
from histomend.masks import load_mask
from histomend.masks.artifact_classes import ARTIFACTS, chosen_classes


@pytest.fixture(scope="module")
def field(shared_data: Path) -> np.ndarray:
    """Return H&E of a slide that no training saw, (256, 256, 3) uint8 at 1 um per pixel."""
    path = sorted((shared_data / "he_clean_val").glob("glycogen*.jpg"))[3]
    pixels = np.asarray(PIL.Image.open(path).convert("RGB"))
    return np.asarray(cv2.resize(pixels, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)


@pytest.fixture(scope="module")
def inked(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return that tissue with a blue mark 40 um wide, and where it is."""
    mask = np.zeros(field.shape[:2], bool)
    mask[100:140, 60:200] = True
    marked = field.astype(float)
    marked[mask] *= (0.15, 0.25, 0.6)
    return marked.astype(np.uint8), mask


def test_a_mark_of_ink_is_found_where_it_is(inked: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, mask = inked
    detection = find(pixels, mpp=1.0)
    found = detection.found.mask()
    assert found.dtype == bool
    assert (found & mask).sum() > 0.8 * mask.sum()
    largest = max(detection.found.regions, key=lambda region: region.area_um2)
    assert largest.kind == "ink"
    assert largest.probability > 0.7
    assert largest.area_um2 == pytest.approx(mask.sum(), rel=0.3)
    np.testing.assert_array_equal(histomend.detect(histomend.Image(pixels, mpp=1.0)), found)


def test_a_higher_probability_never_marks_more(inked: tuple[np.ndarray, np.ndarray]) -> None:
    pixels, _ = inked
    detector = histomend.load_model("detector-he", "cpu")
    areas = [
        find(pixels, mpp=1.0, detector=detector, limits=limits_for(detector, p)).found.mask().sum()
        for p in (0.2, 0.5, 0.9)
    ]
    assert areas[0] >= areas[1] >= areas[2] > 0


def test_glass_has_neither_tissue_nor_artifacts() -> None:
    rng = np.random.default_rng(0)
    glass = np.clip(rng.normal(243, 1, (300, 300, 3)), 0, 255).astype(np.uint8)
    found = find(glass, mpp=0.5).found
    assert found.regions == ()
    assert found.summary()["tissue_mm2"] == 0


def test_a_pixel_size_that_is_not_known_is_told(field: np.ndarray) -> None:
    (said, *_) = find(field).notices
    assert "says no pixel size" in said
    assert not any("pixel size" in said for said in find(field, mpp=1.0).notices)


def test_fluorescence_is_refused() -> None:
    dark = np.zeros((128, 128, 3), np.uint8)
    dark[40:60, 40:60, 2] = 200
    with pytest.raises(UnsupportedImageError, match="fluorescence"):
        find(dark, mpp=0.5)


@pytest.mark.parametrize("shape", [(40, 40, 3), (100, 100), (100, 100, 4)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(histomend.HistomendError):
        find(np.full(shape, 200, np.uint8), mpp=0.5)


def test_brown_and_odd_stains_are_told() -> None:
    rng = np.random.default_rng(0)
    shade = rng.uniform(0.5, 1.5, (80, 80, 1))

    def stained(od: tuple[float, float, float]) -> np.ndarray:
        return (255 * np.exp(-shade * np.array(od))).astype(np.uint8)

    assert odd_stain(stained((0.3, 0.6, 0.33))) is None  # hematoxylin and eosin
    assert "immunohistochemistry" in str(odd_stain(stained((0.3, 0.5, 0.8))))
    assert "unlike the H&E" in str(odd_stain(stained((0.8, 0.4, 0.3))))
    assert "no colour" in str(odd_stain(stained((0.5, 0.5, 0.5))))
    assert odd_stain(np.full((80, 80, 3), 245, np.uint8)) is None


def test_nuclei_tell_the_magnification() -> None:
    rng = np.random.default_rng(0)
    drawn = np.full((512, 512, 3), (235, 190, 215), np.uint8)
    for x, y in rng.integers(20, 492, (180, 2)).tolist():
        cv2.circle(drawn, (x, y), 4, (110, 70, 150), -1, cv2.LINE_AA)  # nuclei of 4 um
    assert estimate_mpp([drawn]) == 0.5
    assert estimate_mpp([cv2.resize(drawn, None, fx=2, fy=2)]) == 0.25
    assert estimate_mpp([cv2.resize(drawn, (256, 256), interpolation=cv2.INTER_AREA)]) == 1.0
    assert estimate_mpp([np.full((100, 100, 3), 240, np.uint8)]) is None


def test_classes_are_checked_and_some_are_not_restored() -> None:
    assert chosen_classes(["fold,ink", "bubble"]) == ["fold", "ink", "bubble"]
    assert chosen_classes(None) is None
    with pytest.raises(SettingError, match="There are fold, bubble"):
        chosen_classes(["folds"])
    assert chosen_classes(["haze"]) == ["haze"]
    with pytest.raises(SettingError, match="clean the cover slip"):
        chosen_classes(["haze"], restoring=True)


# On the command line


@pytest.fixture
def work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inked: tuple[np.ndarray, np.ndarray]
) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", inked[0], mpp=1.0)
    write_image(tmp_path / "in" / "b.png", np.full((80, 80, 3), 244, np.uint8), mpp=1.0)
    return tmp_path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, list(map(str, words)), env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_what_is_written(work: Path, inked: tuple[np.ndarray, np.ndarray]) -> None:
    run("detect", "in/a.png", "-o", "a.geojson", "--labels", "--overview")
    features = json.loads((work / "a.geojson").read_text())["features"]
    assert features
    for feature in features:
        about = feature["properties"]
        assert about["objectType"] == "annotation"
        kind = about["classification"]["name"].lower().replace(" ", "_")
        assert kind in ARTIFACTS
        assert 0 < about["measurements"]["Probability"] <= 1
    ink = [f for f in features if f["properties"]["classification"]["name"] == "Ink"]
    area = sum(f["properties"]["measurements"]["Area µm^2"] for f in ink)
    assert area == pytest.approx(inked[1].sum(), rel=0.35)
    labels = np.asarray(PIL.Image.open(work / "a.labels.png"))
    assert labels.shape == (256, 256)
    assert labels[120, 130] == 1 + ARTIFACTS.index("ink")
    read = load_mask(work / "a.geojson", (256, 256), classes=["Ink"]).mask
    np.testing.assert_array_equal(read, labels == 1 + ARTIFACTS.index("ink"))
    with PIL.Image.open(work / "a.overview.png") as picture:
        assert picture.width == 256


def test_labels_of_grandqc_are_read_as_its_own_are(
    work: Path, inked: tuple[np.ndarray, np.ndarray]
) -> None:
    run("detect", "in/a.png", "-o", "a.png", "--grandqc")
    labels = np.asarray(PIL.Image.open(work / "a_mask.png"))
    assert set(np.unique(labels)) <= set(range(1, 8))
    # Pen marking.
    assert labels[120, 130] == 4
    assert labels[20, 20] == 1
    found = load_mask(work / "a.png", (256, 256)).mask
    np.testing.assert_array_equal(load_mask(work / "a_mask.png", (256, 256)).mask, found)


def test_a_folder_gets_a_table(work: Path) -> None:
    run("detect", "in", "-o", "masks", "--class", "ink", "--summary", "table.csv")
    with (work / "table.csv").open() as file:
        rows = {Path(row["image"]).name: row for row in csv.DictReader(file)}
    assert float(rows["a.png"]["ink_share"]) == pytest.approx(5600 / 65536, rel=0.4)
    assert float(rows["b.png"]["artifact_share"]) == 0
    run("detect", "in", "-o", "more", "--summary", "table.json")
    assert len(json.loads((work / "table.json").read_text())) == 2
    assert sorted(p.name for p in (work / "masks").iterdir()) == ["a.png", "b.png"]


def test_thresholds_take_no_classes(work: Path) -> None:
    words = ["detect", "in/a.png", "-o", "a.png", "--method", "threshold"]
    run(*words)
    result = CliRunner().invoke(app, [*words, "--force", "--class", "ink"])
    assert result.exit_code == 2


def test_restoring_takes_the_classes_it_is_told_and_refuses_too_much(work: Path) -> None:
    words = ["restore", "in/a.png", "-o", "new.png", "--detect"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "500"})
    assert result.exit_code == 2
    assert "more than --max-share 0.02" in " ".join(result.output.split())
    result = CliRunner().invoke(app, [*words, "--class", "out_of_focus"], env={"COLUMNS": "500"})
    assert result.exit_code == 2
    assert "deconvolve" in result.output
    said = run(*words, "--class", "ink", "--max-share", 1, "--preset", "generate", "--steps", 1)
    assert "ink" in said
    mask = np.asarray(PIL.Image.open(work / "new.mask.png"))
    assert mask[120, 130] == 255


def test_weak_artifacts_that_blur_are_told_and_not_restored(field: np.ndarray) -> None:
    blurred = simulate(field, "out_of_focus", seed=3, area=0.5, mpp=1.0)
    detection = find(blurred.pixels, mpp=1.0)
    kinds = {region.kind for region in detection.found.regions}
    if "out_of_focus" in kinds:
        assert any("out of focus" in said for said in detection.notices)
    assert (detection.found.mask() & blurred.mask).sum() < 0.2 * blurred.mask.sum()
