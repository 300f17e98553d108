"""What tissue looks like around each pixel: colour, and how grained it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.image.depth import eight_bit

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# How much a difference in grain counts beside one in colour. Grain tells dense nuclei from
# stroma of the same mean colour, and sharp tissue from a place out of focus.
GRAIN_WEIGHT = 3.0
# Bare glass is light and has no colour: least lightness, most colour, in CIELAB.
_GLASS_LIGHTNESS, _GLASS_CHROMA = 86.0, 9.0
# Glass is larger than the lumen of a gland: side of the squares it has room for, in cells.
_GLASS_CELLS = 8
# A mask is too tight if its rim, up to a cell wide, and the next two cells further out differ by
# more than this in a channel's mean, in levels of 8 bits. Rims of fewer pixels than _MANY differ by
# chance, where tissues meet: there it takes more, in proportion to the error of a mean. Of 71 holes
# in clean tiles of the training 3 are taken for soiled, and 33 of 34 masks that are 2 px too tight.
_SOILED, _MANY = 12.0, 500
# OpenCV's CIELAB in eight bits.
_LAB_ZERO = np.array([0, 128, 128], np.float32)
_LAB_STEP = np.array([1 / 255, 1 / 100, 1 / 100], np.float32)


@dataclass(frozen=True)
class Tissue:
    """A part of an image, described pixel by pixel.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
    known : (H, W) bool
        Where pixels can be fitted to: visible, or filled before.
    clean : (H, W) bool
        Where pixels may be copied from.
    cell : int
        Side in px of the cells in which pieces are chosen.
    colour : (H, W, 3) float32
        CIELAB over 100.
    means : (H, W, 4) float32
        Colour and grain, averaged over the cell around each pixel: `cell // 2` before it, the
        rest from it on.
    whole : (H, W) bool
        Where all of that cell is clean.
    """

    pixels: npt.NDArray[Any]
    known: Mask
    clean: Mask
    cell: int
    colour: Floats
    means: Floats
    whole: Mask


def describe(pixels: npt.NDArray[Any], known: Mask, clean: Mask, cell: int) -> Tissue:
    """Return the description of a part of an image; see `Tissue`."""
    colour = _lab(pixels)
    seen = known.astype(np.float32)
    light = colour[..., 0] * seen
    # Averages over visible pixels alone: what lies under the mask is no tissue.
    smooth = cv2.blur(light, (3, 3)) / np.maximum(cv2.blur(seen, (3, 3)), 1e-6)
    grain = np.abs(light - smooth * seen) * np.float32(GRAIN_WEIGHT)
    total = cv2.blur(np.dstack([colour * seen[..., None], grain]), (cell, cell))
    means = np.asarray(
        total / np.maximum(cv2.blur(seen, (cell, cell)), 1e-6)[..., None], np.float32
    )
    square = np.ones((cell, cell), np.uint8)
    whole = cv2.erode(clean.astype(np.uint8), square, borderValue=0).astype(bool)
    return Tissue(pixels, known, clean, cell, colour, means, whole)


def glass(pixels: npt.NDArray[Any], cell: int) -> Mask:
    """Return where a part of an image shows bare glass, (H, W) bool; lumina are none."""
    lab = cv2.blur(_lab(pixels), (cell, cell)) * 100
    bare = (lab[..., 0] > _GLASS_LIGHTNESS) & (np.hypot(lab[..., 1], lab[..., 2]) < _GLASS_CHROMA)
    square = np.ones((_GLASS_CELLS * cell,) * 2, np.uint8)
    # Beyond the image the glass is taken to go on.
    opened = cv2.morphologyEx(bare.astype(np.uint8), cv2.MORPH_OPEN, square)
    return np.asarray(opened, bool)


def soiled_rim(pixels: npt.NDArray[Any], hole: Mask, known: Mask, cell: int) -> Mask:
    """Return the rim around a hole, (H, W) bool, if the artifact seems to go on beyond the mask.

    Nothing may be fitted to such a rim; else all False.
    """
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 5)
    rim, beyond = known & (distance <= cell), known & (distance > cell) & (distance <= 3 * cell)
    nearest = known & (distance <= 0.625 * cell)
    if not nearest.any() or not beyond.any():
        return np.zeros_like(hole)
    apart = np.abs(pixels[nearest].mean(0) - pixels[beyond].mean(0)).max()
    chance = max(1.0, float(np.sqrt(_MANY / np.count_nonzero(nearest))))
    soiled = apart * 255 / np.iinfo(pixels.dtype).max > _SOILED * chance
    return rim if soiled else np.zeros_like(hole)


def _lab(pixels: npt.NDArray[Any]) -> Floats:
    """Return CIELAB over 100, (H, W, 3). Eight bits are enough to compare by, and far quicker."""
    lab = cv2.cvtColor(eight_bit(pixels), cv2.COLOR_RGB2Lab).astype(np.float32)
    return (lab - _LAB_ZERO) * _LAB_STEP
