"""What was aimed at, and whether a block of rows reached it: computed, never written by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from histomend.evaluate.column import Column
from histomend.evaluate.harness.block import Block
from histomend.evaluate.harness.standings import best, met
from histomend.evaluate.tables import Interval, bootstrap


@dataclass(frozen=True)
class Goal:
    """One thing that was aimed at.

    Attributes
    ----------
    about : str
    of : function of Block -> (whether it is reached, the figures that say so), or None
        None where the block cannot tell, as a row or a column is missing.
    """

    about: str
    of: Callable[[Block], tuple[bool, str] | None]


def report_goals(goals: Sequence[Goal], block: Block) -> list[str]:
    """Say of each goal whether it is met or missed, in one paragraph; nothing without goals."""
    said = []
    for goal in goals:
        found = goal.of(block)
        if found is not None:
            reached, figures = found
            said.append(f"{goal.about}: {met(reached)} ({figures})")
    return [f"Goals: {'; '.join(said)}."] if said else []


def between(row: str, key: str, low: float, high: float) -> Goal:
    """Return the goal that a row's figure lies within limits."""

    def of(block: Block) -> tuple[bool, str] | None:
        figure, column = _found(block, row, key), _column(block, key)
        if figure is None or column is None:
            return None
        return low <= figure.value <= high, figure.text(column.digits)

    limits = f"{low:g} to {high:g}" if math.isfinite(low) else f"{high:g} or less"
    return Goal(f"{key} of {row} {limits}", of)


def first_of(rows: Sequence[str], others: Sequence[str], key: str) -> Goal:
    """Return the goal that the best of some rows is better than all others in a column."""

    def of(block: Block) -> tuple[bool, str] | None:
        column = _column(block, key)
        if column is None:
            return None
        found = {n: f[key] for n, f in block.found.items() if key in f and f[key].count}
        mine, rest = ([n for n in names if n in found] for names in (rows, others))
        if not mine or not rest:
            return None
        one, other = best(column, found, mine), best(column, found, rest)
        figures = (f"{n} {found[n].value:.{column.digits}f}" for n in (one, other))
        return column.ahead(found[one], found[other]), ", ".join(figures)

    return Goal(f"best {key} of all rows", of)


def not_under(row: str, others: Sequence[str], key: str, most: float) -> Goal:
    """Return the goal that a row is at most so much under the best of others, case by case."""

    def of(block: Block) -> tuple[bool, str] | None:
        column = _column(block, key)
        there = [name for name in others if key in block.values.get(name, {})]
        if column is None or not there or key not in block.values.get(row, {}):
            return None
        rival = best(column, {name: block.found[name][key] for name in there}, there)
        off = block.values[row][key] - block.values[rival][key]
        difference = bootstrap(off, groups=block.groups)
        said = f"{difference.text(column.digits)} against {rival}"
        return difference.value >= -most, said

    return Goal(f"{key} of {row} at most {most:g} under the best of the others", of)


def _found(block: Block, row: str, key: str) -> Interval | None:
    figure = block.found.get(row, {}).get(key)
    return figure if figure is not None and figure.count else None


def _column(block: Block, key: str) -> Column | None:
    return next(iter(block.columns([key])), None)
