"""A band along the seams of a filling is drawn again, from the filling noised to a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histomend.diffusion.denoiser import Condition, Prediction, prediction_from
from histomend.diffusion.loop import Sampled, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.samplers import ddpm
from histomend.diffusion.schedule import cosine
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.methods.joined import Joined, band
from histomend.methods.sampling import Sampling

LEVELS = cosine(1000)


def stream() -> NoiseStream:
    return NoiseStream([NoiseField(3)], [(0, 0)])


def field() -> tuple[torch.Tensor, torch.Tensor]:
    filled = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 4:7, :] = 1
    return filled, mask


def joined(t: int, steps: int = 4) -> tuple[Sampled, torch.Tensor, torch.Tensor]:
    filled, mask = field()

    def zero(x: torch.Tensor, t: torch.Tensor, condition: Condition) -> Prediction:
        alpha, sigma = LEVELS.at(t, x)
        return Prediction(*prediction_from(torch.zeros_like(x), x, alpha, sigma, "x0"))

    recipe = Joined(filled, mask, LEVELS, t, context=False)
    path = FixedTrajectory(LEVELS.spaced(steps, t))
    return sample(zero, recipe, path, ddpm(LEVELS), stream(), LEVELS), filled, mask


def test_it_starts_from_the_filling_noised_to_its_time() -> None:
    filled, mask = field()
    recipe = Joined(filled, mask, LEVELS, 300, context=True)
    alpha, sigma = LEVELS.at(torch.tensor([300]), filled)
    torch.testing.assert_close(
        recipe.start(stream()), alpha * filled + sigma * stream().draw(filled)
    )
    assert recipe.condition.maps is not None
    # The network is not shown what it is to draw.
    assert not (recipe.condition.maps[:, :3] * mask).any()


def test_outside_the_band_the_filling_stays_and_inside_the_network_has_its_say() -> None:
    found, filled, mask = joined(600)
    inside = mask.expand_as(filled) > 0
    assert torch.equal(found.x[~inside], filled[~inside])
    assert not found.x[inside].any()
    assert found.nfe.tolist() == [4]


def test_the_band_is_as_wide_as_asked_on_each_side_of_a_seam_and_never_leaves_the_mask() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 10:50] = True
    seams = np.zeros_like(mask)
    seams[10:30, 29:31] = True  # the two columns beside a seam
    found = band(seams, mask, 3)
    assert np.flatnonzero(found[20]).tolist() == list(range(27, 33))
    assert not (found & ~mask).any()
    assert not band(np.zeros_like(mask), mask, 3).any()


@pytest.mark.parametrize(("start", "first"), [(1.0, 1000), (0.6, 600), (0.001, 1)])
def test_a_path_begins_at_its_share_of_the_schedule(start: float, first: int) -> None:
    chosen = Sampling("exemplar", 1, "ddim", context=True, start=start)
    assert chosen.times(LEVELS) == [first, 0]
    assert chosen.joins is (start < 1)
