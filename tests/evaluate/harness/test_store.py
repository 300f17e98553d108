"""What was restored or measured once is not again, and what has changed is."""

from pathlib import Path

import numpy as np
import pytest

import histomend
from histomend.errors import InputError
from histomend.evaluate.column import Column, Measure
from histomend.evaluate.columns import MEASURES
from histomend.evaluate.harness.cases import Case
from histomend.evaluate.harness.datasets import DATASETS, VARIABLE, Data
from histomend.evaluate.harness.experiment import Experiment
from histomend.evaluate.harness.goals import between, first_of, not_under, report_goals
from histomend.evaluate.harness.judges import Fields
from histomend.evaluate.harness.opening import case_judge, open_judges
from histomend.evaluate.harness.rows import FunctionRow, MethodRow, left_alone
from histomend.evaluate.harness.store import Lines, Store


def case(number: int, *, mask: bool = False, shift: int = 0) -> Case:
    rng = np.random.default_rng(number)
    truth = rng.integers(60, 220, (64, 64, 3), dtype=np.uint8)
    noisy = np.clip(truth.astype(int) + rng.normal(0, 20 + shift, truth.shape), 0, 255)
    where = None
    if mask:
        where = np.zeros((64, 64), bool)
        where[20:40, 20:40] = True
    return Case(f"{number}", f"tile {number}", number, noisy.astype(np.uint8), truth, mask=where)


def test_what_a_row_depends_on_is_in_its_key() -> None:
    median = MethodRow("median", "baseline", "denoise", "median")
    keys = {
        median.key(case(0)),
        median.key(case(1)),
        median.key(case(0, shift=1)),
        MethodRow("x", "baseline", "denoise", "deep-image-prior").key(case(0)),
        MethodRow("x", "baseline", "denoise", "median", paste=True).key(case(0)),
        MethodRow("x", "baseline", "denoise", "median", variant="by hand").key(case(0)),
        MethodRow("x", "ours", "restore", "artifusion").key(case(0, mask=True)),
        MethodRow("x", "ours", "restore", "artifusion", options={"preset": "generate"}).key(
            case(0, mask=True)
        ),
        MethodRow("x", "ours", "denoise", "rscd").key(case(0)),
        # Presets whose settings look alike.
        *(
            MethodRow("x", "ours", "denoise", "rscd", options={"preset": preset}).key(case(0))
            for preset in ("paper", "no_recalibration", "noise_estimate")
        ),
    }
    assert len(keys) == 12
    # A name is no part of it.
    assert MethodRow("other", "ours", "denoise", "median").key(case(0)) == median.key(case(0))


def test_pasting_leaves_what_is_outside_the_mask() -> None:
    masked = case(0, mask=True)
    row = MethodRow("x", "baseline", "denoise", "median", paste=True)
    made = row.restore(masked).pixels
    assert np.array_equal(made[~masked.mask], masked.given[~masked.mask])
    assert not np.array_equal(made[masked.mask], masked.given[masked.mask])


def test_an_experiment_goes_on_where_it_was_and_another_version_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = [case(k) for k in range(3)]
    calls: list[str] = []

    def run() -> dict[str, float]:
        judges, _ = open_judges(["psnr", "ssim"], Lines(tmp_path / "figures.jsonl"))
        rows = [left_alone(), MethodRow("median", "baseline", "denoise", "median")]
        block = Experiment(cases, rows, judges).run(Store(tmp_path), calls.append)
        return {name: found["psnr"].value for name, found in block.found.items()}

    first = run()
    kept = {name: (tmp_path / name).read_text() for name in ("records.jsonl", "figures.jsonl")}
    assert [kept[name].count("\n") for name in kept] == [3, 12]
    assert run() == first
    assert {name: (tmp_path / name).read_text() for name in kept} == kept
    monkeypatch.setattr(histomend, "__version__", "99")
    assert run() == first
    assert (tmp_path / "records.jsonl").read_text().count("\n") == 6
    assert (tmp_path / "figures.jsonl").read_text().count("\n") == 24
    assert calls == ["degraded", "median"] * 3


def test_another_version_of_a_measure_is_measured_again(tmp_path: Path) -> None:
    column = Column("x", "X", "lower", 2)
    counted = []

    def compares(truth: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
        counted.append(len(truth))
        return {"x": np.arange(len(truth), dtype=float)}

    fields = Fields(
        [np.full((8, 8, 3), k, np.uint8) for k in range(3)],
        [np.zeros((8, 8, 3), np.uint8)] * 3,
        list("abc"),
    )
    lines = Lines(tmp_path / "figures.jsonl")
    for version in (1, 1, 2):
        measure = Measure((column,), lambda _: compares, version=version)
        judge = case_judge(measure, compares, lines, ["x", version])
        assert judge.measure(fields)["x"].value == 1
    assert counted == [3, 3]


def test_masks_are_part_of_what_is_measured(tmp_path: Path) -> None:
    judges, _ = open_judges(["l2"], Lines(tmp_path / "figures.jsonl"))
    masked = [case(k, mask=True) for k in range(2)]
    moved = FunctionRow("moved", "x", lambda c: np.where(c.mask[..., None], c.truth, 0))
    block = Experiment(masked, [moved], judges).run(Store(tmp_path))
    assert block.found["moved"]["l2"].value == 0
    whole = [case(k) for k in range(2)]
    made = [moved.of(c) for c in masked]
    assert judges[0].measure(Fields.of(whole, made))["l2"].value > 0


def test_rows_are_tested_against_one_case_by_case(tmp_path: Path) -> None:
    cases = [case(k) for k in range(8)]
    judges, _ = open_judges(["psnr"], Lines(tmp_path / "figures.jsonl"))
    rows = [
        left_alone(),
        FunctionRow("truth, nearly", "ours", lambda c: np.maximum(c.truth, 61)),
        FunctionRow("the same", "x", lambda c: c.given),
    ]
    block = Experiment(cases, rows, judges).run(Store(tmp_path))
    found = block.comparisons("degraded")["psnr"]
    assert set(found) == {"truth, nearly", "the same"}
    assert found["truth, nearly"].effect == 1
    # Of 8 signs alike by chance 2 of 256, and twice that as there are two rows.
    assert found["truth, nearly"].p == pytest.approx(2 * 2 / 256)
    assert found["the same"].p == 1


def test_data_that_is_not_there_is_named_with_a_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"neither --data nor HISTOMEND_DATA.*histomend tiles"):
        Data().of("he_clean_val")
    with pytest.raises(InputError, match="no folder of that name"):
        Data(tmp_path).of("he_clean_val")
    (tmp_path / "he_clean_val").mkdir()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert Data().of("he_clean_val") == tmp_path / "he_clean_val"
    assert not Data().has("srh")
    assert all(one.about and one.how.endswith((".", ")")) for one in DATASETS.values())


def test_every_measure_has_a_version() -> None:
    assert all(measure.version >= 1 for measure in MEASURES.values())


def test_goals_are_computed(tmp_path: Path) -> None:
    cases = [case(k) for k in range(3)]
    judges, _ = open_judges(["psnr"], Lines(tmp_path / "figures.jsonl"))
    rows = [
        FunctionRow("near", "ours", lambda c: np.maximum(c.truth, 62)),
        left_alone("noisy", "other"),
        FunctionRow("nearer", "other", lambda c: np.maximum(c.truth, 61)),
    ]
    block = Experiment(cases, rows, judges).run(Store(tmp_path))
    psnr = {name: found["psnr"].value for name, found in block.found.items()}
    aims = [
        between("near", "psnr", 10, 90),
        between("near", "psnr", 0, psnr["noisy"]),
        first_of(["near"], ["noisy"], "psnr"),
        first_of(["near"], ["noisy", "nearer"], "psnr"),
        not_under("near", ["noisy", "nearer"], "psnr", 20),
        not_under("noisy", ["near"], "psnr", 1),
        between("near", "ssim", 0, 1),
        between("nobody", "psnr", 0, 1),
        first_of(["near"], [], "psnr"),
    ]
    (said,) = report_goals(aims, block)
    # What cannot be told is left out.
    assert [found.split(" (")[0] for found in said.split(": ", 1)[1].split("; ")] == [
        "psnr of near 10 to 90: met",
        f"psnr of near 0 to {psnr['noisy']:g}: missed",
        "best psnr of all rows: met",
        "best psnr of all rows: missed",
        "psnr of near at most 20 under the best of the others: met",
        "psnr of noisy at most 1 under the best of the others: missed",
    ]
    assert "against nearer" in said
    assert report_goals([], block) == []
