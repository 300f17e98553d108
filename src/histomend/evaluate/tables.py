"""Intervals, and tables that say which command made them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from histomend.errors import InputError, OutputError, utf8
from histomend.image import write_atomically


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes
    ----------
    value : float
    low, high : float
        Equal to ``value`` where there is only one group to draw from, and the interval unknown.
    count : int
        Number of values that the figure rests on.
    """

    value: float
    low: float
    high: float
    count: int

    def text(self, digits: int = 2) -> str:
        """Write the figure and its interval, ``23.97 (23.10 to 24.80)``."""
        if self.count == 0 or math.isnan(self.value):
            return "–"
        if self.value == math.inf:
            return "∞"
        shown = f"{self.value:.{digits}f}"
        if self.low == self.high:
            return shown
        return f"{shown} ({self.low:.{digits}f} to {self.high:.{digits}f})"


# From values (N, K), and how often each is drawn (D, N), to the statistic of every draw (D,).
Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the arithmetic mean of one column."""
    return (weights @ values[:, 0]) / weights.sum(axis=1)


def geometric_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the mean of ratios in one column: twice and half cancel out."""
    return np.exp(mean(np.log(values), weights))


def ratio_of_sums(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute the sum of the first column over that of the second; NaN where that is 0."""
    first, second = (weights @ values).T
    return np.divide(first, second, out=np.full(len(weights), np.nan), where=second > 0)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    *,
    groups: Sequence[str] | None = None,
    statistic: Statistic = mean,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """Estimate a statistic's 95 % interval by drawing groups with replacement.

    Parameters
    ----------
    values : (N,) or (N, K) float
        One row per measurement; NaN and infinite rows are left out.
    groups : sequence of str, optional
        What a measurement belongs to, such as its tile: crops of one tile are not independent,
        so whole groups are drawn. By default each measurement is its own group.
    statistic : callable
        :func:`mean`, :func:`geometric_mean`, :func:`ratio_of_sums`, or another of their kind.
    draws : int
    seed : int

    Returns
    -------
    Interval
        Percentile interval. It covers the choice of groups, not that of slides or of seeds.

    Raises
    ------
    InputError
        There are not as many groups as values.
    """
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    names = np.arange(len(rows)).astype(str) if groups is None else np.asarray(groups, dtype=str)
    if len(names) != len(rows):
        raise InputError(
            f"{len(rows)} values came with {len(names)} groups: name one group for each value."
        )
    kept = np.isfinite(rows).all(axis=1)
    rows, names = rows[kept], names[kept]
    if len(rows) == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    value = float(statistic(rows, np.ones((1, len(rows))))[0])
    distinct, member_of = np.unique(names, return_inverse=True)
    if len(distinct) == 1:
        return Interval(value, value, value, len(rows))
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(distinct), np.full(len(distinct), 1 / len(distinct)), size=draws)
    drawn = statistic(rows, times[:, member_of].astype(np.float64))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [0.025, 0.975]) if drawn.size else (value, value)
    return Interval(value, float(low), float(high), len(rows))


@dataclass(frozen=True)
class Table:
    """A table for the docs.

    Attributes
    ----------
    caption : str
        One paragraph: what was measured, on what.
    command : str
        The command line that makes it.
    header : tuple of str
    rows : tuple of tuple of str
        As wide as the header.
    notes : tuple of str
        Paragraphs below the table.
    """

    caption: str
    command: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Write the table as GitHub Markdown, its first column left-aligned, others right.

        Raises
        ------
        InputError
            A row is not as wide as the header.
        """
        for row in self.rows:
            if len(row) != len(self.header):
                raise InputError(
                    f"The row {row[:1]} has {len(row)} cells and the header {len(self.header)}: "
                    f"give every row one cell per column."
                )
        rule = ["---", *["---:"] * (len(self.header) - 1)]
        lines = [_line(cells) for cells in (self.header, rule, *self.rows)]
        parts = [self.caption, "\n".join(lines), *self.notes, f"Made by `{self.command}`."]
        return "\n\n".join(parts)


def write_section(path: Path, name: str, text: str) -> None:
    """Write a named section of a Markdown file, replacing an earlier one of that name.

    A section stands between ``<!-- begin NAME -->`` and ``<!-- end NAME -->``; text outside is
    left alone, so hand-written paragraphs survive. A new section is added at the end. The file is
    replaced as a whole or not at all.

    Parameters
    ----------
    path : Path
        Made, with its folders, if it is not there.
    name : str
        Letters, digits and hyphens.
    text : str
        Markdown.

    Raises
    ------
    InputError
        The name has other characters.
    OutputError
        The file cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise InputError(f"{name!r} cannot name a section: use letters, digits and hyphens.")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_text(encoding="utf-8") if path.exists() else ""
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written ({error.strerror}): choose another file or free the disk."
        ) from error
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if pattern.search(before):
        after = pattern.sub(lambda _: section, before, count=1)
    else:
        after = f"{before.rstrip()}\n\n{section}\n".lstrip()

    def encode(file: BinaryIO) -> None:
        file.write(utf8(after))

    write_atomically(path, encode)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
