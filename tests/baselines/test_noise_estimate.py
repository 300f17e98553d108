from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.baselines.noise_estimate import MOST_PATCHES, NoiseEstimator, noise_level, step_of
from histomend.diffusion.recalibration import RecalibratingTrajectory, Stretch
from histomend.diffusion.schedule import cosine
from histomend.errors import ImageSizeError, ValueRangeError

LEVELS = cosine(1000)


def smooth(side: int, channels: int) -> np.ndarray:
    """Return waves without noise, (side, side, channels) in about [-0.8, 0.8]."""
    y, x = np.mgrid[:side, :side] / side
    waves = [0.8 * np.sin(9 * x + c) * np.cos(7 * y - c) for c in range(channels)]
    return np.stack(waves, axis=-1)


@settings(max_examples=20, deadline=None)
@given(
    sigma=st.floats(0.005, 0.5),
    channels=st.integers(1, 3),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 5.0]),
)
def test_white_noise_is_measured_within_a_few_per_cent(
    sigma: float, channels: int, seed: int, offset: float
) -> None:
    clean = smooth(96, channels) + offset
    noisy = clean + sigma * np.random.default_rng(seed).standard_normal(clean.shape)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.1)


def test_real_tissue_hardly_disturbs_the_estimate(tissue: np.ndarray) -> None:
    # Halved, so that what the image had of noise and compression is nearly gone.
    clean = tissue.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3)) / 127.5 - 1
    noise = np.random.default_rng(0).standard_normal(clean.shape)
    for sigma in (0.1, 0.2, 0.4):
        assert noise_level(clean + sigma * noise) == pytest.approx(sigma, rel=0.15)
    assert noise_level(clean) < 0.03


def test_a_constant_field_has_no_noise() -> None:
    assert noise_level(np.full((40, 40, 2), 0.3)) == pytest.approx(0, abs=1e-6)


def test_large_fields_are_measured_on_a_part_of_their_patches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = np.random.default_rng(0).standard_normal((200, 200, 1))
    every = noise_level(noise)
    monkeypatch.setattr("histomend.baselines.noise_estimate.MOST_PATCHES", 9000)
    assert MOST_PATCHES > 200 * 200
    assert noise_level(noise) == pytest.approx(every, rel=0.05)


def test_sigma_becomes_the_nearest_t() -> None:
    assert step_of(0.0, LEVELS) == 0
    assert step_of(9.0, LEVELS) == 1000
    for t in (1, 17, 200, 600):
        assert step_of(float(LEVELS.sigma[t]), LEVELS) == t


@pytest.mark.parametrize("t", [20, 200, 400])
def test_a_dimmed_image_holds_the_noise_of_the_t_that_is_told(t: int) -> None:
    alpha, sigma = float(LEVELS.alpha[t]), float(LEVELS.sigma[t])
    x0 = torch.from_numpy(smooth(96, 1)).permute(2, 0, 1)[None].float()
    image = x0 + sigma / alpha * torch.randn(x0.shape)
    told = int(NoiseEstimator(LEVELS, dimmed=True)(image))
    assert told == pytest.approx(t, rel=0.05, abs=2)
    found = float(LEVELS.alpha[told] * (image - x0).std())
    assert found == pytest.approx(float(LEVELS.sigma[told]), rel=0.05)
    # Taken as it is, the same image is further on.
    assert int(NoiseEstimator(LEVELS)(image)) > told or t < 100


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_it_takes_the_place_of_a_calibrator(channels: int) -> None:
    t = torch.tensor([0, 30, 120])
    x0 = torch.from_numpy(smooth(96, channels)).permute(2, 0, 1).float().expand(3, -1, -1, -1)
    x = LEVELS.noised(x0, t, torch.randn(x0.shape))

    def once(predicted: float, number: int) -> Stretch:
        return Stretch([round(predicted), 0], last=True)

    path = RecalibratingTrajectory(NoiseEstimator(LEVELS), once)
    step = path.next(x)
    assert step is not None
    assert (step.t - t).abs().max() <= 6


def test_too_small_a_field_and_one_with_nan_are_refused() -> None:
    with pytest.raises(ImageSizeError, match="larger field"):
        noise_level(np.zeros((12, 12, 1)))
    with pytest.raises(ValueRangeError, match="NaN"):
        noise_level(np.full((40, 40, 1), np.nan))
