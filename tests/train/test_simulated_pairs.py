"""Pairs for training: what is damaged in them, and what is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from histomend.train.simulated_pairs import noisy_twice, under_tissue


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def grey(channels: int, level: float, count: int = 2, side: int = 48) -> torch.Tensor:
    return torch.full((count, channels, side, side), level)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_crops_under_tissue_are_degraded_each_in_its_own_way(channels: int) -> None:
    clean = grey(channels, 0.2)
    seen = under_tissue(clean, rng(), mpp=0.5)
    assert (seen.shape, seen.dtype) == (clean.shape, torch.float32)
    assert -1 <= float(seen.min()) < float(seen.max()) <= 1
    assert float((seen - clean).abs().mean()) > 0.02
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(clean, grey(channels, 0.2)), "the clean crops stay as they are"
    assert torch.equal(seen, under_tissue(clean, rng(), mpp=0.5))


def test_the_whitest_and_the_blackest_crop_can_be_degraded() -> None:
    """A crop of 8-bit white may lie a rounding error above 1."""
    white = grey(1, float(np.nextafter(np.float32(1), np.float32(2))))
    assert float(under_tissue(white, rng(), mpp=0.5).max()) <= 1
    assert all(part.isfinite().all() for part in noisy_twice(grey(3, -1.0), rng()))


@pytest.mark.parametrize("level", [-1.0, 0.0, 0.9])
def test_the_second_of_two_noisy_crops_is_the_clean_one_in_the_mean(level: float) -> None:
    clean = grey(1, level, count=40)
    first, second = noisy_twice(clean, rng())
    assert float(second.mean()) == pytest.approx(level, abs=0.01)
    assert float(first.abs().max()) <= 1, "the first lies in the range of a file"
    apart = torch.corrcoef(
        torch.stack([(v - v.mean((2, 3), True)).flatten() for v in (first, second)])
    )
    assert abs(float(apart[0, 1])) < 0.02, "their noise has nothing in common"


def test_the_noise_differs_from_crop_to_crop_and_grows_with_the_signal() -> None:
    _, bright = noisy_twice(grey(1, 0.8, count=40), rng())
    _, dark = noisy_twice(grey(1, -0.8, count=40), rng())
    spreads = bright.std((1, 2, 3))
    assert float(spreads.max()) > 5 * float(spreads.min())
    assert float(spreads.mean()) > 1.2 * float(dark.std((1, 2, 3)).mean())
