"""A small picture of before and after, as notebooks show a result."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from histomend.image.display import virtual_he
from histomend.image.pixels import Image, Pixels
from histomend.image.signals import signal_range
from histomend.image.stacks import Stack

MOST_PX = 1_000_000
GAP_PX = 8
# Of grey images the darkest and lightest pixels are left out of the range that is shown.
_CLIPPED = 0.1


def before_and_after(before: Image | Stack, after: Image | Stack) -> bytes:
    """Draw two images side by side, of a stack the middle plane.

    Both are brought to the size of the second, or to what fits into `MOST_PX`. Images of one
    channel are stretched, both over the range of the first, so that they compare; of two
    channels they are shown as `virtual_he` colours them.

    Returns
    -------
    bytes
        A PNG of at most about a million pixels.
    """
    first, second = _plane(before), _plane(after)
    height, width = second.shape[:2]
    # The largest share at which (2 width share + gap) height share is no more than MOST_PX.
    gap_px, area = GAP_PX * height, 2 * width * height
    share = min(1.0, (math.sqrt(gap_px**2 + 4 * area * MOST_PX) - gap_px) / (2 * area))
    size = max(1, math.floor(width * share)), max(1, math.floor(height * share))
    small = [_resized(plane, size) for plane in (first, second)]
    left, right = (coloured(plane, small[0]) for plane in small)
    gap = np.full((size[1], GAP_PX, 3), 255, np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(np.concatenate([left, gap, right], axis=1)).save(file, "PNG")
    return file.getvalue()


def _plane(image: Image | Stack) -> Pixels:
    """Return (H, W, C)."""
    if isinstance(image, Stack):
        return np.asarray(image.values[len(image.values) // 2])
    return image.pixels


def _resized(plane: Pixels, size: tuple[int, int]) -> Pixels:
    if plane.dtype.kind == "f":
        plane = plane.astype(np.float32)
    smaller = size[0] < plane.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(plane, size, interpolation=how)).reshape(*size[::-1], -1)


def coloured(plane: Pixels, first: Pixels) -> npt.NDArray[np.uint8]:
    """Return a plane (H, W, C) as (H, W, 3) of 8 bits, one channel over the range of `first`."""
    if plane.shape[2] == 2:
        return virtual_he(plane)
    if plane.shape[2] == 1:
        low, high = np.percentile(first, (_CLIPPED, 100 - _CLIPPED))
        plane = np.repeat(plane, 3, axis=2)
    else:
        full = signal_range(plane, "the image")
        low, high = full.low, full.high
    values = (plane.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.rint(values.clip(0, 1) * 255).astype(np.uint8)
