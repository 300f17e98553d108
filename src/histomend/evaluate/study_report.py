"""What the answers of a study are worth: per rater, pooled, and how far raters agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from histomend.evaluate.ratings import fleiss_kappa, matthews, wilson
from histomend.evaluate.study import (
    ANSWERS,
    EQUAL,
    IS_REAL,
    IS_RESTORED,
    LEFT,
    PREFERENCE,
    QUESTIONS,
    REAL,
    RIGHT,
    Answer,
    Study,
    Trial,
)


def report(study: Study) -> dict[str, Any]:
    """Say what the answers are worth: per rater, pooled, and how far raters agree.

    Shares come with Wilson intervals of 95 %. Pooled answers are taken as if they were
    independent, which those of one rater, or to one pair, are not wholly. What was shown a second
    time counts for how far a rater agrees with themselves, and for nothing else.
    Of the question whether an image is real, `first_sight` counts what a rater saw first of each
    pair: of the other one they may remember it.

    Returns
    -------
    dict
        `raters`, a list with what each said; `pooled`; `kappa` of those who rated everything,
        None where it cannot be known.
    """
    rows = [(*said, study.raters[said[0]]) for said in _answered(study)]
    raters = [
        {"rater": name, **_said(study, [row for row in rows if row[-1] == name])}
        for name in study.raters
    ]
    return {
        "question": QUESTIONS[study.question],
        "names": study.names,
        "pairs": len(study.pairs),
        "raters": raters,
        "pooled": _said(study, rows),
        "kappa": _kappa(study, rows),
    }


def _answered(study: Study) -> list[tuple[int, Trial, Answer]]:
    trials = [study.trials(rater) for rater in range(len(study.raters))]
    return [(a.rater, trials[a.rater][a.trial], a) for a in study.answers]


def chosen(trial: Trial, answer: Answer) -> str:
    """Return what an answer means: "first", "second" or "equal"; "real" or "restored"."""
    if answer.answer not in (LEFT, RIGHT):
        return answer.answer
    return ("first", "second")[trial.shown[0 if answer.answer == LEFT else 1]]


def is_caught(trial: Trial, answer: Answer) -> bool:
    """Return whether the answer to a catch trial is the only right one."""
    if len(trial.shown) == 1:
        return answer.answer == IS_RESTORED
    return answer.answer == (RIGHT if trial.blurred == 0 else LEFT)


def _said(study: Study, rows: Sequence[tuple[int, Trial, Answer, str]]) -> dict[str, Any]:
    asked = [(trial, answer) for _, trial, answer, _ in rows if not trial.again]
    real = [(trial, answer) for trial, answer in asked if trial.blurred is None]
    catches = [(trial, answer) for trial, answer in asked if trial.blurred is not None]
    found: dict[str, Any] = {
        "answers": len(real),
        **_again(rows),
        "catches": len(catches),
        "catches_right": sum(is_caught(*row) for row in catches),
        "seconds": sum(answer.seconds for _, answer in real) / len(real) if real else None,
    }
    if study.question == PREFERENCE:
        counts = Counter(chosen(*row) for row in real)
        decided = counts["first"] + counts["second"]
        low, high = wilson(counts["second"], decided)
        return found | {
            "first": counts["first"],
            "second": counts["second"],
            "equal": counts["equal"],
            "share_second": counts["second"] / decided if decided else None,
            "low": low,
            "high": high,
        }
    return found | _told_apart(real) | {"first_sight": _told_apart(_at_first_sight(rows))}


def _told_apart(real: Sequence[tuple[Trial, Answer]]) -> dict[str, Any]:
    truth = [trial.shown[0] == 0 for trial, _ in real]
    said = [answer.answer == IS_REAL for _, answer in real]
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    low, high = wilson(right, len(real))
    correlation = matthews(truth, said)
    return {
        "answers": len(real),
        "right": right,
        "share_right": right / len(real) if real else None,
        "low": low,
        "high": high,
        "taken_for_real": sum(s for s, t in zip(said, truth, strict=True) if not t),
        "matthews": None if correlation != correlation else correlation,
    }


def _at_first_sight(
    rows: Sequence[tuple[int, Trial, Answer, str]],
) -> list[tuple[Trial, Answer]]:
    """Return the answers to the first that a rater saw of each pair.

    Who has seen the other one remembers it, and compares.
    """
    seen: set[tuple[int, int]] = set()
    found = []
    for rater, trial, answer, _ in sorted(rows, key=lambda row: (row[2].rater, row[2].trial)):
        if (rater, trial.pair) not in seen and trial.blurred is None:
            found.append((trial, answer))
        seen.add((rater, trial.pair))
    return found


def _again(rows: Sequence[tuple[int, Trial, Answer, str]]) -> dict[str, Any]:
    """Count how often raters said of the same thing, shown a second time, the same."""
    first: dict[tuple[int, ...], str] = {}
    pairs = []
    for rater, trial, answer, _ in sorted(rows, key=lambda row: (row[2].rater, row[2].trial)):
        if trial.blurred is not None:
            continue
        subject = (rater, trial.pair, *(trial.shown if len(trial.shown) == 1 else ()))
        if trial.again:
            pairs.append(first[subject] == chosen(trial, answer))
        else:
            first[subject] = chosen(trial, answer)
    low, high = wilson(sum(pairs), len(pairs))
    return {
        "again": len(pairs),
        "again_same": sum(pairs),
        "again_low": low,
        "again_high": high,
    }


def _kappa(study: Study, rows: Sequence[tuple[int, Trial, Answer, str]]) -> float | None:
    done = [r for r in range(len(study.raters)) if study.next_trial(r) == len(study.trials(r))]
    if len(done) < 2:
        return None
    classes = ("first", "second", EQUAL) if study.question == PREFERENCE else ANSWERS[REAL]
    counts: dict[tuple[int, ...], Counter[str]] = {}
    for rater, trial, answer, _ in rows:
        if rater in done and trial.blurred is None and not trial.again:
            subject = (trial.pair, *(trial.shown if len(trial.shown) == 1 else ()))
            counts.setdefault(subject, Counter())[chosen(trial, answer)] += 1
    found = fleiss_kappa([[count[name] for name in classes] for count in counts.values()])
    return None if found != found else found


def rows_of(study: Study) -> list[dict[str, Any]]:
    """Return the answers one by one, for a table."""
    return [
        {
            "rater": study.raters[rater],
            "trial": answer.trial,
            "pair": study.pairs[trial.pair].name,
            "catch": int(trial.blurred is not None),
            "again": int(trial.again),
            "left": "" if len(trial.shown) == 1 else study.names[trial.shown[0]],
            "right": "" if len(trial.shown) == 1 else study.names[trial.shown[1]],
            "shown": study.names[trial.shown[0]] if len(trial.shown) == 1 else "",
            "answer": answer.answer,
            "seconds": answer.seconds,
            "corrected": int(answer.corrected),
            "when": answer.when,
        }
        for rater, trial, answer in _answered(study)
    ]
