"""Work in a thread whose progress comes out step by step, and which can be left."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator
from typing import TypeVar

from histomend.jobs.progress import Advance

T = TypeVar("T")


class LeftError(Exception):
    """Raised out of the progress of work that nobody waits for any more."""


def steps(work: Callable[[Advance], T]) -> Generator[tuple[int, int], None, T]:
    """Run work in a thread of its own, and yield how far it is.

    Closing the generator ends the work at its next step.

    Parameters
    ----------
    work : function of a progress function

    Yields
    ------
    (parts done, parts in all)

    Returns
    -------
    What the work returned; what it raised is raised here.
    """
    news: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
    left = threading.Event()
    made: list[T] = []
    failed: list[BaseException] = []

    def advance(done: int, of: int) -> None:
        if left.is_set():
            raise LeftError
        news.put((done, of))

    def run() -> None:
        try:
            made.append(work(advance))
        except BaseException as error:
            failed.append(error)
        news.put(None)

    thread = threading.Thread(target=run, name="histomend", daemon=True)
    thread.start()
    try:
        while (step := news.get()) is not None:
            yield step
    finally:
        left.set()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
