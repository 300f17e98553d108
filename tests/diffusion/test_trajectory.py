from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from histomend.diffusion.trajectory import FixedTrajectory, Step, repaint_times
from histomend.errors import SettingError


def test_a_fixed_path_walks_every_sample_and_ends() -> None:
    path = FixedTrajectory([5, 3, 4, 0])
    x = torch.zeros(2, 1, 1, 1)
    steps = []
    while (step := path.next(x)) is not None:
        steps.append((step.t.tolist(), step.t_next.tolist()))
    assert steps == [([5, 5], [3, 3]), ([3, 3], [4, 4]), ([4, 4], [0, 0])]
    assert path.nfe == 2
    assert path.next(x) is None


def test_a_step_says_who_is_denoised_who_is_noised_and_who_rests() -> None:
    step = Step(torch.tensor([5, 3, 2]), torch.tensor([4, 6, 2]))
    assert step.down.tolist() == [True, False, False]
    assert step.up.tolist() == [False, True, False]


def test_repaint_makes_the_calls_of_the_authors_configuration() -> None:
    times = repaint_times(list(range(250, -1, -1)), jump_length=10, jumps=10)
    down = sum(b < a for a, b in pairwise(times))
    up = sum(b > a for a, b in pairwise(times))
    assert (down, up) == (2410, 2160)
    assert {abs(a - b) for a, b in pairwise(times)} == {1}
    assert (times[0], times[-1]) == (250, 0)


def test_repaint_jumps_back_as_far_and_as_often_as_asked() -> None:
    times = repaint_times([60, 50, 40, 30, 20, 10, 0], jump_length=2, jumps=3)
    # With 3 and 1 steps left it goes two steps up and comes down, twice.
    assert times == [
        *[60, 50, 40, 30],
        *[40, 50, 40, 30] * 2,
        *[20, 10],
        *[20, 30, 20, 10] * 2,
        0,
    ]


def test_a_path_of_one_time_is_refused() -> None:
    with pytest.raises(SettingError, match="at least two"):
        FixedTrajectory([3])
