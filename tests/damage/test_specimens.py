from __future__ import annotations

import numpy as np
import pytest

from histomend.damage.specimens import draw_specimen


@pytest.mark.parametrize("seed", range(8))
def test_a_specimen_is_light_that_fills_its_range(seed: int) -> None:
    light = draw_specimen(np.random.default_rng(seed), 96)
    assert light.shape == (96, 96)
    assert light.dtype == np.float32
    assert light.min() >= 0
    assert light.max() == 1
    assert 0.02 < light.std() < 0.5


def test_a_specimen_is_without_noise_and_the_same_by_seed() -> None:
    light = draw_specimen(np.random.default_rng(5), 128)
    assert np.array_equal(light, draw_specimen(np.random.default_rng(5), 128))
    assert not np.array_equal(light, draw_specimen(np.random.default_rng(6), 128))
    spectrum = np.abs(np.fft.fft2(light)) ** 2
    finest = spectrum[56:72, 56:72].mean()
    assert finest < 1e-5 * spectrum.mean()
