"""Blocks of a slide that is worked on everywhere, and how they are joined again.

Each block is worked on with what lies around it. Where two meet, one fades into the other, so that
no border is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.tiles.plan import Region

BLOCK_PX, AROUND_PX, FADE_PX = 2048, 128, 32
"""Side of a block; what is read around it; how far on each side of a border blocks are mixed."""

Pixels = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Block:
    """A part of a slide, in pixels of the source.

    Parameters
    ----------
    row, column : int
        Among the blocks.
    core : (x, y, w, h)
        Cores lie side by side and cover the slide.
    kept : (x, y, w, h)
        The core and the zone where it is mixed with its neighbours.
    read : (x, y, w, h)
        What is worked on.
    """

    row: int
    column: int
    core: Region
    kept: Region
    read: Region

    @property
    def key(self) -> str:
        """A name that no other block of the slide has."""
        return f"x{self.core[0]}y{self.core[1]}"


@dataclass(frozen=True)
class Blocks:
    """All blocks of a slide.

    Parameters
    ----------
    size : (width, height)
        Of the source.
    factor : int
        Pixels of the result along the side of one of the source.
    """

    size: tuple[int, int]
    factor: int = 1

    def all(self) -> list[Block]:
        """Return them row by row."""
        return [
            self._block(row, column)
            for row in range(len(self._edges(1)) - 1)
            for column in range(len(self._edges(0)) - 1)
        ]

    def rows(
        self, start: int, stop: int, read: Callable[[Block, int, int], Pixels], dtype: npt.DTypeLike
    ) -> Pixels:
        """Join rows of the result.

        Parameters
        ----------
        start, stop : int
            In pixels of the result.
        read : function of a block and of rows (start, stop) of the result, which lie in what is
            kept of it -> these rows (stop - start, width of what is kept, C)
        dtype : numpy dtype

        Returns
        -------
        (stop - start, W, 3)
        """
        out: Pixels = np.empty((stop - start, self.size[0] * self.factor, 3), dtype)
        across = self._edges(0)
        for column in range(len(across) - 1):
            left, right = across[column] * self.factor, across[column + 1] * self.factor
            total = np.zeros((stop - start, right - left, 3), np.float32)
            for block in self._touching(column, start, stop):
                x, y, w, h = (side * self.factor for side in block.kept)
                x0, x1, y0, y1 = max(x, left), min(x + w, right), max(y, start), min(y + h, stop)
                part = read(block, y0, y1)[:, x0 - x : x1 - x].astype(np.float32)
                weights = np.outer(
                    self._weights(1, block.row, y0, y1), self._weights(0, block.column, x0, x1)
                )
                part *= weights[..., None]
                total[y0 - start : y1 - start, x0 - left : x1 - left] += part
            out[:, left:right] = np.rint(total)
        return out

    def _touching(self, column: int, start: int, stop: int) -> Iterator[Block]:
        """Give the blocks that reach into rows of a column of cores."""
        down = self._edges(1)
        fade = FADE_PX * self.factor
        columns = range(max(0, column - 1), min(len(self._edges(0)) - 1, column + 2))
        for row in range(len(down) - 1):
            top, bottom = down[row] * self.factor, down[row + 1] * self.factor
            if top - fade < stop and bottom + fade > start:
                yield from (self._block(row, each) for each in columns)

    def _edges(self, axis: int) -> list[int]:
        length = self.size[axis]
        edges = [*range(0, length, BLOCK_PX), length]
        # A last block that is narrower than what is mixed belongs to the one before.
        if len(edges) > 2 and edges[-1] - edges[-2] < 4 * FADE_PX:
            del edges[-2]
        return edges

    def _block(self, row: int, column: int) -> Block:
        down, across = self._edges(1), self._edges(0)
        x, y = across[column], down[row]
        core = x, y, across[column + 1] - x, down[row + 1] - y
        return Block(row, column, core, self._grown(core, FADE_PX), self._grown(core, AROUND_PX))

    def _grown(self, core: Region, by: int) -> Region:
        x, y, w, h = core
        left, top = max(0, x - by), max(0, y - by)
        right, bottom = min(self.size[0], x + w + by), min(self.size[1], y + h + by)
        return left, top, right - left, bottom - top

    def _weights(self, axis: int, number: int, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Return how much a block counts there; the weights of all blocks add up to 1."""
        edges = self._edges(axis)
        places = np.arange(start, stop) + 0.5
        fade = FADE_PX * self.factor
        weights = np.ones(stop - start)
        if number > 0:
            first = edges[number] * self.factor - fade
            weights *= np.clip((places - first) / (2 * fade), 0, 1)
        if number + 2 < len(edges):
            last = edges[number + 1] * self.factor + fade
            weights *= np.clip((last - places) / (2 * fade), 0, 1)
        return weights.astype(np.float32)
