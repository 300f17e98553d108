from __future__ import annotations

import pytest
import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition, Prediction, prediction_from
from histomend.diffusion.loop import Sampled, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.samplers import ddpm
from histomend.diffusion.schedule import cosine
from histomend.diffusion.trajectory import FixedTrajectory, Step
from histomend.methods.artifusion import ArtiFusion

LEVELS = cosine(1000)


def field() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    known = torch.rand(2, 3, 16, 20, generator=generator) * 2 - 1
    mask = torch.zeros(2, 1, 16, 20)
    mask[0, :, 4:10, 5:12] = 1
    mask[1, :, :8] = 1
    return known, mask


def stream() -> NoiseStream:
    return NoiseStream([NoiseField(0), NoiseField(1)], [(0, 0), (0, 0)])


def smoothing(x: Tensor, t: Tensor, condition: Condition) -> Prediction:
    """Predict the mean of a neighbourhood, so that the clean region acts on the masked one."""
    alpha, sigma = LEVELS.at(t, x)
    near = torch.nn.functional.avg_pool2d(x, 5, 1, 2)
    if condition.maps is not None:
        near = near + condition.maps.mean(1, keepdim=True)
    x0, eps = prediction_from(torch.tanh(near), x, alpha, sigma, "x0")
    return Prediction(x0, eps)


def restored(known: Tensor, mask: Tensor, *, context: bool, shown: bool = True) -> Sampled:
    recipe = ArtiFusion(known, mask, LEVELS, context=context, shown=shown)
    path = FixedTrajectory(LEVELS.spaced(4))
    return sample(smoothing, recipe, path, ddpm(LEVELS), stream(), LEVELS)


@pytest.mark.parametrize("context", [False, True])
def test_what_lies_under_the_mask_is_never_read(context: bool) -> None:
    known, mask = field()
    other = torch.where(mask > 0, -known.flip(-1), known)
    assert not torch.equal(known, other)
    first = restored(known, mask, context=context).x
    assert torch.equal(first, restored(other, mask, context=context).x)


@pytest.mark.parametrize("context", [False, True])
def test_the_clean_region_is_what_it_was_and_steers_the_rest(context: bool) -> None:
    known, mask = field()
    clean = mask.expand_as(known) == 0
    result = restored(known, mask, context=context)
    assert torch.equal(result.x[clean], known[clean])
    assert not torch.isclose(result.x[~clean], known[~clean]).any()
    other = restored(torch.where(mask > 0, known, -known), mask, context=context)
    assert not torch.equal(result.x[~clean], other.x[~clean])
    assert result.nfe.tolist() == [4, 4]


def test_before_a_call_the_clean_region_is_noised_to_its_time() -> None:
    """Eq. 2: (1 - m) (sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps) + m x_t."""
    known, mask = field()
    recipe = ArtiFusion(known, mask, LEVELS, context=False)
    x = torch.full_like(known, 7.0)
    t = torch.tensor([600, 30])
    found = recipe.before(x, Step(t, t - 10), stream())
    eps = stream().draw(known)
    alpha_bar = (LEVELS.alpha[t] ** 2).reshape(2, 1, 1, 1)
    noised = alpha_bar.sqrt() * known + (1 - alpha_bar).sqrt() * eps
    torch.testing.assert_close(found, ((1 - mask) * noised + mask * x).float())


def test_the_noise_of_the_clean_region_is_fresh_at_every_call() -> None:
    known, mask = field()
    recipe = ArtiFusion(known, mask, LEVELS, context=False)
    noise, x = stream(), torch.zeros_like(known)
    step = Step(torch.tensor([900, 900]), torch.tensor([800, 800]))
    first, second = recipe.before(x, step, noise), recipe.before(x, step, noise)
    clean = mask.expand_as(known) == 0
    assert not torch.isclose(first[clean], second[clean]).any()
    assert torch.equal(first[~clean], second[~clean])


def test_it_starts_from_pure_noise() -> None:
    known, mask = field()
    recipe = ArtiFusion(known, mask, LEVELS, context=False)
    assert torch.equal(recipe.start(stream()), stream().draw(known))


def test_the_network_is_shown_the_visible_pixels_and_the_mask_or_told_that_all_is_masked() -> None:
    known, mask = field()
    shown = ArtiFusion(known, mask, LEVELS, context=True).condition.maps
    hidden = ArtiFusion(known, mask, LEVELS, context=True, shown=False).condition.maps
    assert shown is not None
    assert hidden is not None
    assert torch.equal(shown, torch.cat([known * (1 - mask), mask], 1))
    assert not hidden[:, :3].any()
    assert bool((hidden[:, 3:] == 1).all())
    assert ArtiFusion(known, mask, LEVELS, context=False).condition.maps is None
