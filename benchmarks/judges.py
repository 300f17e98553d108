"""What restored fields are measured by, and what may be said of the best row.

Used by other scripts; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from histomend.evaluate.columns import Column
from histomend.evaluate.tables import Interval


class Compared(Protocol):
    """A degraded field whose truth is known."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str:
        """What intervals draw: the tile or the field of view that it was cut from."""
        ...

    @property
    def reference(self) -> np.ndarray:
        """The truth as restorations are compared with it, (S, S, 3) uint8."""
        ...

    def compared(self, restored: np.ndarray) -> np.ndarray:
        """Return a restoration as it is compared with the truth, (S, S, 3) uint8."""
        ...


@dataclass(frozen=True)
class Fields:
    """Restored fields and their truth, as they are compared.

    Parameters
    ----------
    restored, truth : sequence of (S, S, 3) uint8
    groups : sequence of str
        What intervals draw.
    """

    restored: Sequence[np.ndarray] = field(repr=False)
    truth: Sequence[np.ndarray] = field(repr=False)
    groups: Sequence[str]

    @classmethod
    def of(cls, pairs: Sequence[Compared], made: Sequence[np.ndarray]) -> Fields:
        """Bring what a row made of each pair's degraded field to the scale of its truth."""
        shown = [pair.compared(pixels) for pair, pixels in zip(pairs, made, strict=True)]
        return cls(shown, [pair.reference for pair in pairs], [pair.group for pair in pairs])


@dataclass(frozen=True)
class Judge:
    """Columns that are computed together.

    Parameters
    ----------
    columns : tuple of Column
    measure : function of Fields -> figure by key of its column
    """

    columns: tuple[Column, ...]
    measure: Callable[[Fields], dict[str, Interval]]


def apart(one: Interval, other: Interval) -> bool:
    """Tell whether two intervals do not overlap."""
    return one.high < other.low or other.high < one.low


def standing(
    column: Column, found: Mapping[str, Interval], ours: Sequence[str], others: Sequence[str]
) -> str:
    """Say how the best of our rows stands against others in a column.

    "First" is said only where the row's interval overlaps none of the others. Figures whose
    interval is not known, of a single tile, are not compared.

    Parameters
    ----------
    column : Column
    found : figure of each row, by its name
    ours, others : names of rows

    Returns
    -------
    str
        A sentence without its full stop; empty where there is nothing to compare.
    """
    known = {name: figure for name, figure in found.items() if figure.low < figure.high}
    ours = [name for name in ours if name in known]
    others = [name for name in others if name in known]
    if not ours or not others:
        return ""

    def best(names: Sequence[str]) -> str:
        pick = min if column.better == "lower" else max
        return pick(names, key=lambda name: known[name].value)

    mine, rival = best(ours), best(others)
    if not column.ahead(known[mine], known[rival]):
        behind = "clearly behind" if apart(known[mine], known[rival]) else "behind"
        told = "" if behind != "behind" else " (the intervals overlap)"
        return f"{column.name}: {mine} is {behind} {rival}{told}"
    near = [name for name in others if not apart(known[mine], known[name])]
    if near:
        return f"{column.name}: {mine} is best, not first: its interval overlaps {', '.join(near)}"
    return f"{column.name}: {mine} is first"
