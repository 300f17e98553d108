"""Scans of any size, read part by part at any coarser pixel size."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from histomend.errors import PixelSizeError
from histomend.image.pixels import MIN_SIDE, Pixels, Region, check_mpp
from histomend.image.reading import content_kind, read_image
from histomend.image.slides import OVERVIEW
from histomend.image.tiff import read_tiff
from histomend.image.tiff_open import open_tiff
from histomend.slides.whole import Reader, Slide, is_whole_slide, open_slide

SAME_MPP = 0.01
"""Pixel sizes that differ by less are one: scanners are calibrated no better, and averaging
pixels over slightly larger ones blurs them in bands."""

# Pixels of a level that are decoded at a time; averaging them takes 70 bytes each.
_BLOCK_PX = 1 << 21

_Read = Callable[[int, Region], Pixels]


@dataclass(frozen=True)
class Level:
    """One resolution of a scan.

    Attributes
    ----------
    factor : float
        Pixels of level 0 per pixel, along a side.
    width, height : int
        In its own pixels.
    """

    factor: float
    width: int
    height: int


@dataclass(frozen=True)
class Scan:
    """An open slide or image.

    Attributes
    ----------
    path : Path
    mpp : float
        Micrometres per pixel of level 0.
    levels : tuple of Level
        From fine to coarse, level 0 first.
    """

    path: Path
    mpp: float
    levels: tuple[Level, ...]
    _read: _Read

    def mpp_near(self, mpp: float) -> float:
        """Return the pixel size that is read for a wanted one.

        It is the wanted one, or that of a level if they differ by less than `SAME_MPP`.

        Raises
        ------
        PixelSizeError
            If the scan is coarser than that.
        """
        level = self.levels[self._level_for(mpp)]
        own = self.mpp * level.factor
        return own if abs(own / mpp - 1) < SAME_MPP else mpp

    def size_at(self, mpp: float) -> tuple[int, int]:
        """Return (width, height) in whole pixels of a size."""
        base = self.levels[0]
        # A scan of 1,000 px must not lose its last pixel to 999.9999.
        share = self.mpp / mpp
        return math.floor(base.width * share + 1e-6), math.floor(base.height * share + 1e-6)

    def step_at(self, mpp: float) -> float:
        """Return how many pixels of the level that is read go into one of a size, along a side."""
        return mpp / (self.mpp * self.levels[self._level_for(mpp)].factor)

    def read(self, region: Region, mpp: float) -> npt.NDArray[np.uint8]:
        """Read a region at a pixel size, averaged over the area of each pixel.

        Taken from the coarsest level that is no coarser than wanted. Where a reader moves that
        level by fractions of a pixel, and so softens it, one at least twice as fine is taken.
        No more than a few million pixels of the level are in memory at a time.

        Parameters
        ----------
        region : (x, y, w, h) in pixels of size `mpp`, inside `size_at(mpp)`
        mpp : float, as `mpp_near` returns it

        Returns
        -------
        (h, w, 3) uint8
            16-bit values lose their lower byte.

        Raises
        ------
        PixelSizeError
            If the scan is coarser than `mpp`.
        UnreadableImageError
            If the place cannot be decoded.
        """
        number = self._level_for(mpp)
        level = self.levels[number]
        step = self.step_at(mpp)
        x, y, w, h = region
        out = np.empty((h, w, 3), np.uint8)
        left, right = _covered(x, w, step, level.width)
        rows = max(1, int(_BLOCK_PX / (right - left) / step))
        for first in range(0, h, rows):
            count = min(rows, h - first)
            top, bottom = _covered(y + first, count, step, level.height)
            part = self._read(number, (left, top, right - left, bottom - top))
            if part.dtype == np.uint16:
                part = part >> 8
            part = area_average(part, (y + first) * step - top, step, count, axis=0)
            part = area_average(part, x * step - left, step, w, axis=1)
            out[first : first + count] = np.rint(part)
        return out

    def _level_for(self, mpp: float) -> int:
        if mpp < self.mpp * (1 - SAME_MPP):
            raise PixelSizeError(
                f"{self.path}: has {self.mpp:g} um per pixel, and {mpp:g} would be finer: pixels "
                f"would have to be invented. Ask for {self.mpp:g} or more."
            )
        limits = [1 if float(level.factor).is_integer() else 2 for level in self.levels]
        usable = [
            k
            for k, level in enumerate(self.levels)
            if self.mpp * level.factor * limits[k] <= mpp * (1 + SAME_MPP)
        ]
        return max(usable, key=lambda k: self.levels[k].factor, default=0)


def area_average(
    values: Pixels, start: float, step: float, count: int, *, axis: int
) -> npt.NDArray[np.float64]:
    """Average values over equal stretches along one axis, exactly.

    Parameters
    ----------
    values : array
    start : float
        Where the first stretch begins, in values from the first one's edge.
    step : float
        Length of a stretch, above 0.
    count : int
        Number of stretches; what of the last one lies beyond the end does not count.

    Returns
    -------
    float64 array, `count` long along `axis`
    """
    moved = np.moveaxis(np.asarray(values, np.float64), axis, 0)
    total = np.concatenate([np.zeros_like(moved[:1]), np.cumsum(moved, axis=0)])
    edges = np.clip(start + step * np.arange(count + 1), 0, len(moved))
    whole = np.minimum(edges.astype(np.intp), len(moved) - 1)
    column = (-1,) + (1,) * (moved.ndim - 1)
    # The integral up to an edge: all whole values before it, and a part of the next one.
    integral = total[whole] + (edges - whole).reshape(column) * moved[whole]
    means: npt.NDArray[np.float64] = np.diff(integral, axis=0) / np.diff(edges).reshape(column)
    return np.moveaxis(means, 0, axis)


def _covered(first: int, count: int, step: float, length: int) -> tuple[int, int]:
    """Return which values of a level `count` pixels from the `first` on lie over."""
    start = min(math.floor(first * step + 1e-6), length - 1)
    stop = math.ceil((first + count) * step - 1e-6)
    return start, min(max(stop, start + 1), length)


@contextmanager
def open_scan(
    path: Path, *, source_mpp: float | None = None, sha256: str | None = None
) -> Iterator[Scan]:
    """Open a whole slide, or any image that `read_image` takes, without decoding it.

    PNG, JPEG, AVIF and WebP cannot be read in part and are held in memory.

    Parameters
    ----------
    path : Path
    source_mpp : float or None
        Micrometres per pixel of level 0, if the file does not say.
    sha256 : str or None
        Of the file, if it is known already.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ImageSizeError, ValueRangeError,
    MissingDependencyError
        As `read_image`.
    PixelSizeError
        If the pixel size is not known.
    """
    if is_whole_slide(path):
        with open_slide(path, sha256=sha256) as slide:
            for notice in slide.about.notices:
                if notice.endswith(OVERVIEW):
                    raise PixelSizeError(f"{path}: {notice}. Leave it out.")
            mpp = _known_mpp(path, slide.about.mpp, source_mpp)
            yield Scan(path, mpp, _levels(slide), partial(_read_level, slide.reader))
        return
    if content_kind(path) == "TIFF":
        width, height = _tiff_size(path)
        corner = read_tiff(path, (0, 0, min(width, MIN_SIDE), min(height, MIN_SIDE)))
        mpp = _known_mpp(path, corner.mpp, source_mpp)
        yield Scan(path, mpp, (Level(1.0, width, height),), _tiff_reader(path, width, height))
        return
    image = read_image(path)
    mpp = _known_mpp(path, image.mpp, source_mpp)
    pixels = image.pixels
    yield Scan(
        path,
        mpp,
        (Level(1.0, image.width, image.height),),
        lambda _, part: pixels[part[1] : part[1] + part[3], part[0] : part[0] + part[2]],
    )


def _levels(slide: Slide) -> tuple[Level, ...]:
    reader = slide.reader
    return tuple(
        Level(round(factor, 9), *size)
        for factor, size in zip(reader.factors, reader.levels, strict=True)
    )


def _read_level(reader: Reader, level: int, region: Region) -> Pixels:
    return reader.read(region, level)


def _known_mpp(path: Path, stated: float | None, given: float | None) -> float:
    if stated is not None:
        return stated
    if given is not None:
        return check_mpp(given, "--source-mpp")
    raise PixelSizeError(
        f"{path}: does not say how large its pixels are. Tell it with --source-mpp (20x objective: "
        "about 0.5; 40x: about 0.25), or leave the file out."
    )


def _tiff_size(path: Path) -> tuple[int, int]:
    with open_tiff(path) as (file, _):
        page = file.pages.first
        return int(page.imagewidth), int(page.imagelength)


def _tiff_reader(path: Path, width: int, height: int) -> _Read:
    def read(_: int, region: Region) -> Pixels:
        x, y, w, h = region
        # The reader of regions takes none with a shorter side.
        wide, high = max(w, MIN_SIDE), max(h, MIN_SIDE)
        left, top = min(x, width - wide), min(y, height - high)
        pixels = read_tiff(path, (left, top, wide, high)).pixels
        return pixels[y - top : y - top + h, x - left : x - left + w]

    return read
