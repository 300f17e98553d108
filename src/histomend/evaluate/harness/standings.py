"""What may be said of the best row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from histomend.evaluate.column import Column
from histomend.evaluate.tables import Interval


def apart(one: Interval, other: Interval) -> bool:
    """Tell whether two intervals do not overlap."""
    return one.high < other.low or other.high < one.low


def best(column: Column, found: Mapping[str, Interval], names: Sequence[str]) -> str:
    """Return the name of the row with the best figure."""
    chosen = names[0]
    for name in names[1:]:
        if column.ahead(found[name], found[chosen]):
            chosen = name
    return chosen


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
    mine, rival = best(column, known, ours), best(column, known, others)
    if not column.ahead(known[mine], known[rival]):
        behind = "clearly behind" if apart(known[mine], known[rival]) else "behind"
        told = "" if behind != "behind" else " (the intervals overlap)"
        return f"{column.name}: {mine} is {behind} {rival}{told}"
    near = [name for name in others if not apart(known[mine], known[name])]
    if near:
        return f"{column.name}: {mine} is best, not first: its interval overlaps {', '.join(near)}"
    return f"{column.name}: {mine} is first"


def met(reached: bool) -> str:
    """Say whether a goal was reached."""
    return "met" if reached else "missed"
