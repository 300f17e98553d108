"""Every value of a file survives the way to [-1, 1] and back."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import ValueRangeError
from histomend.image import Intensity


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_file_value_survives_encoding(dtype):
    everything = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    intensity = Intensity.for_dtype(dtype)
    x = intensity.encode(everything)
    assert x.dtype == np.float32
    assert x.min() == -1
    assert x.max() == 1
    back = intensity.decode(x, dtype)
    assert back.dtype == dtype
    assert np.array_equal(back, everything)


@settings(max_examples=25, deadline=None)
@given(low=st.integers(0, 30_000), span=st.integers(1, 30_000))
def test_other_ranges_survive_too(low, span):
    inside = np.unique(np.linspace(low, low + span, 500).round()).astype(np.uint16)
    intensity = Intensity(low, low + span)
    assert np.array_equal(intensity.decode(intensity.encode(inside), np.uint16), inside)


def test_decoding_clips_and_refuses_nan():
    intensity = Intensity.for_dtype(np.uint8)
    assert intensity.decode(np.array([-1.4, 1.4]), np.uint8).tolist() == [0, 255]
    with pytest.raises(ValueRangeError, match="NaN"):
        intensity.decode(np.array([0.0, np.nan]), np.uint8)


def test_ranges_that_are_none():
    with pytest.raises(ValueRangeError):
        Intensity.for_dtype(np.float32)
    with pytest.raises(ValueRangeError):
        Intensity(3, 3)
