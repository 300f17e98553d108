from __future__ import annotations

import pytest
import torch

from histomend.diffusion.denoiser import Condition, Prediction
from histomend.diffusion.poses import POSES, Pose, PosedDenoiser
from histomend.errors import SettingError

T = torch.tensor([5])


class Grid:
    """A denoiser that adds a grid of 2 px, and remembers how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: torch.Tensor, t: torch.Tensor, condition: Condition) -> Prediction:
        self.calls += 1
        added = torch.zeros_like(x)
        added[..., ::2, ::2] = 1.0
        return Prediction(x + added, 2 * x)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (2, 3, 21, 34)])
def test_every_pose_leads_back(pose: Pose, shape: tuple[int, ...]) -> None:
    x = torch.rand(shape)
    torch.testing.assert_close(pose.back(pose.seen(x), *shape[-2:]), x)


@pytest.mark.parametrize("count", [4, 8])
@pytest.mark.parametrize("size", [(32, 48), (33, 48), (31, 35)])
def test_a_grid_of_two_pixels_becomes_even(count: int, size: tuple[int, int]) -> None:
    grid = Grid()
    x = torch.rand(1, 1, *size)
    found = PosedDenoiser(grid, count)(x, T)
    assert grid.calls == count
    torch.testing.assert_close(found.x0, x + 0.25)
    torch.testing.assert_close(found.eps, 2 * x)


def test_no_two_poses_are_turned_alike() -> None:
    assert len({(pose.quarters, pose.mirrored) for pose in POSES}) == 8


def test_one_pose_is_the_denoiser_itself() -> None:
    x = torch.rand(1, 1, 16, 16)
    found = PosedDenoiser(Grid(), 1)(x, T)
    assert torch.equal(found.x0, Grid()(x, T, Condition()).x0)


def test_other_numbers_are_refused() -> None:
    with pytest.raises(SettingError, match="1, 4 or 8 poses"):
        PosedDenoiser(Grid(), 3)
