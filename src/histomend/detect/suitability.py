"""Whether an image is what the detector was made for: bright field, hematoxylin and eosin."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from histomend.errors import UnsupportedImageError

Pixels = npt.NDArray[np.uint8]

# Of fluorescence most is black, and nothing is as light as glass.
_BLACK, _LIGHT = 30, 150
# Tissue is what absorbs this much, in natural optical density.
_TISSUE = 0.15
_LEAST_TISSUE = 400
# Hematoxylin and eosin absorb more green than blue; the brown of DAB does not. Of the tissue of
# IHC slides at least this share is brown.
_BROWN, _BROWN_SHARE = 1.08, 0.04
# Mean direction of the density of tissue (red, green, blue), and how far from it the tissue of
# clean tiles of 20 H&E slides is at most, in degrees (13), and a little more.
_USUAL_DIRECTION = (0.42, 0.79, 0.44)
_USUAL_ANGLE = 15.0


def check_bright_field(pixels: Pixels, where: str) -> None:
    """Refuse images with a black background.

    Raises
    ------
    UnsupportedImageError
    """
    brightest = pixels.max(axis=2)
    if np.median(brightest) <= _BLACK and np.percentile(pixels.min(axis=2), 99.5) < _LIGHT:
        raise UnsupportedImageError(
            f"{where}: has a dark background, as fluorescence has. The detector knows stained "
            "tissue in bright field only. Mark what is wrong by hand and use it as --mask; noise "
            "of fluorescence is what histomend denoise is for."
        )


def odd_stain(pixels: Pixels) -> str | None:
    """Return what to say of a stain that the detector was not made for, None of H&E.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
        Some of the image, or all of it.
    """
    od = -np.log(np.maximum(pixels.reshape(-1, 3), 1).astype(np.float32) / 255)
    od = od[od.mean(axis=1) > _TISSUE]
    if len(od) < _LEAST_TISSUE:
        return None
    if float(np.ptp(od, axis=1).mean()) < 0.03:
        return "the tissue has no colour, and the detector was made for H&E: check what it marks"
    red, green, blue = od.T
    brown = (blue > _BROWN * green) & (blue > 1.3 * red) & (blue > 0.4)
    if float(brown.mean()) > _BROWN_SHARE:
        return (
            f"{brown.mean():.0%} of the tissue is brown, as in immunohistochemistry (DAB), which "
            "the detector knows little of: check what it marks"
        )
    mean = od.mean(axis=0)
    usual = np.array(_USUAL_DIRECTION)
    cosine = float(mean @ usual / (np.linalg.norm(mean) * np.linalg.norm(usual)))
    angle = math.degrees(math.acos(min(1.0, cosine)))
    if angle > _USUAL_ANGLE:
        return (
            "the stain is unlike the H&E that the detector was trained on "
            f"({angle:.0f} degrees away in optical density): look before you trust what it marks"
        )
    return None
