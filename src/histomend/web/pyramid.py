"""Pixels for deep zoom: tiles of images in memory, and of slides that stay in their file."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import (
    HistomendError,
    ImageSizeError,
    InputError,
    UnsupportedImageError,
)
from histomend.image import Image, read_image
from histomend.image.pixels import Region
from histomend.image.stack_files import read_stack
from histomend.image.stacks import Stack
from histomend.slides.whole import is_of_scanner, open_slide

Pixels = npt.NDArray[Any]
TILE_PX = 512
# Planes of which smaller copies are kept; each takes a third of its plane.
_KEPT_PLANES = 4
_MOST_READ = 1 << 24  # px of a slide that are read at once for a tile


class Pyramid(Protocol):
    """An image at all sizes, each half of the next; the last level is the image itself.

    Attributes
    ----------
    width, height : int
        In pixels.
    planes, channels : int
    dtype : np.dtype
        Of the stored values.
    mpp : float or None
        Micrometres per pixel.
    notices : tuple of str
        What the user should know.
    bytes : int
        What it takes in memory, about.
    """

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def planes(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def mpp(self) -> float | None: ...
    @property
    def notices(self) -> tuple[str, ...]: ...
    @property
    def bytes(self) -> int: ...

    def tile(self, level: int, column: int, row: int, plane: int) -> Pixels:
        """Return the values (h, w, C) of a tile.

        Raises
        ------
        InputError
            There is no such tile.
        """

    def overview(self, plane: int) -> Pixels:
        """Return a plane (h, w, C) at the largest level that is one tile."""


def last_level(width: int, height: int) -> int:
    """Return the number of the level that is the image itself; level 0 is one pixel."""
    return (max(width, height) - 1).bit_length()


class ArrayPyramid:
    """An image or a stack in memory, whose smaller levels are made when they are asked for.

    Parameters
    ----------
    values : (Z, H, W, C)
    mpp : float or None
    notices : tuple of str
    """

    def __init__(
        self, values: Pixels, mpp: float | None = None, notices: tuple[str, ...] = ()
    ) -> None:
        self.values, self.mpp, self.notices = values, mpp, notices
        self.planes, self.height, self.width, self.channels = (int(n) for n in values.shape)
        self.dtype = values.dtype
        self.bytes = values.nbytes * 4 // 3
        self._smaller: OrderedDict[int, list[Pixels]] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, image: Image | Stack) -> ArrayPyramid:
        """Return the pyramid of an image or a stack."""
        if isinstance(image, Stack):
            return cls(image.together().values, image.mpp, image.notices)
        return cls(image.pixels[None], image.mpp, image.notices)

    def tile(self, level: int, column: int, row: int, plane: int) -> Pixels:
        """Return the values (h, w, C) of a tile."""
        last = last_level(self.width, self.height)
        if not (0 <= level <= last and 0 <= plane < self.planes):
            raise no_tile(level, column, row, plane)
        whole = self._level(plane, last - level)
        top, left = row * TILE_PX, column * TILE_PX
        if not (0 <= top < whole.shape[0] and 0 <= left < whole.shape[1]):
            raise no_tile(level, column, row, plane)
        return whole[top : top + TILE_PX, left : left + TILE_PX]

    def overview(self, plane: int) -> Pixels:
        """Return a plane (h, w, C) at the largest level that is one tile."""
        halvings = 0
        while max(self.width, self.height) > TILE_PX << halvings:
            halvings += 1
        return self._level(plane, halvings)

    def _level(self, plane: int, halvings: int) -> Pixels:
        if halvings == 0:
            return np.asarray(self.values[plane])
        with self._lock:
            levels = self._smaller.setdefault(plane, [])
            self._smaller.move_to_end(plane)
            while len(levels) < halvings:
                levels.append(_halved(levels[-1] if levels else self.values[plane]))
            while len(self._smaller) > _KEPT_PLANES:
                self._smaller.popitem(last=False)
            return levels[halvings - 1]


def _halved(plane: Pixels) -> Pixels:
    """Return a plane (H, W, C) at half its size, odd sides rounded up."""
    height, width, channels = plane.shape
    size = (max(1, (width + 1) // 2), max(1, (height + 1) // 2))
    known = plane if plane.dtype in (np.uint8, np.uint16) else plane.astype(np.float32)
    return np.asarray(cv2.resize(known, size, interpolation=cv2.INTER_AREA)).reshape(
        size[1], size[0], channels
    )


class SlidePyramid:
    """A whole slide, of which only the tiles that are looked at are read; it stays open.

    Parameters
    ----------
    path : Path

    Raises
    ------
    InputError, MissingDependencyError
    """

    planes, channels, bytes = 1, 3, 1 << 26

    def __init__(self, path: Path) -> None:
        self._opened = open_slide(path, hashed=False)  # closed when it is collected
        self._slide = self._opened.__enter__()
        self._lock = threading.Lock()
        # Counted from the corner of what was scanned, as all regions are.
        self.width, self.height = self._slide.size
        self.mpp, self.notices = self._slide.about.mpp, self._slide.about.notices
        self.dtype: np.dtype[Any] = self._slide.about.pixels.dtype

    def tile(self, level: int, column: int, row: int, plane: int) -> Pixels:
        """Return the values (h, w, 3) of a tile."""
        halvings = last_level(self.width, self.height) - level
        if plane or level < 0 or halvings < 0:
            raise no_tile(level, column, row, plane)
        width, height = (-(-side // (1 << halvings)) for side in (self.width, self.height))
        left, top = column * TILE_PX, row * TILE_PX
        if not (0 <= left < width and 0 <= top < height):
            raise no_tile(level, column, row, plane)
        size = min(TILE_PX, width - left), min(TILE_PX, height - top)
        with self._lock:  # a reader is no matter for several threads
            return self._read(halvings, (left, top, *size))

    def _read(self, halvings: int, region: Region) -> Pixels:
        """Return a region in pixels of a level that is 2 ** halvings smaller than the slide."""
        x, y, w, h = region
        reader = self._slide.reader
        side = 1 << halvings
        number = max(n for n, factor in enumerate(reader.factors) if n == 0 or factor <= side)
        step = side / reader.factors[number]  # pixels of that level along one of these
        if w * h * step * step > _MOST_READ:  # of a slide without small levels: piece by piece
            return self._joined(halvings, region)
        wide, high = reader.levels[number]
        x0, y0 = min(int(x * step), wide - 1), min(int(y * step), high - 1)
        x1, y1 = math.ceil((x + w) * step), math.ceil((y + h) * step)
        read = reader.read((x0, y0, min(x1, wide) - x0, min(y1, high) - y0), number)
        if step == 1 and read.shape[:2] == (h, w):
            return read
        # Levels may end within a pixel; its edge is repeated there.
        beyond = (0, max(0, y1 - high)), (0, max(0, x1 - wide)), (0, 0)
        return np.asarray(
            cv2.resize(np.pad(read, beyond, mode="edge"), (w, h), interpolation=cv2.INTER_AREA)
        )

    def _joined(self, halvings: int, region: Region) -> Pixels:
        x, y, w, h = region
        if w == h == 1:
            wide, high = (-(-side // (1 << halvings - 1)) for side in (self.width, self.height))
            finer = 2 * x, 2 * y, min(2, wide - 2 * x), min(2, high - 2 * y)
            four = self._read(halvings - 1, finer)
            return four.mean((0, 1), keepdims=True).round().astype(self.dtype)
        at = max(w, h) // 2
        if w >= h:
            halves = (x, y, at, h), (x + at, y, w - at, h)
        else:
            halves = (x, y, w, at), (x, y + at, w, h - at)
        return np.concatenate([self._read(halvings, half) for half in halves], int(w >= h))

    def overview(self, plane: int) -> Pixels:
        """Return the slide (h, w, 3) at the largest level that is one tile."""
        largest = (TILE_PX - 1).bit_length()
        return self.tile(min(largest, last_level(self.width, self.height)), 0, 0, plane)


def no_tile(level: int, column: int, row: int, plane: int) -> InputError:
    """Return the error that there is no such tile."""
    return InputError(f"There is no tile {column},{row} at level {level} of plane {plane}.")


def open_pyramid(path: Path) -> Pyramid:
    """Open any file that Histomend reads: a picture, a stack, a slide.

    Raises
    ------
    InputError, MissingDependencyError
    """
    if is_of_scanner(path):
        return SlidePyramid(path)
    try:
        return ArrayPyramid.of(read_image(path, least=1))
    except ImageSizeError:
        # A picture too large for memory may be tiled, and readable part by part.
        try:
            return SlidePyramid(path)
        except HistomendError:
            pass
        raise
    except UnsupportedImageError:
        return ArrayPyramid.of(read_stack(path, flat=True, per_channel=None))  # grey, or pages
