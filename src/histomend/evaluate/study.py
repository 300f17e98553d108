"""A blinded study of pairs of images: its trials, its answers, and what they say.

Each rater sees all pairs, in an order of their own. A study of "preference" asks which image of a
pair is better; one of "real" shows every image by itself and asks whether it is real or restored.
The first image of a pair is the real one, or what the second is compared with.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from histomend.errors import InputError, SettingError
from histomend.evaluate.ratings import fleiss_kappa, matthews, wilson
from histomend.image.writing import write_text
from histomend.jobs.inputs import list_images

PREFERENCE, REAL = "preference", "real"
QUESTIONS = {PREFERENCE: "Which one is better?", REAL: "Real or restored?"}
LEFT, RIGHT, EQUAL, IS_REAL, IS_RESTORED = "left", "right", "equal", "real", "restored"
ANSWERS = {PREFERENCE: (LEFT, RIGHT, EQUAL), REAL: (IS_REAL, IS_RESTORED)}
SCHEMA_VERSION = 1
_MOST_RATERS = 1000


@dataclass(frozen=True)
class Pair:
    """Two images of one thing.

    Parameters
    ----------
    name : str
    first, second : str
        Files.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Trial:
    """What a rater is shown at once.

    Parameters
    ----------
    pair : int
    shown : tuple of int
        0 for the first image and 1 for the second, from left to right.
    blurred : int or None
        Of a catch trial, which of `shown` is blurred beyond doubt: whoever looks, sees it.
    """

    pair: int
    shown: tuple[int, ...]
    blurred: int | None = None


@dataclass(frozen=True)
class Answer:
    """What a rater said.

    Parameters
    ----------
    rater : int
    trial : int
    answer : "left", "right" or "equal"; "real" or "restored"
    seconds : float
        From when the images were shown.
    when : str
        UTC.
    """

    rater: int
    trial: int
    answer: str
    seconds: float
    when: str = ""


@dataclass
class Study:
    """A study, kept in a file.

    Parameters
    ----------
    path : Path
    pairs : list of Pair
    names : (str, str)
        What the first and the second images are called.
    question : "preference" or "real"
    seed : int
    catches : int
        Catch trials of each rater.
    raters : list of str
    answers : list of Answer
    """

    path: Path
    pairs: list[Pair]
    names: tuple[str, str]
    question: str = PREFERENCE
    seed: int = 0
    catches: int = 2
    raters: list[str] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def trials(self, rater: int) -> list[Trial]:
        """Return all trials of a rater, always the same ones."""
        draw = random.Random(f"{self.seed} {rater}")  # noqa: S311  not for secrets
        count = len(self.pairs)
        if self.question == PREFERENCE:
            # Half of the pairs one way round, and the other way round for the next rater.
            sides = [(n + rater // 2) % 2 for n in range(count)]
            random.Random(f"{self.seed} {rater // 2} sides").shuffle(sides)  # noqa: S311
            trials = [
                Trial(pair, (0, 1) if side == rater % 2 else (1, 0))
                for pair, side in enumerate(sides)
            ]
        else:
            trials = [Trial(pair, (which,)) for pair in range(count) for which in (0, 1)]
        draw.shuffle(trials)
        for _ in range(self.catches):
            place = draw.randrange(len(trials) // 4, len(trials) + 1)
            pair = draw.randrange(count)
            shown = (0, 0) if self.question == PREFERENCE else (0,)
            trials.insert(place, Trial(pair, shown, draw.randrange(len(shown))))
        return trials

    def enter(self, name: str) -> int:
        """Return the number of a rater, new or known.

        Raises
        ------
        SettingError
            The name is empty or too long.
        """
        known = " ".join(name.split())
        if not 0 < len(known) <= 60 or not known.isprintable():
            raise SettingError("A rater needs a name of at most 60 letters, a code for instance.")
        if known not in self.raters:
            if len(self.raters) >= _MOST_RATERS:
                raise SettingError("There are too many raters in this study.")
            self.raters.append(known)
        return self.raters.index(known)

    def next_trial(self, rater: int) -> int:
        """Return the number of the first trial that a rater has not answered.

        Raises
        ------
        InputError
            There is no such rater.
        """
        if not 0 <= rater < len(self.raters):
            raise InputError(f"There is no rater {rater}.")
        return sum(answer.rater == rater for answer in self.answers)

    def add(self, rater: int, trial: int, answer: str, seconds: float) -> None:
        """Keep an answer, and write it at once.

        Raises
        ------
        InputError
            The trial is not the rater's next one, or the answer none of the question.
        OutputError
        """
        if trial != self.next_trial(rater) or trial >= len(self.trials(rater)):
            raise InputError(
                f"Trial {trial} is not the next one of this rater. Load the page anew."
            )
        if answer not in ANSWERS[self.question]:
            raise InputError(f"{answer!r} is none of {', '.join(ANSWERS[self.question])}.")
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.answers.append(Answer(rater, trial, answer, round(seconds, 2), when))
        try:
            self.write()
        except Exception:
            self.answers.pop()
            raise

    def write(self) -> None:
        """Write the file.

        Raises
        ------
        OutputError
        """
        data = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        del data["path"]
        write_text(self.path, json.dumps(data, indent=1) + "\n", force=True)

    @classmethod
    def read(cls, path: Path) -> Study:
        """Read a study.

        Raises
        ------
        InputError
            It is no study, or damaged.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError("it is of another version")
            data["pairs"] = [Pair(**pair) for pair in data["pairs"]]
            data["answers"] = [Answer(**answer) for answer in data["answers"]]
            first, second = data["names"]
            study = cls(path, **{**data, "names": (str(first), str(second))})
            if study.question not in QUESTIONS or not study.pairs:
                raise ValueError("it has no question or no pairs")
            trials = [len(study.trials(rater)) for rater in range(len(study.raters))]
            if any(
                not 0 <= a.rater < len(trials)
                or not 0 <= a.trial < trials[a.rater]
                or a.answer not in ANSWERS[study.question]
                for a in study.answers
            ):
                raise ValueError("an answer is to no trial")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(
                f"{path}: is no study that can be read ({error}). Name the file that "
                "`histomend rate PAIRS -o FILE` wrote."
            ) from error
        return study


def pairs_of(folders: Sequence[Path]) -> tuple[list[Pair], tuple[str, str]]:
    """Return the pairs in two folders, or in a folder that holds two: files of one name.

    Raises
    ------
    InputError
        There are not two folders, or files without a partner.
    """
    if len(folders) == 1 and folders[0].is_dir():
        inside = sorted(path for path in folders[0].iterdir() if path.is_dir())
        folders = [path for path in inside if not path.name.startswith(".")]
    if len(folders) != 2 or not all(path.is_dir() for path in folders):
        raise InputError(
            "A study needs two folders, with files of the same names: first the real images, or "
            "those to compare with, then what was made. Name both, or a folder that holds both."
        )
    by_name = [{path.stem: path for path in list_images([folder])} for folder in folders]
    alone = sorted(by_name[0].keys() ^ by_name[1].keys())
    if alone:
        raise InputError(
            f"{len(alone)} images have no partner in the other folder: {', '.join(alone[:5])}. "
            "Both folders have to hold files of the same names."
        )
    pairs = [
        Pair(name, str(first.absolute()), str(by_name[1][name].absolute()))
        for name, first in sorted(by_name[0].items())
    ]
    return pairs, (folders[0].name, folders[1].name)


def report(study: Study) -> dict[str, Any]:
    """Say what the answers are worth: per rater, pooled, and how far raters agree.

    Shares come with Wilson intervals of 95 %. Pooled answers are taken as if they were
    independent, which those of one rater, or to one pair, are not wholly.

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
    real = [(trial, answer) for _, trial, answer, _ in rows if trial.blurred is None]
    catches = [(trial, answer) for _, trial, answer, _ in rows if trial.blurred is not None]
    found: dict[str, Any] = {
        "answers": len(real),
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
    truth = [trial.shown[0] == 0 for trial, _ in real]
    said = [answer.answer == IS_REAL for _, answer in real]
    right = sum(a == b for a, b in zip(truth, said, strict=True))
    low, high = wilson(right, len(real))
    correlation = matthews(truth, said)
    return found | {
        "right": right,
        "share_right": right / len(real) if real else None,
        "low": low,
        "high": high,
        "taken_for_real": sum(s for s, t in zip(said, truth, strict=True) if not t),
        "matthews": None if correlation != correlation else correlation,
    }


def _kappa(study: Study, rows: Sequence[tuple[int, Trial, Answer, str]]) -> float | None:
    done = [r for r in range(len(study.raters)) if study.next_trial(r) == len(study.trials(r))]
    if len(done) < 2:
        return None
    classes = ("first", "second", EQUAL) if study.question == PREFERENCE else ANSWERS[REAL]
    counts: dict[tuple[int, ...], Counter[str]] = {}
    for rater, trial, answer, _ in rows:
        if rater in done and trial.blurred is None:
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
            "left": "" if len(trial.shown) == 1 else study.names[trial.shown[0]],
            "right": "" if len(trial.shown) == 1 else study.names[trial.shown[1]],
            "shown": study.names[trial.shown[0]] if len(trial.shown) == 1 else "",
            "answer": answer.answer,
            "seconds": answer.seconds,
            "when": answer.when,
        }
        for rater, trial, answer in _answered(study)
    ]
