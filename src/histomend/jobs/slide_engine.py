"""Who works on the units of a slide's job, when it is not the process that puts them together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeAlias

from histomend.jobs.job import Mask, Pixels
from histomend.jobs.journal import Journal
from histomend.slides.whole import Slide

Earlier: TypeAlias = "tuple[Pixels, Mask] | None"
"""What was put into the region of a unit so far, and where."""
Finished = tuple[dict[str, Any], dict[str, Any]]
"""The arrays of what is finished, and what is to be said of it (JSON values)."""
Work = Callable[[Any, Slide, Any, Earlier], Finished]
"""Works on a unit: job, its slide, the unit, what is there before. A function of a module."""
Begin = Callable[[Any, Earlier, Callable[[Finished], None]], "Future[Finished]"]
"""Begins a unit: unit, what is there before, and what is called first with what it became."""


class SlideEngine(Protocol):
    """Works on units of several jobs, side by side; none changes a byte of what they become.

    Attributes
    ----------
    ahead : int
        Units of a job that are to be begun at a time.
    """

    @property
    def ahead(self) -> int: ...

    def serving(self, job: Any, work: Work) -> AbstractContextManager[Begin]:
        """Give what begins units of a job; units are worked on in the order of their beginning.

        Parameters
        ----------
        job : SlideJob or SlideFieldJob
        work : Work
        """


def in_order(
    units: Sequence[Any],
    journal: Journal,
    start: Callable[[Any], Callable[[], Finished]],
    ahead: int,
    ready: Callable[[Any], bool] = lambda unit: True,
) -> Iterator[Finished]:
    """Give what became of each unit, in their order.

    Parameters
    ----------
    units : sequence
        Each with a `key`.
    journal : Journal
        What is finished in it is not begun again.
    start : function of a unit -> function that returns what it became
        Begins a unit; that it is kept in the journal is its own affair.
    ahead : int
        Units that are begun at a time.
    ready : function of a unit -> bool
        Whether it can be begun now. Always true of the first one that is not yet given.
    """
    finished = {unit.key for unit in units if journal.has(unit.key)}
    begun: dict[str, Callable[[], Finished]] = {}
    for number, unit in enumerate(units):
        found = None if unit.key in begun else journal.get(unit.key)
        if found is None:
            finished.discard(unit.key)  # if it was, it is damaged
            for each in units[number : number + ahead]:
                if each.key not in begun and each.key not in finished and ready(each):
                    begun[each.key] = start(each)
            found = begun.pop(unit.key)()
        yield found
