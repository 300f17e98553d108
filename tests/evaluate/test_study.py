"""A study: who sees what, what is kept, and what is said of it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from histomend.errors import InputError, SettingError
from histomend.evaluate.study import Pair, Study, pairs_of
from histomend.evaluate.study_report import is_caught, report, rows_of
from histomend.image import write_image


def study(tmp_path: Path, count: int = 40, **settings: object) -> Study:
    pairs = [Pair(f"p{n}", f"a/{n}.png", f"b/{n}.png") for n in range(count)]
    return Study(tmp_path / "study.json", pairs, ("before", "after"), **settings)  # type: ignore[arg-type]


def test_every_rater_sees_every_pair_once_and_each_side_as_often(tmp_path: Path) -> None:
    asked = study(tmp_path, catches=3)
    orders = []
    for rater in range(4):
        trials = asked.trials(rater)
        real = [trial for trial in trials if trial.blurred is None]
        assert sorted(trial.pair for trial in real) == list(range(40))
        assert Counter(trial.shown for trial in real) == {(0, 1): 20, (1, 0): 20}
        assert len(trials) == 43
        assert asked.trials(rater) == trials, "always the same"
        orders.append([trial.pair for trial in real])
    assert len({tuple(order) for order in orders}) == 4
    # What one rater sees on the left, the next one sees on the right.
    one, other = ({t.pair: t.shown for t in asked.trials(r) if t.blurred is None} for r in (0, 1))
    assert all(one[pair] != other[pair] for pair in one)
    assert study(tmp_path, catches=3, seed=1).trials(0) != asked.trials(0)


def test_of_real_or_restored_every_image_is_shown_once(tmp_path: Path) -> None:
    trials = study(tmp_path, question="real", catches=0).trials(0)
    assert Counter((t.pair, t.shown) for t in trials) == {
        (pair, (which,)): 1 for pair in range(40) for which in (0, 1)
    }


def answer_all(asked: Study, rater: int, prefers: int) -> None:
    """Prefer the first (0) or second (1) image throughout, and notice what is blurred."""
    for number, trial in enumerate(asked.trials(rater)):
        if trial.blurred is not None:
            said = "right" if trial.blurred == 0 else "left"
        else:
            said = "left" if trial.shown[0] == prefers else "right"
        asked.add(rater, number, said, 2.0)


def test_what_is_said_of_preferences(tmp_path: Path) -> None:
    asked = study(tmp_path, count=10)
    for name, prefers in (("ann", 1), ("bea", 1), ("cem", 0)):
        answer_all(asked, asked.enter(name), prefers)
    found = report(Study.read(asked.path))
    ann = found["raters"][0]
    assert (ann["first"], ann["second"], ann["share_second"]) == (0, 10, 1)
    assert ann["low"] == pytest.approx(0.7225, abs=1e-4)  # Wilson, 10 of 10
    assert (ann["catches_right"], ann["catches"]) == (2, 2)
    pooled = found["pooled"]
    assert (pooled["first"], pooled["second"]) == (10, 20)
    assert (pooled["low"], pooled["high"]) == pytest.approx((0.4878, 0.8077), abs=1e-4)
    # Two of three agree on each pair: (1/3 - 5/9) / (4/9).
    assert found["kappa"] == pytest.approx(-0.5)


def test_what_is_said_of_real_or_restored(tmp_path: Path) -> None:
    asked = study(tmp_path, count=4, question="real", catches=1)
    rater = asked.enter("ann")
    wrong = 1  # one restored image is taken for real
    for number, trial in enumerate(asked.trials(rater)):
        truth = "real" if trial.shown[0] == 0 and trial.blurred is None else "restored"
        if trial.blurred is None and truth == "restored" and wrong:
            truth, wrong = "real", 0
        asked.add(rater, number, truth, 1)
    said = report(asked)["pooled"]
    assert (said["right"], said["answers"], said["taken_for_real"]) == (7, 8, 1)
    assert said["matthews"] == pytest.approx((4 * 3) / (5 * 4 * 4 * 3) ** 0.5)
    assert report(asked)["kappa"] is None
    assert said["catches_right"] == 1


def test_what_a_rater_saw_first_of_a_pair_counts_by_itself(tmp_path: Path) -> None:
    asked = study(tmp_path, count=6, question="real", catches=0)
    rater = asked.enter("ann")
    first: dict[int, int] = {}
    for number, trial in enumerate(asked.trials(rater)):
        first.setdefault(trial.pair, trial.shown[0])
        # Who has seen one of a pair knows the other.
        known = first[trial.pair] != trial.shown[0]
        asked.add(rater, number, "restored" if known and trial.shown[0] else "real", 1)
    said = report(asked)["raters"][0]
    restored_first = sum(first.values())
    assert 0 < restored_first < 6
    assert said["right"] == 12 - restored_first
    assert (said["first_sight"]["right"], said["first_sight"]["answers"]) == (6 - restored_first, 6)


def test_a_rater_goes_on_where_they_stopped(tmp_path: Path) -> None:
    asked = study(tmp_path, count=3)
    rater = asked.enter(" ann  b ")
    asked.add(rater, 0, "left", 1.23456)
    again = Study.read(asked.path)
    assert again.enter("ann b") == rater
    assert again.next_trial(rater) == 1
    with pytest.raises(InputError, match="not the next one"):
        again.add(rater, 0, "left", 1)
    with pytest.raises(InputError, match="none of left"):
        again.add(rater, 1, "restored", 1)
    (row,) = rows_of(again)
    assert (row["rater"], row["answer"], row["seconds"]) == ("ann b", "left", 1.23)
    assert {row["left"], row["right"]} <= {"before", "after"}


def test_the_last_answer_is_corrected_and_no_other(tmp_path: Path) -> None:
    asked = study(tmp_path, count=3, catches=0)
    rater, other = asked.enter("ann"), asked.enter("bea")
    with pytest.raises(InputError, match="not the last one"):
        asked.add(rater, -1, "left", 1, corrects=True)
    asked.add(rater, 0, "left", 1)
    asked.add(other, 0, "left", 1)
    asked.add(rater, 1, "left", 1)
    with pytest.raises(InputError, match="not the last one"):
        asked.add(rater, 0, "equal", 1, corrects=True)
    asked.add(rater, 1, "equal", 2, corrects=True)
    again = Study.read(asked.path)
    assert again.next_trial(rater) == 2
    rows = [(r["rater"], r["trial"], r["answer"], r["corrected"]) for r in rows_of(again)]
    assert rows == [("ann", 0, "left", 0), ("bea", 0, "left", 0), ("ann", 1, "equal", 1)]


@pytest.mark.parametrize("question", ["preference", "real"])
def test_what_is_shown_again_tells_how_far_a_rater_agrees_with_themselves(
    tmp_path: Path, question: str
) -> None:
    asked = study(tmp_path, question=question, repeats=5)
    plain = study(tmp_path, question=question)
    trials = asked.trials(0)
    assert [trial for trial in trials if not trial.again] == plain.trials(0)
    for number, trial in enumerate(trials):
        if trial.again:
            (first,) = [
                n for n, t in enumerate(trials) if t.pair == trial.pair and not t.again
                and t.blurred is None and (len(t.shown) == 2 or t.shown == trial.shown)
            ]  # fmt: skip
            assert trial.shown == trials[first].shown[::-1], "left and right are exchanged"
            assert number - first > len(trials) // 8
    assert sum(trial.again for trial in trials) == 5
    rater, changed = asked.enter("ann"), 2
    for number, trial in enumerate(trials):
        if question == "real":
            said = "real"
        else:
            said = "left" if trial.shown[0] == 1 else "right"
        if trial.again and changed:
            said = {"real": "restored", "left": "right", "right": "left"}[said]
            changed -= 1
        asked.add(rater, number, said, 1)
    found = report(asked)["raters"][0]
    assert (found["again"], found["again_same"]) == (5, 3)
    assert (found["again_low"], found["again_high"]) == pytest.approx((0.2307, 0.8824), abs=1e-4)
    assert found["answers"] == (40 if question == "preference" else 80)
    if question == "preference":
        assert found["share_second"] == 1, "what is shown again counts for nothing else"


def test_a_study_of_forty_pairs_is_rated_and_reported(tmp_path: Path) -> None:
    """Two raters who prefer the second image in 30 and 24 pairs of 40, in ten minutes each."""
    asked = study(tmp_path, catches=4, repeats=6)
    for name, prefers in (("ann", 30), ("bea", 24)):
        rater = asked.enter(name)
        for number, trial in enumerate(asked.trials(rater)):
            wanted = int(trial.pair < prefers)
            if trial.blurred is not None:
                wanted = trial.shown[0]
                said = "right" if trial.blurred == 0 else "left"
            else:
                said = "left" if trial.shown[0] == wanted else "right"
            asked.add(rater, number, said, 12)
    found = report(Study.read(asked.path))
    ann, bea = found["raters"]
    assert (ann["second"], bea["second"]) == (30, 24)
    assert (ann["low"], ann["high"]) == pytest.approx((0.5981, 0.8581), abs=1e-4)
    for rater in (ann, bea):
        assert (rater["catches_right"], rater["again_same"]) == (4, 6)
        assert rater["seconds"] * 50 == 600
    # They agree on 34 of 40; by chance on (54/80)² + (26/80)².
    chance = (54 / 80) ** 2 + (26 / 80) ** 2
    assert found["kappa"] == pytest.approx((34 / 40 - chance) / (1 - chance))


def test_a_catch_has_one_right_answer(tmp_path: Path) -> None:
    asked = study(tmp_path, count=5, catches=20)
    rater = asked.enter("ann")
    for number, trial in enumerate(asked.trials(rater)):
        asked.add(rater, number, "equal", 1)
        if trial.blurred is not None:
            assert not is_caught(trial, asked.answers[-1])
    assert report(asked)["pooled"]["catches_right"] == 0


@pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\x07"])
def test_names_of_raters_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingError):
        study(tmp_path).enter(name)


def test_pairs_are_files_of_one_name(tmp_path: Path) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    for folder, suffix in (("1-real", ".png"), ("2-made", ".tif")):
        (tmp_path / folder).mkdir()
        for name in ("b", "a"):
            write_image(tmp_path / folder / f"{name}{suffix}", pixels)
    pairs, names = pairs_of([tmp_path])
    assert names == ("1-real", "2-made")
    assert [(pair.name, Path(pair.second).name) for pair in pairs] == [
        ("a", "a.tif"),
        ("b", "b.tif"),
    ]
    (tmp_path / "2-made" / "a.tif").unlink()
    with pytest.raises(InputError, match="no partner"):
        pairs_of([tmp_path / "1-real", tmp_path / "2-made"])
    with pytest.raises(InputError, match="two folders"):
        pairs_of([tmp_path / "1-real"])


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"pairs": []},
        {"question": "which"},
        {"answers": [{"rater": 5, "trial": 0, "answer": "left", "seconds": 1}]},
    ],
)
def test_a_damaged_study_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    asked = study(tmp_path)
    asked.write()
    data = json.loads(asked.path.read_text())
    asked.path.write_text(json.dumps({**data, **change}))
    with pytest.raises(InputError, match="no study that can be read"):
        Study.read(asked.path)
