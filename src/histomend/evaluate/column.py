"""What a column of a table is, and a measure: columns that are computed together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from histomend.evaluate.tables import Interval, Statistic, mean

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
# From truth and images, (N, H, W, 3) each, to a figure for each image, by the column's key.
Compares = Callable[[Pixels, Pixels], dict[str, npt.NDArray[np.float64]]]
# The same with masks (N, H, W): figures (N,), or (N, 2) where the column is a ratio of sums.
ComparesInside = Callable[[Pixels, Pixels, Mask], dict[str, npt.NDArray[np.float64]]]


_ARROWS = {"lower": "↓", "higher": "↑", "one": "→ 1"}


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    key : str
        Of the figure.
    name : str
    better : "lower", "higher" or "one"
        "one": a ratio to the truth, which is 1 for another image of the same tissue.
    digits : int
        After the point.
    over : function
        From figures of single images to that of all.
    within : str
        Which values it takes, and their unit.
    """

    key: str
    name: str
    better: Literal["lower", "higher", "one"]
    digits: int
    over: Statistic = mean
    within: str = ""

    @property
    def header(self) -> str:
        """The name, with an arrow that says which way is better."""
        return f"{self.name} {_ARROWS[self.better]}"

    def ahead(self, one: Interval, other: Interval) -> bool:
        """Tell whether the figure `one` is better than `other`, whatever the intervals."""
        return self.badness(one.value) < self.badness(other.value)

    def badness(self, value: float) -> float:
        """Return a number that is the larger the worse a figure is."""
        if self.better == "one":
            return abs(math.log(value)) if value > 0 else math.inf
        return value if self.better == "lower" else -value


@dataclass(frozen=True)
class Place:
    """Where a measure finds what it needs.

    Parameters
    ----------
    given : str or Path, optional
        Folder, file or name on the hub that the user named for it.
    mpp : float
        Pixel size of the images in um.
    """

    given: str | Path | None = None
    mpp: float = 0.5

    @property
    def path(self) -> Path:
        """The place as a path; nowhere without one."""
        return Path(self.given or "")


@dataclass(frozen=True)
class Measure:
    """Columns that are computed together.

    Parameters
    ----------
    columns : tuple of Column
    load : callable
        From its place to what computes them, which `of` says; raises ModelError or
        MissingDependencyError.
    needs : str
        What it cannot do without, in words; empty if nothing.
    asks : bool
        Whether a place must be given; otherwise it looks by itself.
    of : "images", "masks" or "sets"
        Of images one by one (`Compares`), of what is inside their masks (`ComparesInside`), or of
        sets of images (`histomend.evaluate.encoder.Describes`: distances between its features).
    library : str
        Which package computes it; "own" if this one does, with the source of the definition.
    deep : bool
        Whether it takes 16 bits; otherwise such images are given to it in 8.
    colours : bool
        Whether it means something of colours alone.
    alone : bool
        Whether it does not look at the truth.
    by_mpp : bool
        Whether it depends on the size of the pixels.
    version : int
        Counted up when its figures change, so that kept ones are not mixed with new ones.
    """

    columns: tuple[Column, ...]
    load: Callable[[Place], Any]
    needs: str = ""
    asks: bool = False
    of: Literal["images", "masks", "sets"] = "images"
    library: str = ""
    deep: bool = False
    colours: bool = False
    alone: bool = False
    by_mpp: bool = False
    version: int = 1


def top(pixels: npt.NDArray[Any]) -> float:
    """Return the largest value of an image's type."""
    return float(np.iinfo(pixels.dtype).max)


def unavailable(columns: str, needs: str, error: Exception | None = None) -> str:
    """Return the note in place of columns that cannot be computed here."""
    return f"{columns}: not available: needs {needs}." + (f" {error}" if error else "")
