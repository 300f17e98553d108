"""Upscaling without learning: bicubic and Lanczos interpolation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from histomend.image.resampling import target_size
from histomend.image.signals import signal_range


def bicubic(pixels: npt.NDArray[np.generic], scale: float) -> npt.NDArray[np.generic]:
    """Enlarge an image by Keys' cubic convolution (a = -0.5), as most papers mean by bicubic.

    Parameters
    ----------
    pixels : (H, W, C) uint8, uint16, or float in [0, 1]; C is 1, 2 or 3
    scale : float in [1, 8]

    Returns
    -------
    (round(scale H), round(scale W), C) of the same type
        Clipped to the range of the type: both methods overshoot at edges.

    Raises
    ------
    SettingError
        The scale is out of range.
    UnsupportedImageError, ValueRangeError
        See `signal_range`.
    """
    return _enlarged(pixels, scale, PilImage.Resampling.BICUBIC)


def lanczos(pixels: npt.NDArray[np.generic], scale: float) -> npt.NDArray[np.generic]:
    """Enlarge an image by a sinc with a window of three lobes.

    Parameters, result and errors are those of :func:`bicubic`.
    """
    return _enlarged(pixels, scale, PilImage.Resampling.LANCZOS)


def _enlarged(
    pixels: npt.NDArray[np.generic], scale: float, method: PilImage.Resampling
) -> npt.NDArray[np.generic]:
    intensity = signal_range(pixels, "the array")
    height, width = target_size(pixels.shape[0], pixels.shape[1], scale)
    enlarged = np.empty((height, width, pixels.shape[2]), pixels.dtype)
    # Pillow has colour images of 8 bits only, but single planes of floating-point numbers; one
    # after the other they also need less memory.
    for channel, plane in enumerate(np.moveaxis(intensity.encode(pixels), -1, 0)):
        picture = PilImage.fromarray(np.ascontiguousarray(plane)).resize((width, height), method)
        larger = np.asarray(picture).clip(-1, 1)
        enlarged[..., channel] = intensity.decode(larger, pixels.dtype)
    return enlarged
