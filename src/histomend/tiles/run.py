"""Carries out a plan: every chain of windows, with the same result in any order."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

from histomend.tiles.plan import Plan, Window


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

    On a CPU, several chains run side by side, each with one thread, as that is faster than one
    after the other with all threads; a single chain gets them all. How many threads a window
    has depends on the plan alone, never on `batch`, so neither do the results.

    Parameters
    ----------
    work : function of Window, safe to call from several threads
    batch : int
        Chains in flight.
    """
    threads = window_threads(plan)

    def follow(chain: tuple[Window, ...]) -> int:
        if device.type == "cpu":
            torch.set_num_threads(threads)
        return sum(work(window) for window in chain)

    before = torch.get_num_threads()
    try:
        if len(plan.chains) <= 1 or device.type != "cpu":
            return sum(follow(chain) for chain in plan.chains)
        with ThreadPoolExecutor(max(1, min(batch, os.cpu_count() or 1))) as pool:
            return sum(pool.map(follow, plan.chains))
    finally:
        torch.set_num_threads(before)
