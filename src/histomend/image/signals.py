"""Images of one to three channels whose values are measured light, and the range they lie in."""

from __future__ import annotations

import cv2
import numpy as np

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image.pixels import Intensity, Pixels, bands

MOST_CHANNELS = 3
# Signals that reach less than one part in so many of the range are stretched until they do.
DIMMEST = 3.0


def signal_range(values: Pixels, where: str) -> Intensity:
    """Check an image or a stack, and give the range of its type.

    Parameters
    ----------
    values : (H, W, C) or (Z, H, W, C) uint8, uint16, or float in [0, 1]
        C is 1, 2 or 3.
    where : str
        What errors call it.

    Returns
    -------
    Intensity
        0 to 255, to 65535, or to 1.

    Raises
    ------
    UnsupportedImageError
        Another number of axes or channels.
    ValueRangeError
        NaN, infinity, negative values, or a type whose range cannot be known.
    """
    if values.ndim not in (3, 4) or not 1 <= values.shape[-1] <= MOST_CHANNELS:
        hint = ""
        if values.ndim == 2:
            hint = " One channel needs an axis too: array[..., None]."
        elif values.ndim in (3, 4) and values.shape[-3] <= MOST_CHANNELS:
            hint = " Channels come last here: numpy.moveaxis(array, -3, -1)."
        raise UnsupportedImageError(
            f"{where}: expected (height, width, channels) with 1, 2 or 3 channels, or a stack of "
            f"such images, got {values.shape}.{hint}"
        )
    if values.dtype in (np.uint8, np.uint16):
        return Intensity.for_dtype(values.dtype)
    if values.dtype.kind not in "fi":
        raise ValueRangeError(
            f"{where}: values of type {values.dtype} have no known range. Use uint8 (0..255), "
            "uint16 (0..65535) or float in [0, 1]."
        )
    low, high = _extremes(values, where)
    if low < 0:
        raise ValueRangeError(
            f"{where}: the smallest value is {low:g}, but light is never negative. If a "
            "background was subtracted, use the image before that, or clip it at 0."
        )
    if values.dtype.kind == "i":
        raise ValueRangeError(
            f"{where}: values of type {values.dtype} have no known range. The largest is "
            f"{high:g}: save the image as uint16 (0..65535), or as uint8 (0..255)."
        )
    if high > 1:
        raise ValueRangeError(
            f"{where}: floating-point values up to {high:g}, of which the range is not known. "
            "Divide them by the detector's full scale, so that they lie in [0, 1], or save them "
            "as uint16."
        )
    return Intensity(0.0, 1.0)


def _extremes(values: Pixels, where: str) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for start, stop in bands(values.shape[0], values[:1].size):
        part = values[start:stop]
        bad = ~np.isfinite(part)
        if bad.any():
            place = np.argwhere(bad)[0]
            place[0] += start
            y, x = place[-3:-1]
            plane = f", plane {place[0]}" if values.ndim == 4 else ""
            raise ValueRangeError(
                f"{where}: NaN or infinity at x={x}, y={y}{plane}. Put measured values there, or "
                "0 where nothing was measured."
            )
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    return low, high


def fitted_range(values: Pixels, full: Intensity) -> Intensity:
    """Return the range in which a model sees an image or a stack as those it was trained on.

    The models know signals that fill at least about a third of the range. Many fluorescence
    images use less, as 12-bit values in 16-bit files do. Shown as they are, their noise would
    be of a few steps of diffusion at most, whatever it is beside the signal. So where the signal
    reaches less than a third of the range, the range is taken to end at three times the
    signal, for all channels and planes alike: signal and noise are stretched together, and t is
    what it is for an image that was exposed longer. RGB is never stretched: how bright glass is
    means something there.

    Parameters
    ----------
    values : (H, W, C) or (Z, H, W, C)
        As `signal_range` checked it.
    full : Intensity
        The range of its type.

    Returns
    -------
    Intensity
        The same, or one that ends below. Values above that are single hot pixels.
    """
    if values.shape[-1] == MOST_CHANNELS:
        return full
    signal = max(_brightest(plane) for plane in values.reshape(-1, *values.shape[-3:]))
    high = DIMMEST * signal
    return Intensity(full.low, high) if full.low < high < full.high else full


def _brightest(plane: Pixels) -> float:
    """Return the largest mean of 3×3 pixels of one channel: what a hot pixel cannot be."""
    return max(
        float(cv2.blur(np.ascontiguousarray(channel, np.float32), (3, 3)).max())
        for channel in np.moveaxis(plane, -1, 0)
    )
