"""Measures of one's own pairs: restored images against true ones, by file or by folder.

What is measured is listed in `histomend.evaluate.columns.MEASURES`, as for the papers' tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from histomend.errors import InputError, SettingError
from histomend.evaluate.column import Column
from histomend.evaluate.columns import MEASURES
from histomend.evaluate.harness.opening import LEAST_IMAGES, distances, merged
from histomend.evaluate.own_measures import Found, Measures, Pair
from histomend.evaluate.tables import Interval, bootstrap
from histomend.jobs.inputs import list_images, with_masks

USUAL = (
    "psnr", "ssim", "fsim", "psnr_inside", "laplacian", "spectrum", "border", "colour",
    "nuclei_inside",
)  # fmt: skip
"""What is measured unless measures are named: all that needs nothing and has no second variant."""


@dataclass(frozen=True)
class Evaluation:
    """What came of all pairs.

    Attributes
    ----------
    pairs : tuple of Pair
    figures : tuple of dict
        By column, for each pair; NaN where the mask is too thin for one. Distances between sets
        have none.
    summary : dict of str to Interval
        By column, over all pairs, with a 95 % interval from drawing pairs.
    columns : dict of str to Column
        Those of the summary.
    notes : tuple of str
    """

    pairs: tuple[Pair, ...]
    figures: tuple[Mapping[str, float], ...]
    summary: Mapping[str, Interval]
    columns: Mapping[str, Column]
    notes: tuple[str, ...] = field(default=())

    @property
    def of_pairs(self) -> list[str]:
        """The columns that have a figure for each pair: not distances between sets."""
        return [key for key in self.summary if any(key in found for found in self.figures)]

    def about(self, key: str) -> str:
        """Return the range of a column, and what computes it."""
        return f"{self.columns[key].within}; {_library_of(key)}"

    def as_json(self) -> dict[str, Any]:
        """Return all of it for JSON, without infinity and NaN, which JSON does not know."""
        return {
            "pairs": [
                {"name": pair.name, "restored": str(pair.restored), "truth": str(pair.truth)}
                | {key: finite(value) for key, value in found.items()}
                for pair, found in zip(self.pairs, self.figures, strict=True)
            ],
            "summary": {
                key: {
                    "value": finite(found.value),
                    "low": finite(found.low),
                    "high": finite(found.high),
                    "pairs": found.count,
                    "better": self.columns[key].better,
                    "range": self.columns[key].within,
                    "library": _library_of(key),
                }
                for key, found in self.summary.items()
            },
            "notes": list(self.notes),
        }


def _library_of(key: str) -> str:
    """Return which package computes a column."""
    measures = MEASURES.values()
    return next(m.library for m in measures if any(c.key == key for c in m.columns))


def finite(value: float) -> float | str | None:
    """Return a number that JSON and tables of other programs can hold."""
    if math.isnan(value):
        return None
    return "inf" if math.isinf(value) else value


def find_pairs(restored: Path, truth: Path, mask: Path | None = None) -> list[Pair]:
    """Return which files belong together: two files, or those of equal names in two folders.

    Parameters
    ----------
    mask : Path, optional
        A mask for all, or a folder with one for each by name; without it masks that lie beside the
        restored images are taken.

    Raises
    ------
    InputError
        A file without its counterpart, or a file against a folder.
    """
    if restored.is_dir() != truth.is_dir():
        raise InputError(
            f"{restored} and {truth}: one is a folder and the other is not. Name two files, or two "
            "folders whose files have the same names."
        )
    if not restored.is_dir():
        beside = with_masks([restored])[restored] if mask is None else mask
        return [Pair(restored.name, restored, truth, beside)]
    first, second = (_by_stem(list_images([folder]), folder) for folder in (restored, truth))
    for one, other, where in ((first, second, truth), (second, first, restored)):
        alone = sorted(set(one) - set(other))
        if alone:
            raise InputError(
                f"{len(alone)} image{'s have' if len(alone) > 1 else ' has'} no counterpart in "
                f"{where}: {', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}. Files that "
                "belong together have the same name, apart from what follows the last dot."
            )
    masks = with_masks(list(first.values()))
    if mask is not None:
        found = _by_stem(list_images([mask]), mask) if mask.is_dir() else {}
        masks = {
            path: found.get(stem, None if mask.is_dir() else mask) for stem, path in first.items()
        }
    return [Pair(stem, first[stem], second[stem], masks[first[stem]]) for stem in sorted(first)]


def evaluate_pairs(
    pairs: Sequence[Pair],
    *,
    measures: Iterable[str] | None = None,
    places: Mapping[str, str | Path] | None = None,
    mpp: float | None = None,
    workers: int = 1,
    tick: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure pairs, and summarise them.

    Parameters
    ----------
    measures : names in `MEASURES`, by default `USUAL` and those that have a place.
    places : by name, the file, folder or hub name of what a measure needs
    mpp : float, optional
        Pixel size in um for the nuclei, where the file does not say; else 0.5.
    workers : int
        Pairs that are measured at once. What is found does not depend on it.
    tick : function of (pairs done, pairs in all), optional

    Raises
    ------
    SettingError
        There is no such measure, or none of them is at hand.
    InputError
        A file that cannot be read; unequal sizes or types; a mask that does not fit or is empty.
    """
    places = places or {}
    chosen = list(dict.fromkeys([*USUAL, *places] if measures is None else measures))
    if not pairs:
        raise InputError("There are no pairs to measure.")
    opened = Measures(chosen, places, mpp)
    if not opened.names:
        raise SettingError(f"Nothing can be measured. {' '.join(merged(opened.missing))}")
    found: list[Found] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done, one in enumerate(pool.map(opened.of, pairs), 1):
                found.append(one)
                if tick is not None:
                    tick(done, len(pairs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    notes = merged(opened.missing)
    masked = any(pair.mask is not None for pair in pairs)
    columns: dict[str, Column] = {}
    summary: dict[str, Interval] = {}
    for name in opened.names:
        measure = MEASURES[name]
        if measure.of == "sets":
            if len(pairs) < LEAST_IMAGES:
                told = " and ".join(column.name for column in measure.columns)
                notes.append(f"{told}: of {LEAST_IMAGES} pairs or more, and there are fewer.")
                continue
            told_of = _distances(name, pairs, found)
        else:
            told_of = {c.key: _summarised(c, pairs, found) for c in measure.columns}
        for column in measure.columns:
            # Without a mask what looks at its border has nothing to say, and no row.
            if masked or told_of[column.key].count:
                columns[column.key], summary[column.key] = column, told_of[column.key]
    if not masked and any(MEASURES[name].of == "masks" for name in opened.names):
        notes.append("No mask was given: what is measured inside one is of the whole image.")
    if len(pairs) == 1:
        notes.append("One pair has no interval.")
    figures = tuple(
        {key: _figure(value) for key, value in one.figures.items() if key in columns}
        for one in found
    )
    return Evaluation(tuple(pairs), figures, summary, columns, tuple(notes))


def _by_stem(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise InputError(
                f"{found[stem]} and {path} have the same name apart from what follows the last "
                "dot, so it cannot be told which is meant. Move one of them."
            )
        found[stem] = path
    return found


def _distances(name: str, pairs: Sequence[Pair], found: Sequence[Found]) -> dict[str, Interval]:
    """Return distances between all restored and all true images."""
    restored, truth = (
        np.concatenate([one.features[name][turn] for one in found]) for turn in (0, 1)
    )
    groups = [
        pair.name
        for pair, one in zip(pairs, found, strict=True)
        for _ in range(len(one.features[name][0]))
    ]
    return distances(MEASURES[name].columns, restored, truth, groups)


def _figure(value: np.ndarray) -> float:
    """Return the figure of one pair: of a ratio of sums that of its own sums."""
    if value.ndim == 0:
        return float(value)
    return float(value[0] / value[1]) if value[1] else float("nan")


def _summarised(column: Column, pairs: Sequence[Pair], found: Sequence[Found]) -> Interval:
    known = [
        (one.figures[column.key], pair.name)
        for one, pair in zip(found, pairs, strict=True)
        if column.key in one.figures and not np.isnan(one.figures[column.key]).any()
    ]
    if not known:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    values, names = zip(*known, strict=True)
    if np.isinf(values).any():
        best = float("inf") if np.isinf(values).all() else float("nan")
        return Interval(best, best, best, len(values))
    return bootstrap(np.asarray(values), groups=names, statistic=column.over)
