"""What the tables of RSCD say of a row, and what they are made from."""

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from histomend.errors import ImageSizeError, InputError
from histomend.evaluate.column import Column
from histomend.evaluate.harness import cases
from histomend.evaluate.harness.judges import Fields
from histomend.evaluate.harness.opening import parts
from histomend.evaluate.harness.standings import standing
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import Interval
from histomend.models import ModelConfig, save_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def ramp(size: int = 64, channels: int = 1) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    values = 60 + x + y // 2
    return np.repeat(values[..., None], channels, axis=2).astype(np.uint8)


def test_real_pairs_are_compared_on_one_scale(load) -> None:
    truth = ramp()
    dim = (truth // 3 + 20).astype(np.uint8)
    slope, offset = cases.fitted_scale(dim, truth)
    assert slope == pytest.approx(3, abs=0.01)
    assert offset == pytest.approx(-59, abs=1)
    pair = cases.Case("a", "a", 0, dim, truth, fitted=True)
    assert np.abs(pair.compared(dim).astype(int) - truth).max() <= 2
    assert pair.compared(dim).shape == (64, 64, 3)
    as_it_is = replace(pair, fitted=False)
    assert np.array_equal(as_it_is.compared(dim), np.repeat(dim, 3, axis=2))


def test_a_blank_restoration_is_compared_as_the_mean(load) -> None:
    truth = ramp()
    blank = np.full_like(truth, 7)
    slope, offset = cases.fitted_scale(blank, truth)
    assert (slope, offset) == (0, pytest.approx(truth.mean()))


@pytest.mark.parametrize(
    ("file", "view"),
    [
        ("noisy/w2s_003_2.png", "w2s_003"),
        ("low/actin-20x-noise1.png", "actin-20x"),
        ("low/nucleus.png", "nucleus"),
    ],
)
def test_channels_and_repetitions_count_as_one_field_of_view(load, file: str, view: str) -> None:
    assert cases.field_of_view(file) == view


def write_pairs(folder: Path, listed: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Write pairs of (noisy, clean) images by file name, and their manifest."""
    lines = ["noisy,clean"]
    for name, (noisy, clean) in listed.items():
        clean_name = f"{Path(name).parent}-clean/{Path(name).name}"
        for file, image in ((name, noisy), (clean_name, clean)):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / file)
        lines.append(f"{name},{clean_name}")
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def test_real_pairs_leave_out_what_is_only_to_be_looked_at(load, tmp_path: Path) -> None:
    wide, small = ramp(128)[..., 0], ramp(64)[..., 0]
    listed = {"a/wide.png": (wide, wide // 2), "a/small.png": (small, small)}
    listed["srh/one.png"] = small, small
    write_pairs(tmp_path, listed)
    pairs = cases.real_cases(tmp_path, size=64)
    # Each image's first crop comes before any second one.
    assert [p.name for p in pairs] == [
        "wide+0+0", "small+0+0", "wide+64+0", "wide+0+64", "wide+64+64",
    ]  # fmt: skip
    whole = np.concatenate([p.truth.ravel() for p in pairs if p.group == "wide"])
    assert (whole.min(), whole.max()) == (0, 255)
    assert len({p.seed for p in pairs}) == 5
    with pytest.raises(ImageSizeError, match="64x64"):
        cases.real_cases(tmp_path, size=100)


def test_real_pairs_that_do_not_fit_are_refused(load, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no .*manifest"):
        cases.real_cases(tmp_path)
    write_pairs(tmp_path, {"a/one.png": (ramp(64)[..., 0], ramp(80)[..., 0])})
    with pytest.raises(InputError, match="of one size"):
        cases.real_cases(tmp_path, size=64)


def figure(value: float, half: float = 0.1, count: int = 9) -> Interval:
    return Interval(value, value - half, value + half, count)


@pytest.mark.parametrize(
    ("better", "others", "said"),
    [
        ("higher", {"median": 1.0}, "is first"),
        ("higher", {"median": 1.9}, "is best, not first: its interval overlaps median"),
        ("higher", {"median": 2.1, "ccdf": 1.0}, "is behind median (the intervals overlap)"),
        ("higher", {"median": 3.0}, "is clearly behind median"),
        ("lower", {"median": 3.0}, "is first"),
        ("lower", {"median": 2.1, "ccdf": 9.0}, "is best, not first: its interval overlaps median"),
    ],
)
def test_first_is_said_only_where_intervals_do_not_overlap(
    load, better: str, others: dict[str, float], said: str
) -> None:
    found = {name: figure(value) for name, value in others.items()} | {"ours": figure(2.0)}
    text = standing(Column("x", "X", better, 2), found, ["ours"], list(others))
    assert text == f"X: ours {said}"


def test_rows_without_a_figure_or_an_interval_are_not_compared(load) -> None:
    column = Column("x", "X", "lower", 2)
    found = {"ours": figure(2.0), "none": figure(float("nan"), count=0), "one": figure(1.0, 0)}
    assert standing(column, found, ["ours"], ["none"]) == ""
    assert standing(column, found, ["ours"], []) == ""
    # One tile alone has no interval.
    assert standing(column, found, ["one"], ["ours"]) == ""


def test_fields_are_described_in_parts_or_whole(load) -> None:
    images = [np.full((128, 128, 3), k, np.uint8) for k in range(2)]
    cut, groups = parts(images, ["a", "b"], 64)
    assert cut.shape == (8, 64, 64, 3)
    assert groups == ["a"] * 4 + ["b"] * 4
    assert parts(images, ["a", "b"], None)[0].shape == (2, 128, 128, 3)
    assert parts(images, ["a", "b"], 200)[0].shape == (2, 128, 128, 3)


def test_distances_need_enough_fields_and_are_0_for_the_truth(load) -> None:
    columns = load("rscd_columns")

    class Means:
        name = "means"

        def __call__(self, images: np.ndarray) -> np.ndarray:
            return images.mean((1, 2), dtype=np.float64)

    judge = columns.distances(Means(), {"fid": "FID (means)"}, None)
    rng = np.random.default_rng(0)
    truth = [rng.integers(0, 255, (32, 32, 3), dtype=np.uint8) for _ in range(8)]
    groups = [str(k) for k in range(8)]
    found = judge.measure(Fields(truth, truth, groups))
    assert found["fid, means"].value == pytest.approx(0, abs=1e-6)
    brighter = [image // 2 + 100 for image in truth]
    assert judge.measure(Fields(brighter, truth, groups))["fid, means"].value > 100
    assert judge.measure(Fields(truth[:2], truth[:2], groups[:2])) == {}


def test_measures_without_weights_are_named_and_not_made_up(load, tmp_path: Path) -> None:
    weights = load("rscd_columns").Weights
    judges, notes = weights().judges()
    assert [c.header for judge in judges for c in judge.columns] == ["PSNR ↑", "SSIM ↑"]
    assert [note.partition(": not available: needs ")[0] for note in notes] == [
        "LPIPS", "FID and KID", "CMMD", "FID, KID and CMMD (own)",
    ]  # fmt: skip
    judges, notes = weights(lpips=tmp_path).judges()
    assert len(judges) == 1
    assert "(--lpips)" in notes[0]
    assert "alexnet" in notes[0]


def test_what_was_restored_is_not_restored_again(load, tmp_path: Path) -> None:
    rows = load("rscd_rows")
    pairs = [cases.Case(f"{k}", "a", k, ramp(), ramp()) for k in range(2)]
    row = rows.row_of("median", "baseline", "median")
    made = Store(tmp_path).restored(row, pairs)
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"key": "half')
    again = Store(tmp_path).restored(row, pairs)
    assert [r.seconds for r in again] == [r.seconds for r in made]
    assert all(np.array_equal(*(r.pixels for r in both)) for both in zip(made, again, strict=True))
    other = replace(pairs[0], given=255 - pairs[0].given)
    Store(tmp_path).restored(row, [other])
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[-1])["row"] == "median"


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a denoiser for one channel that has learned nothing."""
    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig("rscd", "small", "epsilon", channels=1, context=False, highest_t=200)
    save_model(folder, config.network().state_dict(), config)
    return folder


def test_the_table_says_what_it_measured_and_what_it_could_not(
    load, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("rscd_table")
    noise = np.random.default_rng(0).normal(0, 20, (64, 64))
    clean = ramp()[..., 0]
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    write_pairs(tmp_path, {"a/one.png": (noisy, clean), "a/two.png": (noisy // 2, clean)})
    page = tmp_path / "rscd.md"
    arguments = ["--fluo", untrained, "--real", tmp_path, "--size", 64, "--prior", 0]
    arguments += ["--rows", "degraded", "median", "fixed_10", "--store", tmp_path / "store"]
    arguments += ["--ablation", f"ours again={untrained}:fixed_10", "--out", page]
    monkeypatch.setattr(sys, "argv", ["rscd_table.py", *map(str, arguments)])
    for _ in range(2):
        runpy.run_path(str(BENCHMARKS / "rscd_table.py"), run_name="__main__")
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- begin real-many -->") == text.count("<!-- begin real-few -->") == 1
    assert "he-many" not in text
    assert "2 64×64 crops of real noisy microscopy" in text
    assert "slope fitted to the noisy crops is" in text
    assert "CMMD: not available: needs CLIP weights (--clip)." in text
    assert "| degraded | " in text
    assert text.count("| fixed_10 | ") == text.count("| ours again | ") == 1
    # The same weights with the same settings: restored once, and not again in the second run.
    assert len((tmp_path / "store" / "records.jsonl").read_text().splitlines()) == 4


def test_rows_and_models_are_named_as_asked(
    load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = load("rscd_table")
    for wrong in (["--row", "mine=folder"], ["--ablation", "folder:paper"]):
        monkeypatch.setattr(sys, "argv", ["rscd_table.py", *wrong])
        with pytest.raises(SystemExit):
            table.main()
        assert f"{wrong[0]} {wrong[1]!r}: give NAME=" in capsys.readouterr().err
