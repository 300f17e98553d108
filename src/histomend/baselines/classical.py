"""Restoration without learning: OpenCV's two inpainters.

Both continue what surrounds the damage into it, Telea's by weighted averages along a marching
front, the other by transporting brightness along isophotes. On tissue that gives a smear: the
right mean colour and no nuclei, which is why texture is measured beside fidelity.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from histomend.errors import MaskError
from histomend.image import check_rgb

# How far both look for known pixels. More blurs more: on 40 validation crops a radius of 20 gives
# Telea 0.5 dB more PSNR, 0.002 less FSIM, and takes ten times as long.
RADIUS_PX = 5.0


def telea(pixels: np.ndarray, mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Inpaint by Telea's fast marching method (2004).

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    mask : (H, W) bool
        True where to restore.
    seed : int
        Not used: there is nothing random. It is here because every restorer has one.

    Returns
    -------
    (H, W, 3) uint8
        Outside the mask as it was, to the byte.

    Raises
    ------
    UnsupportedImageError
        ``pixels`` is not (H, W, 3) uint8.
    MaskError
        The mask is of another size, not boolean, or covers everything.
    """
    return _inpaint(pixels, mask, "telea")


def navier_stokes(pixels: np.ndarray, mask: np.ndarray, seed: int = 0) -> np.ndarray:
    """Inpaint by the Navier-Stokes method of Bertalmio et al. (2001).

    Parameters, result and errors are those of :func:`telea`.
    """
    return _inpaint(pixels, mask, "navier_stokes")


def _inpaint(
    pixels: np.ndarray, mask: np.ndarray, method: Literal["telea", "navier_stokes"]
) -> np.ndarray:
    import cv2

    check_rgb(
        pixels, "Inpainting with OpenCV", hint="Convert it, or use a model, which takes 16 bits."
    )
    if mask.dtype != np.bool_ or mask.shape != pixels.shape[:2]:
        raise MaskError(
            f"The mask is {mask.dtype} of shape {mask.shape}; a boolean one of shape "
            f"{pixels.shape[:2]}, the image's, is needed."
        )
    if mask.all():
        raise MaskError("The mask covers the whole image, so there is nothing to continue from.")
    flag = cv2.INPAINT_TELEA if method == "telea" else cv2.INPAINT_NS
    filled = cv2.inpaint(np.ascontiguousarray(pixels), mask.astype(np.uint8), RADIUS_PX, flag)
    return np.where(mask[..., None], filled, pixels)
