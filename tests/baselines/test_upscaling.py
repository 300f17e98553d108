from __future__ import annotations

import numpy as np
import pytest

from histomend.baselines.upscaling import bicubic, lanczos
from histomend.errors import SettingError, ValueRangeError


def waves(height: int, width: int, period: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width] + 0.5
    plane = np.cos(2 * np.pi * x / period) * np.sin(2 * np.pi * y / (period * height / width))
    return np.stack([plane, -plane, 0.5 * plane], -1) * 0.4 + 0.5


@pytest.mark.parametrize("method", [bicubic, lanczos])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_smooth_images_come_out_as_if_taken_with_smaller_pixels(method, dtype) -> None:  # type: ignore[no-untyped-def]
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    small, large = (waves(24 * k, 32 * k, 16 * k) * top for k in (1, 3))
    found = method(small.astype(dtype), 3)
    assert (found.dtype, found.shape) == (dtype, (72, 96, 3))
    error = (found.astype(np.float64) - large)[12:-12, 12:-12] / top
    assert np.abs(error).max() < 0.02


@pytest.mark.parametrize("method", [bicubic, lanczos])
def test_any_scale_and_number_of_channels(method) -> None:  # type: ignore[no-untyped-def]
    assert method(np.zeros((33, 20, 1), np.uint8), 1.5).shape == (50, 30, 1)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    np.testing.assert_array_equal(method(pixels, 1), pixels)


def test_overshoot_at_edges_is_clipped() -> None:
    edge = np.zeros((16, 16, 1), np.uint8)
    edge[:, 8:] = 255
    found = lanczos(edge, 4)
    assert (int(found.min()), int(found.max())) == (0, 255)
    assert found[:, :16].max() < 30


@pytest.mark.parametrize("scale", [0.5, 8.1, float("nan")])
def test_scales_out_of_range_are_refused(scale: float) -> None:
    with pytest.raises(SettingError, match="between 1 and 8"):
        bicubic(np.zeros((16, 16, 3), np.uint8), scale)


def test_values_of_unknown_range_are_refused() -> None:
    with pytest.raises(ValueRangeError):
        bicubic(np.full((16, 16, 3), 300.0), 2)
