"""From file values to what a screen shows, and to the bytes of a tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import InputError
from histomend.web.pyramid import Pyramid

Pixels = npt.NDArray[Any]
Shown = npt.NDArray[np.uint8]
CLIPPED = 0.1
"""Percent of the darkest and of the lightest values that the first contrast leaves out."""
_MOST_PLANES = 9  # that the first contrast looks at
# Channels as microscopists colour them: two are apart for the colour-blind, and white together.
_COLOURS = ((1, 0, 1), (0, 1, 0), (0, 0.6, 1), (1, 0.7, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1))


@dataclass(frozen=True)
class Contrast:
    """Which values are shown as black and as white.

    Parameters
    ----------
    low, high : tuple of float
        File values, one for all channels or one for each.
    gamma : float
        Below 1 lightens what is dark.
    channels : tuple of int
        Those that are shown, from 0; empty for all.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    gamma: float = 1.0
    channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        numbers = (*self.low, *self.high, self.gamma)
        pairs = len(self.low) == len(self.high) > 0
        wide = pairs and all(b > a for a, b in zip(self.low, self.high, strict=True))
        if not (wide and np.isfinite(numbers).all() and 0.1 <= self.gamma <= 10):
            raise InputError(
                f"A contrast from {self.low} to {self.high} with gamma {self.gamma} cannot be "
                "shown: the second has to be larger, and gamma between 0.1 and 10."
            )

    def shown(self, values: Pixels) -> Shown:
        """Return values (h, w, C) as red, green and blue, (h, w, 3)."""
        count = values.shape[2]
        if len(self.low) not in (1, count):
            raise InputError(f"A contrast of {len(self.low)} channels is not one of {count}.")
        plain = (self.low, self.high, self.gamma) == ((0,), (255,), 1)
        if plain and not self.channels and count == 3 and values.dtype == np.uint8:
            return np.ascontiguousarray(values)
        low, high = (np.array(ends, np.float32) for ends in (self.low, self.high))
        scaled = (values.astype(np.float32) - low) / (high - low)
        scaled = scaled.clip(0, 1) ** np.float32(self.gamma)
        if self.channels:
            wanted = [n in self.channels for n in range(count)]
            scaled *= np.array(wanted, np.float32)
        if count == 1:
            scaled = np.repeat(scaled, 3, axis=2)
        elif count != 3:
            colours = [_COLOURS[n % len(_COLOURS)] for n in range(count)]
            scaled = scaled @ np.array(colours, np.float32)
        return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)


def first_contrast(pyramid: Pyramid) -> Contrast:
    """Return the contrast to begin with.

    Colours of 8 bits are shown as they are; of all else the darkest and lightest values are left
    out, channel by channel, but over all planes alike, so that planes can be compared.
    """
    if pyramid.dtype == np.uint8 and pyramid.channels == 3:
        return Contrast((0,), (255,))
    step = max(1, pyramid.planes // _MOST_PLANES)
    some = [pyramid.overview(plane) for plane in range(0, pyramid.planes, step)]
    values = np.concatenate([plane.reshape(-1, pyramid.channels) for plane in some])
    low, high = np.percentile(values, (CLIPPED, 100 - CLIPPED), axis=0)
    high = np.where(high > low, high, low + 1)
    return Contrast(tuple(low.tolist()), tuple(high.tolist()))


def whole_range(dtype: np.dtype[Any]) -> tuple[float, float]:
    """Return the smallest and largest value that a type of file holds."""
    return (0.0, 1.0) if dtype.kind == "f" else (0.0, float(np.iinfo(dtype).max))


def as_png(pixels: Shown) -> bytes:
    """Return (h, w, 3) or, with transparency, (h, w, 4) as a PNG: exact, and quickly made."""
    swapped = cv2.cvtColor(
        pixels, cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    )
    return cv2.imencode(".png", swapped, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def as_jpeg(pixels: Shown) -> bytes:
    """Return (h, w, 3) as a JPEG: of slides, whose tiles were JPEG before."""
    swapped = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
