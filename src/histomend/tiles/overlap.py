"""A whole field in overlapping tiles: how far each is from clean, and one image out of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from histomend.diffusion.windows import ramp, window_origins

Array = npt.NDArray[np.float32]
Item = TypeVar("Item")
# Tiles in one network call. A constant of the result, not a tuning knob: the arithmetic of a batch
# may depend on its size in the last bit.
GROUP = 4


@dataclass(frozen=True, eq=False)
class Tile:
    """A part of the field that is restored at once.

    Parameters
    ----------
    x, y : int
        Its corner.
    down, across : (h,) and (w,) float32
        How much the tile counts in its rows and columns; the products of all tiles that cover
        a pixel add up to 1.
    """

    x: int
    y: int
    down: Array
    across: Array

    @property
    def place(self) -> tuple[slice, slice]:
        """The tile's rows and columns."""
        return slice(self.y, self.y + len(self.down)), slice(self.x, self.x + len(self.across))

    @property
    def share(self) -> Array:
        """How much the tile counts in each of its pixels, (h, w)."""
        return self.down[:, None] * self.across[None, :]


def make_tiles(height: int, width: int, window: int) -> tuple[Tile, ...]:
    """Return the tiles of a field, row by row; neighbours share a quarter of the window."""
    rows = list(_side(height, window))
    columns = list(_side(width, window))
    return tuple(Tile(x, y, down, across) for y, down in rows for x, across in columns)


def _side(length: int, window: int) -> Iterator[tuple[int, Array]]:
    """Yield where tiles begin along a side, and how much each counts in its pixels."""
    size = min(window, length)
    origins = window_origins(length, window, window // 4)
    weights = ramp(size).numpy().astype(np.float32)
    total = np.zeros(length, np.float32)
    for start in origins:
        total[start : start + size] += weights
    for start in origins:
        yield start, weights / total[start : start + size]


def grouped(tiles: Sequence[Item]) -> list[tuple[Item, ...]]:
    """Return tiles, or units, in the groups that go through the network together."""
    return [tuple(tiles[k : k + GROUP]) for k in range(0, len(tiles), GROUP)]


def t_map(tiles: Sequence[Tile], t: Sequence[float], height: int, width: int) -> Array:
    """Return t over the field, (height, width): that of each tile, blended over the overlaps."""
    out = np.zeros((height, width), np.float32)
    for tile, value in zip(tiles, t, strict=True):
        if value:
            out[tile.place] += np.float32(value) * tile.share
    return out


def smoothed(
    tiles: Sequence[Tile], predicted: Sequence[float], highest: int, height: int, width: int
) -> list[float]:
    """Return the t at which each tile starts: its own prediction and its neighbours'.

    Neighbours that were predicted apart would be restored to different sharpness, and the
    overlaps would show it. Each t becomes the mean of the blended map over the tile, weighted as
    the tile is. A tile that is clean stays at 0, whatever lies beside it.

    Parameters
    ----------
    predicted : any real number per tile
    highest : int
        Largest t that the denoiser knows.
    """
    own = [min(max(value, 0.0), float(highest)) for value in predicted]
    # What rounds to 0 is not touched, so it must not make others go further either.
    own = [0.0 if round(value) == 0 else value for value in own]
    field = t_map(tiles, own, height, width)
    starts = []
    for tile, value in zip(tiles, own, strict=True):
        share = tile.share
        mean = float((field[tile.place] * share).sum(dtype=np.float64) / share.sum(dtype=float))
        starts.append(mean if value else 0.0)
    return starts


def blended(
    tiles: Sequence[Tile], found: Iterable[Array], width: int, channels: int
) -> Iterator[tuple[int, Array]]:
    """Yield the field in finished bands of rows: (first row, (rows, width, channels)).

    No more than one row of tiles is held. A band must be used before the next one is asked for.

    Parameters
    ----------
    tiles : as `make_tiles` orders them
    found : one (h, w, channels) per tile, in the same order
    """
    top = tiles[0].y
    total = np.zeros((len(tiles[0].down), width, channels), np.float32)
    for tile, values in zip(tiles, found, strict=True):
        if tile.y > top:
            done = tile.y - top
            yield top, total[:done]
            total = np.concatenate([total[done:], np.zeros_like(total[:done])])
            top = tile.y
        total[:, tile.place[1]] += tile.share[..., None] * values
    yield top, total
