"""Denoising without learning: the median of each neighbourhood."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError
from histomend.image.signals import signal_range

SIDE_PX = 3


def median_blur(pixels: npt.NDArray[np.generic], side_px: int = SIDE_PX) -> npt.NDArray[np.generic]:
    """Replace each value by the median of its neighbourhood in its channel.

    Parameters
    ----------
    pixels : (H, W, C) or (Z, H, W, C) uint8, uint16, or float in [0, 1]; C is 1, 2 or 3
        Planes of a stack are blurred one by one.
    side_px : odd int
        Side of the square neighbourhood, 3 to 15. Beyond the border values are mirrored.

    Returns
    -------
    array of the same shape and type

    Raises
    ------
    SettingError
        A side that is even or out of range.
    UnsupportedImageError, ValueRangeError
        See `signal_range`.
    """
    from scipy.ndimage import median_filter

    signal_range(pixels, "the array")
    if side_px not in range(3, 16, 2):
        raise SettingError(
            f"The median is taken over an odd number of pixels, 3 to 15 a side, not {side_px}."
        )
    window = (1,) * (pixels.ndim - 3) + (side_px, side_px, 1)
    blurred: npt.NDArray[np.generic] = median_filter(pixels, size=window, mode="reflect")
    return blurred
