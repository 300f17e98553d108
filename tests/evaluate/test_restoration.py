from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from histomend.damage.artifacts import KINDS
from histomend.errors import ImageSizeError, InputError
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.restoration import Row, evaluate_rows, measure, read_records
from histomend.evaluate.summary import paired_difference, summarise

SIZE = 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of six tiles of 140x140 px, on two slides, with a manifest."""
    folder = tmp_path_factory.mktemp("tiles")
    rows = []
    for number in range(6):
        rng = np.random.default_rng(number)
        noise = ndimage.gaussian_filter(rng.standard_normal((140, 140)), 2)
        pixels = np.array([205, 150, 195]) + 25 * (noise / noise.std())[..., None]
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"t{number}.png")
        slide = f"slide{number % 2}"
        rows.append({"file": f"t{number}.png", "slide": slide, "mpp": "0.5 (estimated)"})
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "slide", "mpp"])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def fields(data: Path) -> list[Crop]:
    return crops(data, size=SIZE, per_tile=2)


def smeared(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    blur = ndimage.gaussian_filter(pixels.astype(float), (4, 4, 0)).astype(np.uint8)
    return np.where(mask[..., None], blur, pixels)


def as_damaged(pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    return pixels


class Counting:
    """A restorer that knows how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, pixels: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
        self.calls += 1
        return smeared(pixels, mask, seed)


def test_crops_are_damaged_inside_the_mask_only(fields: list[Crop]) -> None:
    assert len(fields) == 12
    for crop in fields:
        assert crop.truth.shape == (SIZE, SIZE, 3)
        assert np.array_equal(crop.truth[~crop.mask], crop.damaged[~crop.mask])
        assert 0.10 < crop.mask.mean() < 0.17
        assert crop.mpp == 0.5


def test_crops_repeat_and_their_first_ones_are_a_fair_sample(
    data: Path, fields: list[Crop]
) -> None:
    again = crops(data, size=SIZE, per_tile=2, limit=9)
    assert [crop.sha256() for crop in again] == [crop.sha256() for crop in fields[:9]]
    assert [crop.kind for crop in again] == list(KINDS)
    assert {crop.tile for crop in fields[:6]} == {f"t{i}.png" for i in range(6)}
    assert len({crop.name for crop in fields}) == 12
    assert crops(data, size=SIZE, per_tile=2, seed=1)[0].sha256() != fields[0].sha256()


def test_crops_of_a_tile_do_not_overlap(data: Path, fields: list[Crop]) -> None:
    for tile in {crop.tile for crop in fields}:
        pixels = np.asarray(Image.open(data / tile))
        covered = np.zeros(pixels.shape[:2], int)
        for crop in (crop for crop in fields if crop.tile == tile):
            x, y = (int(part) for part in crop.name.split("-")[0].split("+")[1:])
            assert np.array_equal(pixels[y : y + SIZE, x : x + SIZE], crop.truth)
            covered[y : y + SIZE, x : x + SIZE] += 1
        assert covered.max() == 1


def test_unusable_folders_are_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.csv"):
        crops(tmp_path)
    (tmp_path / "manifest.csv").write_text("file,slide,mpp\n")
    with pytest.raises(InputError, match="names no tiles"):
        crops(tmp_path)
    with pytest.raises(ImageSizeError, match="room for 4 crops"):
        crops(data, size=SIZE, per_tile=5)


def test_a_perfect_restoration_measures_perfect(fields: list[Crop]) -> None:
    crop = fields[0]
    found = measure(crop.truth, crop.truth, crop.mask)
    assert (found["l2"], found["mse"], found["ssim"], found["ciede2000"]) == (0, 0, 1, 0)
    assert found["psnr"] == float("inf")
    for name in ("laplacian_ratio", "spectrum_ratio", "border_step", "fsim"):
        assert found[name] == pytest.approx(1)
    assert found["nuclei"] == found["true_nuclei"]


def test_records_are_not_computed_twice(fields: list[Crop], tmp_path: Path) -> None:
    records, restorer = tmp_path / "runs" / "r.jsonl", Counting()
    row = Row("smear", restorer, {"sigma": 4}, model="abc")
    first = evaluate_rows([row], fields[:3], records)
    assert restorer.calls == 3
    told: list[str] = []
    assert evaluate_rows([row], fields[:5], records, report=told.append)[:3] == first
    assert restorer.calls == 5
    assert len(told) == 2
    assert all(line.startswith("smear: ") for line in told)
    # Other weights, other settings, other damage: computed anew.
    evaluate_rows([replace(row, model="def")], fields[:1], records)
    evaluate_rows([replace(row, settings={"sigma": 2})], fields[:1], records)
    evaluate_rows([row], [replace(fields[0], damaged=fields[0].truth)], records)
    assert restorer.calls == 8


def test_a_run_killed_while_writing_goes_on(fields: list[Crop], tmp_path: Path) -> None:
    records, restorer = tmp_path / "r.jsonl", Counting()
    row = Row("smear", restorer)
    whole = evaluate_rows([row], fields[:3], records)
    text = records.read_text()
    records.write_text(text[: len(text) - 200])
    assert [r.measures for r in evaluate_rows([row], fields[:3], records)] == [
        r.measures for r in whole
    ]
    assert restorer.calls == 4
    # Every line but the torn one can be read, and a third run computes nothing.
    assert len(list(read_records(records))) == 3
    evaluate_rows([row], fields[:3], records)
    assert restorer.calls == 4
    json.loads(records.read_text().splitlines()[-1])


def test_a_summary_has_every_figure_with_its_interval(fields: list[Crop], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    rows = [Row("smear", smeared), Row("damaged", as_damaged)]
    records = evaluate_rows(rows, fields, tmp_path / "r.jsonl")
    smear, damaged = records[: len(fields)], records[len(fields) :]
    found = summarise(smear)
    assert found["psnr"].low < found["psnr"].value < found["psnr"].high
    assert found["psnr"].count == 12
    assert found["psnr_paper"].value - found["psnr"].value == pytest.approx(24.11, abs=0.005)
    assert found["laplacian_ratio"].value < 1
    for name in ("auc", "auc_2"):
        assert 0 <= found[name].low <= found[name].high <= 1
    assert not any(name.startswith("true_") for name in found)
    difference = paired_difference(smear, damaged, "psnr")
    assert difference.value == pytest.approx(found["psnr"].value - summarise(damaged)["psnr"].value)
    with pytest.raises(InputError, match="same crops"):
        paired_difference(smear, damaged[:3], "psnr")
    with pytest.raises(InputError, match="no records"):
        summarise([])
