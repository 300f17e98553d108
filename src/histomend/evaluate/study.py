"""A blinded study of pairs of images: its trials and its answers.

Each rater sees all pairs, in an order of their own. A study of "preference" asks which image of a
pair is better; one of "real" shows every image by itself and asks whether it is real or restored.
The first image of a pair is the real one, or what the second is compared with.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from histomend.errors import InputError, SettingError
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
    again : bool
        Whether the rater has seen it before, with left and right exchanged.
    """

    pair: int
    shown: tuple[int, ...]
    blurred: int | None = None
    again: bool = False


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
    corrected : bool
        Whether the rater went back to give it in place of another one.
    """

    rater: int
    trial: int
    answer: str
    seconds: float
    when: str = ""
    corrected: bool = False


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
    repeats : int
        Trials that each rater is shown a second time, to see whether they agree with themselves.
    raters : list of str
    answers : list of Answer
    """

    path: Path
    pairs: list[Pair]
    names: tuple[str, str]
    question: str = PREFERENCE
    seed: int = 0
    catches: int = 2
    repeats: int = 0
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
        return self._with_repeats(trials, rater)

    def _with_repeats(self, trials: list[Trial], rater: int) -> list[Trial]:
        """Show trials of the first half again in the last third, where they are not remembered."""
        draw = random.Random(f"{self.seed} {rater} again")  # noqa: S311
        early = [trial for trial in trials[: len(trials) // 2] if trial.blurred is None]
        out, late = list(trials), 2 * len(trials) // 3
        for trial in draw.sample(early, min(self.repeats, len(early))):
            again = replace(trial, shown=trial.shown[::-1], again=True)
            out.insert(draw.randrange(late, len(out) + 1), again)
        return out

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

    def add(
        self, rater: int, trial: int, answer: str, seconds: float, *, corrects: bool = False
    ) -> None:
        """Keep an answer, and write it at once.

        Parameters
        ----------
        corrects : bool
            It takes the place of the rater's last answer.

        Raises
        ------
        InputError
            The trial is not the rater's next one, or, of a correction, not the last one; or the
            answer is none of the question.
        OutputError
        """
        expected = self.next_trial(rater) - corrects
        if trial != expected or not 0 <= trial < len(self.trials(rater)):
            raise InputError(
                f"Trial {trial} is not the {'last' if corrects else 'next'} one of this rater. "
                "Load the page anew."
            )
        if answer not in ANSWERS[self.question]:
            raise InputError(f"{answer!r} is none of {', '.join(ANSWERS[self.question])}.")
        when = datetime.now(timezone.utc).isoformat(timespec="seconds")
        said = Answer(rater, trial, answer, round(seconds, 2), when, corrects)
        known = list(self.answers)
        self.answers = [a for a in known if (a.rater, a.trial) != (rater, trial)] + [said]
        try:
            self.write()
        except Exception:
            self.answers = known
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
