from __future__ import annotations

import cv2
import numpy as np
import pytest

from histomend.baselines.denoising import median_blur
from histomend.errors import SettingError, UnsupportedImageError


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(40, 50, 1), (40, 50, 2), (40, 50, 3), (3, 40, 50, 2)])
def test_specks_go_and_type_and_shape_stay(dtype: type, shape: tuple[int, ...]) -> None:
    high = 1 if dtype is np.float32 else np.iinfo(dtype).max
    clean: np.ndarray = np.full(shape, 0.5 * high).astype(dtype)
    noisy = clean.copy()
    noisy[..., ::5, ::5, :] = high
    blurred = median_blur(noisy)
    assert (blurred.dtype, blurred.shape) == (noisy.dtype, noisy.shape)
    np.testing.assert_array_equal(blurred, clean)


def test_planes_and_channels_do_not_mix(tissue: np.ndarray) -> None:
    stack = np.stack([tissue[:64, :64], tissue[200:264, :64]])
    for plane, blurred in zip(stack, median_blur(stack, 5), strict=True):
        expected = cv2.medianBlur(np.ascontiguousarray(plane), 5)
        # OpenCV repeats the border, and here it is mirrored.
        np.testing.assert_array_equal(blurred[2:-2, 2:-2], expected[2:-2, 2:-2])


def test_an_even_side_and_a_mask_are_refused() -> None:
    with pytest.raises(SettingError, match="odd"):
        median_blur(np.zeros((20, 20, 1), np.uint8), 4)
    with pytest.raises(UnsupportedImageError, match="channels"):
        median_blur(np.zeros((20, 20), np.uint8))
