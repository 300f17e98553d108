"""What a detector says of each place of an image, window by window.

The windows lie on a grid of the image's own, each with as much around it as the network sees. So
the result does not depend on how much is read at a time, and memory is that of one window and of
three bytes a place, which is 4 um2 with the bundled detector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from histomend.errors import PixelSizeError
from histomend.image import FINEST_MPP, check_mpp
from histomend.image.pixels import Region
from histomend.masks.artifact_classes import SOUND
from histomend.models.detector import Detector

Pixels = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.uint8]
Read = Callable[[Region], Pixels]
"""Returns the pixels (h, w, 3) uint8 of a region (x, y, w, h)."""
Progress = Callable[[int, int], Any]

# Side of a window in pixels of the detector, without what lies around it.
WINDOW_PX = 1024
# Pixels may be this much larger than those that the detector was trained on.
COARSEST = 2.0
# Nothing to look at: values of a window that differ by less than this.
EVEN = 3


@dataclass(frozen=True)
class Places:
    """What a detector says of each place.

    Attributes
    ----------
    shape : (height, width) of the image, px
    um : size of a place, um
    mpp : pixel size of the image that was taken, um
    classes : tuple of str
        Names of the classes that `best` counts.
    artifact : (h, w) uint8
        Probability that there is any artifact, times 255.
    best : (h, w) uint8
        Which artifact is the most likely one, an index of `classes`.
    tissue : (h, w) bool
        Whether tissue is likelier than glass.
    """

    shape: tuple[int, int]
    um: float
    mpp: float
    classes: tuple[str, ...]
    artifact: Plane
    best: Plane
    tissue: npt.NDArray[np.bool_]


def look(
    read: Read,
    shape: tuple[int, int],
    mpp: float,
    detector: Detector,
    progress: Progress | None = None,
) -> Places:
    """Let a detector look at an image.

    Parameters
    ----------
    read : function of a region (x, y, w, h) of the image
    shape : (height, width) of the image, px
    mpp : micrometres per pixel
    detector : Detector
    progress : function of (windows done, windows in all), optional

    Raises
    ------
    PixelSizeError
        If the pixels are too coarse for the detector, or of no possible size.
    """
    check_mpp(mpp, "mpp", least=FINEST_MPP)
    working = detector.config.mpp
    if mpp > COARSEST * working:
        raise PixelSizeError(
            f"An image of {mpp:g} um per pixel is too coarse to find artifacts in: the detector "
            f"{detector.name} sees {working:g} um per pixel, and takes at most "
            f"{COARSEST * working:g}. Use a scan or a level of a slide that is finer, or correct "
            "the pixel size with --mpp; --method threshold takes any."
        )
    grid = Grid(shape, max(1.0, shape[0] * mpp / working), max(1.0, shape[1] * mpp / working))
    patch = detector.patch
    rows, columns = (-(-n // patch) for n in grid.size)
    artifact = np.zeros((rows, columns), np.uint8)
    best = np.full((rows, columns), len(SOUND), np.uint8)
    tissue = np.zeros((rows, columns), np.bool_)
    windows = grid.windows(WINDOW_PX)
    for number, (top, left, bottom, right) in enumerate(windows, 1):
        inner = (slice(top // patch, -(-bottom // patch)), slice(left // patch, -(-right // patch)))
        pixels, (above, before) = grid.cut(read, (top, left, bottom, right), detector.reach_px)
        if int(pixels.max()) - int(pixels.min()) >= EVEN:
            x = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
            found = detector(x)[0].cpu().numpy()
            y0, x0 = above // patch, before // patch
            found = found[:, y0 : y0 + best[inner].shape[0], x0 : x0 + best[inner].shape[1]]
            sound = found[: len(SOUND)]
            artifact[inner] = np.rint(255 * (1 - sound.sum(0))).clip(0, 255).astype(np.uint8)
            best[inner] = len(SOUND) + found[len(SOUND) :].argmax(0)
            tissue[inner] = sound[1] > sound[0]
        if progress is not None:
            progress(number, len(windows))
    classes = tuple(detector.config.classes)
    return Places(shape, patch * working, mpp, classes, artifact, best, tissue)


@dataclass(frozen=True)
class Grid:
    """An image at the detector's pixel size.

    Parameters
    ----------
    shape : (height, width) of the image, px
    rows, columns : float
        Of the image at the detector's pixel size; rounded in `size`.
    """

    shape: tuple[int, int]
    rows: float
    columns: float

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns at the detector's pixel size."""
        return max(1, round(self.rows)), max(1, round(self.columns))

    def windows(self, side: int) -> list[tuple[int, int, int, int]]:
        """Return (top, left, bottom, right) of all windows, row by row."""
        height, width = self.size
        return [
            (y, x, min(height, y + side), min(width, x + side))
            for y in range(0, height, side)
            for x in range(0, width, side)
        ]

    def cut(
        self, read: Read, window: tuple[int, int, int, int], reach: int
    ) -> tuple[Pixels, tuple[int, int]]:
        """Return a window with what lies around it, and how much of that is above and before it."""
        height, width = self.size
        top, left, bottom, right = window
        y0, x0 = max(0, top - reach), max(0, left - reach)
        y1, x1 = min(height, bottom + reach), min(width, right + reach)
        down, across = self.shape[0] / height, self.shape[1] / width
        a, b = round(y0 * down), max(round(y0 * down) + 1, round(y1 * down))
        c, d = round(x0 * across), max(round(x0 * across) + 1, round(x1 * across))
        pixels = read((c, a, d - c, b - a))
        size = (x1 - x0, y1 - y0)
        if pixels.shape[:2] != size[::-1]:
            how = cv2.INTER_AREA if pixels.shape[0] > size[1] else cv2.INTER_CUBIC
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)
        return pixels, (top - y0, left - x0)
