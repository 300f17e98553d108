from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histomend.errors import SettingError, ValueRangeError
from histomend.image.stabilise import CameraNoise, StabilisedRange, stabilised_range


def exposures(noise: CameraNoise, photons: float, count: int = 100_000) -> np.ndarray:
    rng = np.random.default_rng(0)
    counted = rng.poisson(photons, count) + noise.read_noise / noise.gain * rng.standard_normal(
        count
    )
    return noise.offset + noise.gain * counted


@pytest.mark.parametrize("photons", [5, 20, 100, 1000])
@pytest.mark.parametrize(
    "noise", [CameraNoise(1), CameraNoise(2.5, 100, 5), CameraNoise(0.1, 0, 0.3)]
)
def test_stabilised_noise_has_a_deviation_of_one(noise: CameraNoise, photons: float) -> None:
    assert noise.stabilised(exposures(noise, photons)).std() == pytest.approx(1, abs=0.045)


@pytest.mark.parametrize("photons", [0.5, 1, 3, 10, 100])
@pytest.mark.parametrize("noise", [CameraNoise(1), CameraNoise(4, 50, 8)])
def test_the_inverse_of_the_mean_is_the_mean(noise: CameraNoise, photons: float) -> None:
    """A plain square would make dim places too dark: by a quarter of a photon and more."""
    back = noise.unstabilised(noise.stabilised(exposures(noise, photons)).mean())
    assert (back - noise.offset) / noise.gain == pytest.approx(photons, abs=0.05 + 0.002 * photons)


@given(
    gain=st.floats(0.01, 100),
    offset=st.floats(0, 1000),
    read=st.floats(0, 5),
    photons=st.floats(0.1, 5000),
)
def test_expected_is_what_the_inverse_undoes(
    gain: float, offset: float, read: float, photons: float
) -> None:
    noise = CameraNoise(gain, offset, read * gain)
    mean = np.array([offset + gain * photons])
    found = noise.unstabilised(noise.expected(mean))
    assert (found[0] - offset) / gain == pytest.approx(photons, abs=0.02 + 0.001 * photons)


def test_variance_is_a_line_in_the_mean() -> None:
    noise = CameraNoise(2, 10, 3)
    assert noise.variance(np.array([10.0, 20.0, 5.0])).tolist() == [9.0, 29.0, 9.0]


@pytest.mark.parametrize("values", [(0, 0, 0), (-1, 0, 0), (1, 0, -1), (float("nan"), 0, 0)])
def test_an_impossible_detector_is_named(values: tuple[float, float, float]) -> None:
    with pytest.raises(SettingError, match="gain must be above 0"):
        CameraNoise(*values)


def test_the_range_is_that_of_the_signal_and_not_of_hot_pixels() -> None:
    plane = np.full((64, 64), 100.0)
    plane[:, 32:] = 400.0
    hot = plane.copy()
    hot[5, 5] = 60000
    noise = CameraNoise(1)
    found = stabilised_range([plane], noise, most_sigma=1.0)
    assert found.encode(np.array([100.0, 400.0])) == pytest.approx([-0.91, 0.91], abs=0.01)
    smudged = stabilised_range([hot], noise, most_sigma=1.0)
    assert smudged.high - found.high < 0.25 * (hot.max() ** 0.5 - found.high)


def test_dim_images_are_not_stretched_beyond_the_noise_that_was_trained() -> None:
    found = stabilised_range([np.full((64, 64), 3.0)], CameraNoise(1), most_sigma=0.5)
    assert found.sigma == pytest.approx(0.5)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_values_come_back_in_their_own_type(dtype: str) -> None:
    top = 1.0 if dtype == "float32" else float(np.iinfo(dtype).max)
    values = (top * np.linspace(0.1, 0.9, 50)).astype(dtype)
    kind = StabilisedRange(CameraNoise(top / 1000), 0.0, 70.0)
    back = kind.decode(kind.encode(values), dtype)
    assert back.dtype == values.dtype
    # A single value is no mean, so it comes back as much as a quarter of a photon brighter.
    off = (back.astype(float) - values.astype(float)) / (top / 1000)
    assert np.abs(off - 0.25).max() < 0.3 + 1000 / top * (dtype != "float32")
    assert kind.decode(np.array([50.0]), dtype)[0] == pytest.approx(top)


def test_a_model_that_overflowed_is_named() -> None:
    with pytest.raises(ValueRangeError, match="overflowed"):
        StabilisedRange(CameraNoise(1), 0, 1).decode(np.array([np.nan]), np.uint8)
