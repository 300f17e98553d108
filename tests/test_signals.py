"""Measured light: which arrays have a known range, and what is said of the others."""

import numpy as np
import pytest

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image import Intensity
from histomend.image.signals import signal_range


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize(
    ("dtype", "high"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)]
)
def test_the_type_says_the_range(dtype, high, channels):
    for shape in ((8, 9, channels), (2, 8, 9, channels)):
        assert signal_range(np.ones(shape, dtype), "here") == Intensity(0, high)


def test_floats_come_back_unrounded():
    values = np.random.default_rng(0).random((8, 8, 1)).astype(np.float32)
    intensity = signal_range(values, "here")
    np.testing.assert_allclose(
        intensity.decode(intensity.encode(values), np.float32), values, atol=1e-6
    )


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (np.zeros((9, 9), np.uint8), UnsupportedImageError, r"array\[..., None\]"),
        (np.zeros((2, 9, 9), np.uint8), UnsupportedImageError, "moveaxis"),
        (np.zeros((9, 9, 4), np.uint8), UnsupportedImageError, "1, 2 or 3 channels"),
        (np.full((9, 9, 1), np.inf), ValueRangeError, "NaN or infinity at x=0, y=0"),
        (np.full((9, 9, 1), -0.5), ValueRangeError, "-0.5.*never negative"),
        (np.full((9, 9, 1), -3, np.int16), ValueRangeError, "-3.*never negative"),
        (np.full((9, 9, 1), 40.0), ValueRangeError, "up to 40"),
        (np.full((9, 9, 1), 40, np.int32), ValueRangeError, "int32.*largest is 40"),
        (np.zeros((9, 9, 1), bool), ValueRangeError, "bool"),
    ],
)
def test_what_is_no_measured_light_is_refused_by_name(values, error, words):
    with pytest.raises(error, match=words) as raised:
        signal_range(values, "stack.tif")
    assert "stack.tif" in str(raised.value)


def test_the_place_of_a_nan_in_a_stack_is_told():
    values = np.zeros((3, 9, 9, 2), np.float32)
    values[2, 5, 7, 1] = np.nan
    with pytest.raises(ValueRangeError, match="x=7, y=5, plane 2"):
        signal_range(values, "stack.tif")
