"""What every measure first makes sure of: two comparable images, and a region of them."""

from __future__ import annotations

import math

import numpy as np

from histomend.errors import (
    ImageSizeError,
    MaskError,
    SettingError,
    UnsupportedImageError,
    ValueRangeError,
)


def checked_pair(
    truth: np.ndarray, image: np.ndarray, data_range: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Check two images against each other and convert them.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    data_range : float, optional
        Largest possible value; no value may exceed it.

    Returns
    -------
    tuple of (H, W, 3) float64
        Both, values unchanged.

    Raises
    ------
    UnsupportedImageError
        An array is not (H, W, 3) uint8 or uint16.
    ImageSizeError
        The two differ in size, or have no pixels.
    ValueRangeError
        A value is above ``data_range``.
    SettingError
        ``data_range`` is not positive.
    """
    true, seen = _values("truth", truth), _values("image", image)
    if true.shape != seen.shape or true.size == 0:
        raise ImageSizeError(
            f"The truth is {_size(true)} pixels and the image {_size(seen)}: both must be of the "
            f"same size, with at least one pixel. Crop them to the same field."
        )
    if data_range is not None:
        if not (math.isfinite(data_range) and data_range > 0):
            raise SettingError(f"data_range is {data_range}: give the largest possible value.")
        top = max(float(true.max()), float(seen.max()))
        if top > data_range:
            raise ValueRangeError(
                f"The images hold values up to {top:g}, above the data range of {data_range:g}: "
                f"pass data_range=65535 for 16-bit images."
            )
    return true, seen


def checked_region(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Check that a mask marks a region of an image.

    Parameters
    ----------
    mask : (H, W) bool
    shape : tuple of int
        The image's (H, W).

    Returns
    -------
    (H, W) bool

    Raises
    ------
    MaskError
        The mask is of another size, not boolean, or empty.
    """
    region = np.asarray(mask)
    if region.dtype != np.bool_ or region.shape != shape:
        raise MaskError(
            f"The mask is {region.dtype} of shape {region.shape}; a boolean one of shape {shape}, "
            f"the image's, is needed."
        )
    if not region.any():
        raise MaskError("The mask is empty, so there is no region to measure.")
    return region


def _values(name: str, array: np.ndarray) -> np.ndarray:
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError(
            f"{name} is {array.dtype} of shape {array.shape}, and measures compare RGB arrays "
            f"(height, width, 3) of uint8 or uint16: convert it first."
        )
    return array.astype(np.float64)


def _size(values: np.ndarray) -> str:
    return f"{values.shape[1]}x{values.shape[0]}"
