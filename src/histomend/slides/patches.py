"""New pixels of a slide, kept outside of memory until the slide is put together.

They come in any order and may overlap; what they amount to does not depend on that order.

>>> patches = Patches(folder, samples=3, dtype=np.dtype(np.uint8))
>>> patches.add((x, y, w, h), pixels, mask)
>>> patches.compose((x, y, w, h))        # new pixels and their mask, or None
"""

from __future__ import annotations

import hashlib
import tempfile
import zlib
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError, OutputError, UnsupportedImageError
from histomend.image.pixels import Pixels, Region
from histomend.slides.jpeg_edit import Mask

_CELL = 1024  # px; patches are looked up by the cells of a grid that they touch
_CACHE_BYTES = 48 << 20


@dataclass(frozen=True)
class _Kept:
    region: Region
    offset: int
    mask_bytes: int
    pixel_bytes: int
    digest: bytes

    @property
    def order(self) -> tuple[int, int, int, int, bytes]:
        """Decide which of two overlapping patches lies above, whichever came first."""
        x, y, w, h = self.region
        return y, x, h, w, self.digest


class Patches:
    """Rectangles of new pixels under masks, spooled to a file that has no name.

    Parameters
    ----------
    folder : Path
        Where the spool lies; it vanishes with the process.
    samples : int
        Values per pixel.
    dtype : numpy dtype
    """

    def __init__(self, folder: Path, samples: int, dtype: npt.DTypeLike) -> None:
        self._samples, self._dtype = samples, np.dtype(dtype)
        self._folder = folder
        self._file = open_spool(folder)
        self._end = 0
        self._kept: list[_Kept] = []
        self._cells: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._cache: OrderedDict[int, tuple[Mask, Pixels]] = OrderedDict()
        self._cached = 0

    def close(self) -> None:
        """Drop everything."""
        self._file.close()

    def add(self, region: Region, pixels: Pixels, mask: Mask) -> Region | None:
        """Keep the pixels under a mask; return the smallest region that holds them, if any.

        Parameters
        ----------
        region : (x, y, w, h)
            Where they belong, in pixels of level 0.
        pixels : (h, w, samples) or, of one sample, (h, w)
        mask : (h, w) bool

        Raises
        ------
        MaskError, UnsupportedImageError
            Of another shape or type.
        OutputError
            The disk is full.
        """
        x, y, w, h = region
        if mask.shape != (h, w) or mask.dtype != np.bool_:
            raise MaskError(
                f"the mask of a region of {w} x {h} px is {mask.shape} {mask.dtype}, "
                "and must be (height, width) bool"
            )
        if self._samples == 1 and pixels.ndim == 2:
            pixels = pixels[..., None]
        if pixels.shape != (h, w, self._samples) or pixels.dtype != self._dtype:
            raise UnsupportedImageError(
                f"the pixels of a region of {w} x {h} px are {pixels.shape} {pixels.dtype}, "
                f"and must be {(h, w, self._samples)} {self._dtype}, as those of the slide"
            )
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return None
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        mask = mask[top:bottom, left:right]
        packed = zlib.compress(np.packbits(mask).tobytes(), 1)
        values = zlib.compress(pixels[top:bottom, left:right][mask].tobytes(), 1)
        tight = int(x + left), int(y + top), int(right - left), int(bottom - top)
        try:
            self._file.seek(self._end)
            self._file.write(packed + values)
        except OSError as error:
            raise full_disk(self._folder, error) from error
        digest = hashlib.sha256(packed + values).digest()
        kept = _Kept(tight, self._end, len(packed), len(values), digest)
        self._end += len(packed) + len(values)
        for cell in _cells(tight):
            self._cells[cell].append(len(self._kept))
        self._kept.append(kept)
        return tight

    def extent(self, region: Region) -> Region | None:
        """Return the smallest rectangle that holds all new pixels of a region; None without any."""
        x, y, w, h = region
        found = [self._kept[n].region for n in self._touching(region)]
        if not found:
            return None
        left, top = max(x, min(r[0] for r in found)), max(y, min(r[1] for r in found))
        right = min(x + w, max(r[0] + r[2] for r in found))
        bottom = min(y + h, max(r[1] + r[3] for r in found))
        return left, top, right - left, bottom - top

    def compose(self, region: Region) -> tuple[Pixels, Mask] | None:
        """Return the new pixels of a region, and where they are; None without any.

        Returns
        -------
        pixels : (h, w, samples)
            Zero outside the mask.
        mask : (h, w) bool
        """
        x, y, w, h = region
        touching = self._touching(region)
        if not touching:
            return None
        pixels: Pixels = np.zeros((h, w, self._samples), self._dtype)
        mask = np.zeros((h, w), np.bool_)
        for number in sorted(touching, key=lambda n: self._kept[n].order):
            own, values = self._load(number)
            px, py, pw, ph = self._kept[number].region
            x0, y0, x1, y1 = max(x, px), max(y, py), min(x + w, px + pw), min(y + h, py + ph)
            here = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
            there = slice(y0 - py, y1 - py), slice(x0 - px, x1 - px)
            mask[here] |= own[there]
            np.copyto(pixels[here], values[there], where=own[there][..., None])
        return (pixels, mask) if mask.any() else None

    def _touching(self, region: Region) -> list[int]:
        found = {number for cell in _cells(region) for number in self._cells.get(cell, ())}
        return [n for n in found if _overlap(region, self._kept[n].region)]

    def _load(self, number: int) -> tuple[Mask, Pixels]:
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        kept = self._kept[number]
        _, _, w, h = kept.region
        self._file.seek(kept.offset)
        bits = np.frombuffer(zlib.decompress(self._file.read(kept.mask_bytes)), np.uint8)
        mask = np.unpackbits(bits, count=h * w).astype(np.bool_).reshape(h, w)
        values = np.frombuffer(zlib.decompress(self._file.read(kept.pixel_bytes)), self._dtype)
        pixels: Pixels = np.zeros((h, w, self._samples), self._dtype)
        pixels[mask] = values.reshape(-1, self._samples)
        self._cache[number] = mask, pixels
        self._cached += pixels.nbytes
        while self._cached > _CACHE_BYTES and len(self._cache) > 1:
            self._cached -= self._cache.popitem(last=False)[1][1].nbytes
        return mask, pixels


def open_spool(folder: Path) -> BinaryIO:
    """Open a file that has no name and vanishes with the process.

    Raises
    ------
    OutputError
    """
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        raise full_disk(folder, error) from error


def full_disk(folder: Path, error: OSError) -> OutputError:
    """Return the error that says that new pixels cannot be kept in a folder."""
    return OutputError(
        f"{folder}: new pixels cannot be kept there ({error.strerror or error}). "
        "Free some space, or choose another folder for the output."
    )


def _cells(region: Region) -> list[tuple[int, int]]:
    x, y, w, h = region
    columns = range(x // _CELL, (x + w - 1) // _CELL + 1)
    return [
        (row, column) for row in range(y // _CELL, (y + h - 1) // _CELL + 1) for column in columns
    ]


def _overlap(a: Region, b: Region) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
