"""All levels of a new pyramid from the rows of its finest, a row of tiles at a time.

A level is half the one before; what does not divide is dropped, as Aperio does. Memory holds two
rows of tiles of each level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from histomend.errors import UnsupportedImageError
from histomend.image.pixels import Pixels

Rows = Callable[[int, int], Pixels]
"""``rows(start, stop)`` gives rows of the finest level, (stop - start, width, samples)."""
Put = Callable[[int, int, Pixels], None]
"""Takes the number of a level, the first row, and a row of tiles (h, width, samples) of it."""

_COARSEST = 512  # px; no level is made of one that has no longer side
_CHUNK = 4096  # px that are averaged at once
_FIXED = 8  # bits behind the point while levels are averaged from levels


def halved_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """Return (width, height) of all levels of a pyramid, the finest first."""
    sizes = [size]
    while max(sizes[-1]) > _COARSEST:
        width, height = sizes[-1]
        sizes.append((max(1, width // 2), max(1, height // 2)))
    return sizes


class Halving:
    """Makes the levels.

    Parameters
    ----------
    size : (width, height)
    samples : int
        Values of a pixel.
    dtype : uint8 or uint16
    side : int
        Rows of a row of tiles; even.
    put : Put
        Called with all of them, level by level from the top down.
    """

    def __init__(
        self,
        size: tuple[int, int],
        samples: int,
        dtype: np.dtype[np.generic],
        side: int,
        put: Put,
    ) -> None:
        self._sizes, self._samples, self._dtype = halved_sizes(size), samples, dtype
        self._side, self._put = side, put
        self._waiting: list[list[Pixels]] = [[] for _ in self._sizes]  # fixed point
        self._done = [0] * len(self._sizes)

    def run(self, rows: Rows, where: str) -> None:
        """Ask for all rows from the top down, and hand on all levels.

        Raises
        ------
        UnsupportedImageError
            The rows are not what was to come.
        """
        width, height = self._sizes[0]
        for start in range(0, height, self._side):
            stop = min(start + self._side, height)
            part = np.asarray(rows(start, stop))
            if self._samples == 1 and part.ndim == 2:
                part = part[..., None]
            if part.shape != (stop - start, width, self._samples) or part.dtype != self._dtype:
                raise UnsupportedImageError(
                    f"{where}: rows {start} to {stop} are {part.shape} {part.dtype}, and must be "
                    f"{(stop - start, width, self._samples)} {self._dtype}."
                )
            self._add(0, part)
        for number, waiting in enumerate(self._waiting):
            if waiting:
                self._add(number, np.concatenate(waiting))

    def _add(self, number: int, part: Pixels) -> None:
        """Hand on a row of tiles of a level, and its average to the next level."""
        self._waiting[number] = []
        self._put(number, self._done[number], self._rounded(part) if number else part)
        self._done[number] += len(part)
        if number + 1 == len(self._sizes):
            return
        half = self._averaged(number, part)
        waiting = self._waiting[number + 1]
        if len(half):
            waiting.append(half)
        if sum(len(rows) for rows in waiting) >= self._side:
            self._add(number + 1, np.concatenate(waiting))

    def _rounded(self, part: Pixels) -> Pixels:
        return ((part.astype(np.uint32) + (1 << _FIXED >> 1)) >> _FIXED).astype(self._dtype)

    def _averaged(self, number: int, part: Pixels) -> Pixels:
        """Average cells of 2 x 2 px, some bits more precisely than level 0 is."""
        (own_width, own_height), (half_width, _) = self._sizes[number : number + 2]
        shift = 0 if number else _FIXED
        # A side of one pixel stays one pixel.
        down, across = min(2, own_height), min(2, own_width)
        height, area = part.shape[0] // down, np.uint32(down * across)
        kind: npt.DTypeLike = np.uint16 if self._dtype.itemsize == 1 else np.uint32
        out: Pixels = np.zeros((height, half_width, self._samples), kind)
        for left in range(0, half_width, _CHUNK):
            width = min(_CHUNK, half_width - left)
            cells = part[: height * down, left * across : (left + width) * across]
            cells = cells.reshape(height, down, width, across, self._samples)
            total = cells.sum((1, 3), dtype=np.uint32) << np.uint32(shift)
            out[:, left : left + width] = (total + area // 2) // area
        return out
