"""Pixels for deep zoom: tiles of images in memory, and of slides that stay in their file."""

from __future__ import annotations

import threading
import warnings
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
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image import Image, read_image
from histomend.image.reading import SLIDE_SUFFIXES, content_kind
from histomend.image.slides import openers, slide_frame, stated_mpp
from histomend.image.stack_files import read_stack
from histomend.image.stacks import Stack
from histomend.image.tiff import slide_scanner

Pixels = npt.NDArray[Any]
TILE_PX = 512
# Planes of which smaller copies are kept; each takes a third of its plane.
_KEPT_PLANES = 4


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
        values = image.values if isinstance(image, Stack) else image.pixels[None]
        return cls(values, image.mpp, image.notices)

    def tile(self, level: int, column: int, row: int, plane: int) -> Pixels:
        """Return the values (h, w, C) of a tile."""
        last = last_level(self.width, self.height)
        if not (0 <= level <= last and 0 <= plane < self.planes):
            raise _no_tile(level, column, row, plane)
        whole = self._level(plane, last - level)
        top, left = row * TILE_PX, column * TILE_PX
        if not (0 <= top < whole.shape[0] and 0 <= left < whole.shape[1]):
            raise _no_tile(level, column, row, plane)
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
    """A whole slide, of which only the tiles that are looked at are read.

    Parameters
    ----------
    slide : OpenSlide or TiffSlide, open
    where : what messages call it
    """

    planes, channels, bytes = 1, 3, 1 << 26
    dtype = np.dtype(np.uint8)

    def __init__(self, slide: Any, where: str) -> None:
        from openslide.deepzoom import DeepZoomGenerator

        frame = slide_frame(slide)
        self.width, self.height, self.mpp = frame.width, frame.height, stated_mpp(slide.properties)
        self.notices: tuple[str, ...] = ()
        self._where = where
        # Counted from the corner of what was scanned, as all regions are.
        self._zoom = DeepZoomGenerator(slide, TILE_PX, overlap=0, limit_bounds=True)

    def tile(self, level: int, column: int, row: int, plane: int) -> Pixels:
        """Return the values (h, w, 3) of a tile."""
        if plane or not 0 <= level < self._zoom.level_count:
            raise _no_tile(level, column, row, plane)
        columns, rows = self._zoom.level_tiles[level]
        if not (0 <= column < columns and 0 <= row < rows):
            raise _no_tile(level, column, row, plane)
        try:
            return np.asarray(self._zoom.get_tile(level, (column, row)).convert("RGB"))
        except Exception as error:  # each library has its own tree of errors
            raise UnreadableImageError(
                f"{self._where}: level {level} cannot be decoded at column {column}, row {row} "
                f"({error}). Copy or export the file again."
            ) from error

    def overview(self, plane: int) -> Pixels:
        """Return the slide (h, w, 3) at the largest level that is one tile."""
        level = max(n for n, size in enumerate(self._zoom.level_tiles) if tuple(size) == (1, 1))
        return self.tile(level, 0, 0, plane)


def _no_tile(level: int, column: int, row: int, plane: int) -> InputError:
    return InputError(f"There is no tile {column},{row} at level {level} of plane {plane}.")


def open_pyramid(path: Path) -> Pyramid:
    """Open any file that Histomend reads: a picture, a stack, a slide.

    Raises
    ------
    InputError, MissingDependencyError
    """
    scanner = _scanner(path)
    if scanner is not None:
        return _open_slide(path, scanner)
    try:
        return ArrayPyramid.of(read_image(path, least=1))
    except ImageSizeError:
        # A picture too large for memory may be tiled, and readable part by part.
        try:
            return _open_slide(path, "tiled TIFF")
        except HistomendError:
            pass
        raise
    except UnsupportedImageError:
        return ArrayPyramid.of(read_stack(path, flat=True))  # grey, or several pages


def _scanner(path: Path) -> str | None:
    kind = content_kind(path)
    if kind in SLIDE_SUFFIXES.values():
        return kind
    found = slide_scanner(path) if kind == "TIFF" else None
    return None if found is None else found[0]


def _open_slide(path: Path, scanner: str) -> SlidePyramid:
    problems: list[str] = []
    for opener in openers(path, scanner):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata; the pixels decide
                return SlidePyramid(opener(str(path)), str(path))
        except Exception as error:  # each library has its own tree of errors
            problems.append(str(error) or type(error).__name__)
    raise UnreadableImageError(
        f"{path}: the {scanner} file cannot be opened ({'; '.join(problems)}). It may be damaged, "
        "or lack the files that belong beside it. Copy or export it again."
    )
