"""Carries out a stage: in threads, or one group after the other; the result is the same."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from histomend.errors import ResourceError
from histomend.jobs.job import Stage, Tick, Unit

# Groups that are looked at ahead of the first unfinished one, for each worker.
AHEAD = 4
# Setting the threads of one thread also sets those that new threads begin with.
_COUNTING = threading.Lock()


def threads_of(stage: Stage) -> int:
    """Return how many threads each group of a stage gets on a CPU.

    One where groups are worked on side by side, as that is faster than one after the other with
    all threads; else all that PyTorch was given (OMP_NUM_THREADS). It never depends on `batch`,
    so neither do the results.
    """
    return 1 if stage.parallel else given_threads()


@dataclass
class _Pools:
    """How many pools are at work in this process, and the threads that there were before."""

    active: int = 0
    given: int = 1


_POOLS = _Pools()


def given_threads() -> int:
    """Return how many threads PyTorch was given.

    While workers begin, new threads find one for a moment: then what was there before counts.
    """
    with _COUNTING:
        return _POOLS.given if _POOLS.active else torch.get_num_threads()


@contextmanager
def _pool_at_work() -> Iterator[int]:
    """Return how many threads PyTorch was given, and keep that in mind meanwhile."""
    with _COUNTING:
        if not _POOLS.active:
            _POOLS.given = torch.get_num_threads()
        _POOLS.active += 1
    try:
        yield _POOLS.given
    finally:
        with _COUNTING:
            _POOLS.active -= 1


def run_stage(
    stage: Stage, device: torch.device, batch: int, tick: Tick
) -> Iterator[tuple[Unit, Any]]:
    """Yield what comes of each unit, in the order of the units.

    Parameters
    ----------
    batch : int
        Groups in flight on a CPU.
    tick : called as parts of the work are done

    Raises
    ------
    ResourceError
        There is too little memory.
    """
    if stage.parallel and device.type == "cpu":
        found = _side_by_side(stage, min(batch, usable_cores()), tick)
    else:
        found = _one_by_one(stage, tick)
    for group, results in found:
        yield from zip(group, results, strict=True)


def usable_cores() -> int:
    """Return how many cores this process may use, which a scheduler may have limited."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _one_by_one(stage: Stage, tick: Tick) -> Iterator[tuple[tuple[Unit, ...], list[Any]]]:
    seen, given = _Seen(stage), given_threads()
    if torch.get_num_threads() != given:  # this thread began while workers did
        with _COUNTING:
            torch.set_num_threads(given)
    for number, group in enumerate(stage.groups):
        results = _run(stage, group, seen.before(group), tick)
        seen.add(number, results)
        yield group, results
        seen.forget(number)


def _side_by_side(
    stage: Stage, workers: int, tick: Tick
) -> Iterator[tuple[tuple[Unit, ...], list[Any]]]:
    groups, seen = stage.groups, _Seen(stage)
    running: dict[Future[list[Any]], int] = {}
    finished: dict[int, list[Any]] = {}
    waiting = deque(range(len(groups)))
    head = 0
    with (
        _pool_at_work() as given,
        ThreadPoolExecutor(workers, initializer=_work_alone, initargs=(given,)) as pool,
    ):
        try:
            while head < len(groups):
                ready = [
                    number
                    for number in list(waiting)[: AHEAD * workers]
                    if number < head + AHEAD * workers and seen.has(groups[number])
                ]
                for number in ready[: workers - len(running)]:
                    group = groups[number]
                    running[pool.submit(_run, stage, group, seen.before(group), tick)] = number
                    waiting.remove(number)
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    finished[number] = future.result()
                    seen.add(number, finished[number])
                while head in finished:
                    yield groups[head], finished.pop(head)
                    seen.forget(head)
                    head += 1
        finally:
            for future in running:
                future.cancel()


def _work_alone(given: int) -> None:
    """Give the thread that calls this one thread of PyTorch, and new threads what there was."""
    with _COUNTING:
        torch.set_num_threads(1)
        # A thread that asks for the first time takes what all threads begin with: ask now.
        torch.get_num_threads()
        other = threading.Thread(target=torch.set_num_threads, args=(given,))
        other.start()
        other.join()


def _run(stage: Stage, group: tuple[Unit, ...], done: dict[str, Any], tick: Tick) -> list[Any]:
    try:
        pixels = [stage.source.read(unit.plane, unit.reads) for unit in group]
        return stage.run(group, pixels, done, tick)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_little(error) from error
    except RuntimeError as error:
        if "not enough memory" not in str(error):
            raise
        raise _too_little(error) from error


def _too_little(error: BaseException) -> ResourceError:
    said = str(error).partition("\n")[0] or type(error).__name__
    return ResourceError(
        f"There is not enough memory for what is in flight ({said}). Use a smaller --batch, a part "
        "of the image (--region), or another --device."
    )


class _Seen:
    """Results that later units still need."""

    def __init__(self, stage: Stage):
        self.groups = stage.groups
        self.results: dict[str, Any] = {}
        last: dict[str, int] = {}
        for number, group in enumerate(self.groups):
            for unit in group:
                last |= dict.fromkeys(unit.after, number)
        self.last = last
        self.expired: dict[int, list[str]] = {}
        for key, number in last.items():
            self.expired.setdefault(number, []).append(key)

    def has(self, group: tuple[Unit, ...]) -> bool:
        return all(key in self.results for unit in group for key in unit.after)

    def before(self, group: tuple[Unit, ...]) -> dict[str, Any]:
        return {key: self.results[key] for unit in group for key in unit.after}

    def add(self, number: int, results: list[Any]) -> None:
        for unit, result in zip(self.groups[number], results, strict=True):
            if unit.key in self.last:
                self.results[unit.key] = result

    def forget(self, number: int) -> None:
        """Drop what no unit after this group needs."""
        for key in self.expired.get(number, ()):
            self.results.pop(key, None)
