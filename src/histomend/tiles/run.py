"""Carries out a plan: every chain of windows, with the same result in any order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from histomend.tiles.plan import Plan, Window

Item = TypeVar("Item")
Found = TypeVar("Found")


def window_threads(plan: Plan) -> int:
    """Return how many threads each window of `plan` gets on a CPU.

    One if there is more than one chain, else all that PyTorch was given (OMP_NUM_THREADS).
    """
    return torch.get_num_threads() if len(plan.chains) == 1 else 1


def run_plan(
    plan: Plan,
    work: Callable[[Window], int],
    *,
    device: torch.device,
    batch: int,
) -> int:
    """Call `work` for every window and return the sum of what it returns.

    Parameters
    ----------
    work : function of Window, safe to call from several threads
    batch : int
        Chains in flight.
    """

    def follow(chain: tuple[Window, ...]) -> int:
        return sum(work(window) for window in chain)

    return sum(in_order(plan.chains, follow, device=device, batch=batch))


def in_order(
    items: Sequence[Item], work: Callable[[Item], Found], *, device: torch.device, batch: int
) -> Iterator[Found]:
    """Call `work` for every item and yield what it returns, in the order of the items.

    On a CPU, several items are worked on side by side, each with one thread, as that is faster
    than one after the other with all threads; a single item gets them all. How many threads an
    item has depends on their number alone, never on `batch`, so neither do the results.

    Parameters
    ----------
    work : function of an item, safe to call from several threads
    batch : int
        Items in flight; what has been found and was not fetched yet counts.
    """
    if len(items) <= 1 or device.type != "cpu":
        yield from map(work, items)
        return

    def alone(item: Item) -> Found:
        torch.set_num_threads(1)
        return work(item)

    before = torch.get_num_threads()
    workers = max(1, min(batch, os.cpu_count() or 1))
    ahead: deque[Future[Found]] = deque()
    try:
        with ThreadPoolExecutor(workers) as pool:
            try:
                for item in items:
                    ahead.append(pool.submit(alone, item))
                    if len(ahead) > workers:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                for waiting in ahead:
                    waiting.cancel()
    finally:
        torch.set_num_threads(before)
