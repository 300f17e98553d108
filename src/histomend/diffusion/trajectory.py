"""Paths: the order in which a sample visits the times of the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from histomend.errors import SettingError


@dataclass(frozen=True)
class Step:
    """One move of every sample of a batch, from time t to time t_next.

    Parameters
    ----------
    t, t_next : (B,) int64 on the CPU
        t_next < t is a denoising step (one network call); t_next > t re-noises without a call;
        t_next == t means that the sample rests, as one that has finished does.
    """

    t: Tensor
    t_next: Tensor

    @property
    def down(self) -> Tensor:
        """Which samples are denoised, (B,) bool."""
        return self.t_next < self.t

    @property
    def up(self) -> Tensor:
        """Which samples are noised again, (B,) bool."""
        return self.t_next > self.t


class Trajectory(Protocol):
    """What the loop asks for its next step; it may look at x (RSCD's calibrator does)."""

    def next(self, x: Tensor) -> Step | None:
        """Return the next step for batch `x`, or None when every sample has finished."""


class FixedTrajectory:
    """The same list of times for every sample.

    Parameters
    ----------
    times : sequence of int
        Times in the order of the visit, for instance [250, 249, ..., 0].
    """

    def __init__(self, times: Sequence[int]):
        if len(times) < 2:
            raise SettingError(f"A trajectory needs at least two times, got {list(times)}.")
        self.times = list(times)
        self._position = 0

    def next(self, x: Tensor) -> Step | None:
        """Return the next step, the same for every sample of `x`."""
        if self._position + 1 >= len(self.times):
            return None
        t, t_next = self.times[self._position : self._position + 2]
        self._position += 1
        return Step(torch.full((len(x),), t), torch.full((len(x),), t_next))

    @property
    def nfe(self) -> int:
        """Network calls per sample along the trajectory."""
        return sum(b < a for a, b in pairwise(self.times))


def repaint_times(times: Sequence[int], jump_length: int = 10, jumps: int = 10) -> list[int]:
    """Return `times` with RePaint's jumps back up (Lugmayr et al. 2022, section 4.2).

    Whenever 1, 1 + `jump_length`, 1 + 2 `jump_length`, ... steps are left, go `jump_length` steps
    up and come down again, `jumps` - 1 times. With 250 steps, length 10 and 10 samples these are
    2,410 denoising and 2,160 re-noising steps, as in the ArtiFusion authors' configuration.

    Parameters
    ----------
    times : decreasing sequence of int, ending in 0
    jump_length : int
        Steps to go back, in positions of `times`.
    jumps : int
        How often each stretch is denoised.
    """
    last = len(times) - 1
    trajectory = [times[0]]
    for position in range(1, last + 1):
        trajectory.append(times[position])
        left = last - position
        if (left - 1) % jump_length == 0 and left >= 1 and position > jump_length:
            up = [times[position - back] for back in range(1, jump_length + 1)]
            down = [times[position - jump_length + step] for step in range(1, jump_length + 1)]
            trajectory += (up + down) * (jumps - 1)
    return trajectory
