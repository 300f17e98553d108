"""What light does on its way through a slide: absorption, blur, soft edges.

Stain, folds and dirt absorb: their optical densities add up (Beer-Lambert), so damage is put
together there and not on pixel values. All pictures in this module are (H, W, 3) float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.floating[Any]]
Field = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

Pixels = npt.NDArray[np.uint8]

# A renderer takes the pixels, a generator, the area (fraction of the image) and the scale (px per
# micrometre); it gives the altered picture, meaningful under the mask only, and the mask.
Renderer = Callable[[Pixels, np.random.Generator, float, float], tuple[Picture, Mask]]


def density(pixels: Pixels) -> Picture:
    """Turn 8-bit values into optical density (natural logarithm, 0 for white, at most 5.5)."""
    table = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1.0) / 255.0)
    return np.asarray(table[pixels], dtype=np.float32)


def transmit(od: Picture, *, darkest: float = 2.6) -> Picture:
    """Turn optical density into values in [0, 255] as a camera with some glare sees them.

    ``darkest`` is the density that the camera saturates at; densities far below it are kept.
    """
    od = np.maximum(od, 0.0)
    seen = od / np.power(1.0 + np.power(od / darkest, 3.0), 1.0 / 3.0)
    return np.asarray(255.0 * np.exp(-seen), dtype=np.float32)


def tissue(od: Picture) -> Field:
    """Measure how much tissue lies at each pixel: mean density, saturating at one layer (0.5)."""
    return np.asarray(np.minimum(od.mean(axis=2), 0.5), dtype=np.float32)


def defocus(picture: Picture, radius: float) -> Picture:
    """Blur as an out-of-focus lens does: with a disc of the given radius in px."""
    if radius < 0.5:
        return picture
    reach = int(np.ceil(radius)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    # The rim pixel counts by how much of it the disc covers, so that radii need not be whole.
    disc = np.clip(radius + 0.5 - np.hypot(x, y), 0.0, 1.0).astype(np.float32)
    disc /= disc.sum()
    blurred = cv2.filter2D(picture, -1, disc, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.GaussianBlur(blurred, (0, 0), 0.25 * radius + 0.3), dtype=np.float32)


def depth(mask: Mask) -> Field:
    """Measure how far inside the mask each pixel lies, in px; 0 outside, 1 on the edge."""
    return np.asarray(cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def ramp(inside: Field, width: float) -> Field:
    """Rise smoothly from 0 at the mask's edge to 1 at ``width`` px inside it."""
    # A mask thinner than the ramp still reaches 1 in its middle.
    width = max(1.0, min(width, 0.7 * float(inside.max())))
    t = np.clip(inside / width, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def profile(inside: Field, softness: float = 0.3) -> Field:
    """Rise from 0 at the edge to 1 in the middle of the mask, without a ridge along its axis."""
    deepest = float(inside.max())
    body = soften(ramp(inside, deepest), softness * deepest)
    body = body * ramp(inside, 0.5 * deepest)
    return np.asarray(body / max(float(body.max()), 1e-6), dtype=np.float32)


def soften(values: Field, sigma: float) -> Field:
    """Blur one plane with a Gaussian of ``sigma`` px (none below 0.3)."""
    if sigma < 0.3:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float32)
