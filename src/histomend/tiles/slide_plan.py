"""Which parts of a slide are worked on: each a few nearby artifacts, and what lies around them.

Artifacts are found on a coarse grid, so that a plan takes little memory however large the slide
is. Artifacts of which cells touch are worked on together; those of one block make a part. One that
is larger than a block is cut along the blocks, and its pieces see those before them.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histomend.errors import MaskError
from histomend.masks.geometry import EIGHT, Mask
from histomend.masks.slide_masks import SlideMask
from histomend.tiles.plan import MARGIN, Region

BLOCK_PX = 1024
"""About the side of a block."""
REACH_UM, MOST_REACH_PX = 512.0, 2048
"""How far around the artifacts of a part the slide is read: tissue to see, and to copy from."""
USUAL_MPP = 0.5

Cells = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SlidePart:
    """Artifacts that are restored together.

    Parameters
    ----------
    key : str
        A name that no other part of the slide has.
    core : (x, y, w, h)
        What holds them, in pixels of level 0.
    region : (x, y, w, h)
        What is read for them: the core and what lies around it.
    cells : (N, 2) int
        Row and column of the cells in which they lie; what else is masked belongs to other parts.
    before : (M, 2) int
        Cells of the same artifacts in earlier parts, as far as they are read here.
    after : tuple of str
        Keys of those parts.
    cell : int
        Side of a cell, in pixels.
    masked_px : int
    """

    key: str
    core: Region
    region: Region
    cells: Cells
    before: Cells
    after: tuple[str, ...]
    cell: int
    masked_px: int

    def seed(self, seed: int) -> int:
        """Return a seed of its own: artifacts elsewhere do not change it."""
        text = f"{seed}/{self.key}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1

    def own(self, mask: Mask) -> Mask:
        """Return what of the mask of the region belongs to this part."""
        return mask & self._in(self.cells)

    def finished(self, mask: Mask) -> Mask:
        """Return what of the mask of the region is of the same artifacts, restored before."""
        return mask & self._in(self.before)

    def _in(self, cells: Cells) -> Mask:
        x, y, w, h = self.region
        top, left = y // self.cell, x // self.cell
        rows, columns = -(-(y + h) // self.cell) - top, -(-(x + w) // self.cell) - left
        grid = np.zeros((rows, columns), np.bool_)
        grid[cells[:, 0] - top, cells[:, 1] - left] = True
        whole = grid.repeat(self.cell, 0).repeat(self.cell, 1)
        dy, dx = y - top * self.cell, x - left * self.cell
        return whole[dy : dy + h, dx : dx + w]


@dataclass(frozen=True)
class SlidePlan:
    """What is worked on, from the top down.

    Parameters
    ----------
    parts : tuple of SlidePart
    artifacts : int
        How many regions are masked; those closer than a cell count as one.
    masked_px : int
    """

    parts: tuple[SlidePart, ...]
    artifacts: int
    masked_px: int

    def rows_done(self) -> list[int]:
        """Return, for each part, above which row nothing comes any more once it is done."""
        found, least = [], 1 << 62
        for part in reversed(self.parts):
            found.append(least)
            least = min(least, part.core[1])
        return found[::-1]


def plan_slide(
    mask: SlideMask, size: tuple[int, int], *, mpp: float | None, scale: float = 1.0
) -> SlidePlan:
    """Find the artifacts of a slide and put those together that lie together.

    Parameters
    ----------
    mask : SlideMask
    size : (width, height)
    mpp : float or None
        Micrometres per pixel.
    scale : float
        The model's pixels per pixel of the slide.

    Raises
    ------
    MaskError
        Nothing is masked, or all of the slide.
    """
    width, height = size
    # Artifacts that cells keep apart lie further apart than windows show of each other.
    cell = 2 * math.ceil(MARGIN / scale)
    counts = count_masked(mask, size, cell)
    total = int(counts.sum())
    if total == 0:
        raise MaskError(
            "the mask marks no pixel of the slide. Are its coordinates in pixels at full "
            "resolution, and of this slide?"
        )
    if total == width * height:
        raise MaskError(
            "the mask covers the whole slide, so no tissue is left to restore from. White is to "
            "be restored: is the mask inverted?"
        )
    reach = min(math.ceil(REACH_UM / (mpp or USUAL_MPP)), MOST_REACH_PX)
    labels, artifacts = ndimage.label(counts > 0, structure=EIGHT)
    parts = parts_of(labels, counts, size, cell, max(1, BLOCK_PX // cell), reach)
    return SlidePlan(parts, int(artifacts), total)


def count_masked(mask: SlideMask, size: tuple[int, int], cell: int) -> npt.NDArray[np.int64]:
    """Count masked pixels by cell, looking only where something may be masked.

    Returns
    -------
    (rows, columns) int64
    """
    width, height = size
    counts = np.zeros((-(-height // cell), -(-width // cell)), np.int64)
    step = cell * max(1, 2 * BLOCK_PX // cell)
    for y in range(0, height, step):
        h = min(step, height - y)
        if not mask.may_touch((0, y, width, h)):
            continue
        for x in range(0, width, step):
            region = x, y, min(step, width - x), h
            if not mask.may_touch(region):
                continue
            found = mask.read(region)
            pad = (0, -found.shape[0] % cell), (0, -found.shape[1] % cell)
            padded = np.pad(found, pad)
            rows, columns = padded.shape[0] // cell, padded.shape[1] // cell
            sums = padded.reshape(rows, cell, columns, cell).sum((1, 3))
            counts[y // cell : y // cell + rows, x // cell : x // cell + columns] = sums
    return counts


def parts_of(
    labels: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
    size: tuple[int, int],
    cell: int,
    per_block: int,
    reach: int,
) -> tuple[SlidePart, ...]:
    """Put the artifacts of each block together.

    Parameters
    ----------
    labels, counts : (rows, columns) int
        Which artifact lies in a cell, from 1 on, and how many masked pixels.
    size : (width, height)
    cell : int
    per_block : int
        Cells along the side of a block; larger artifacts are cut.
    reach : int
        Pixels around the artifacts that are read with them.
    """
    cells = np.argwhere(labels > 0)
    owner = labels[cells[:, 0], cells[:, 1]]
    boxes = ndimage.find_objects(labels)
    # Where the middle of each artifact lies; of large ones, where each cell does.
    middle = np.array(
        [[(part.start + part.stop - 1) // 2 for part in box] for box in boxes], np.int64
    )
    large = np.array([max(p.stop - p.start for p in box) > per_block for box in boxes])
    cut = large[owner - 1]
    place = np.where(cut[:, None], cells, middle[owner - 1]) // per_block
    order = np.lexsort((cells[:, 1], cells[:, 0], place[:, 1], place[:, 0]))
    cells, owner, place, cut = cells[order], owner[order], place[order], cut[order]
    starts = np.flatnonzero(np.r_[True, (place[1:] != place[:-1]).any(1)])
    parts: list[SlidePart] = []
    for start, stop in zip(starts, [*starts[1:], len(cells)], strict=True):
        own = cells[start:stop]
        core = _box(own, cell, size)
        region = _grown(core, reach, size)
        before: Cells = own[:0]
        after: tuple[str, ...] = ()
        if cut[start:stop].any():
            same = np.isin(owner[:start], owner[start:stop][cut[start:stop]])
            before = _within(cells[:start][same], region, cell)
            after = tuple(part.key for part in parts if _holds(part, before))
        masked = int(counts[own[:, 0], own[:, 1]].sum())
        row, column = (place[start] * per_block * cell).tolist()
        parts.append(SlidePart(f"x{column}y{row}", core, region, own, before, after, cell, masked))
    return tuple(parts)


def _box(cells: Cells, cell: int, size: tuple[int, int]) -> Region:
    top, left = cells.min(0) * cell
    bottom, right = (cells.max(0) + 1) * cell
    return (
        int(left),
        int(top),
        min(int(right), size[0]) - int(left),
        min(int(bottom), size[1]) - int(top),
    )


def _grown(core: Region, reach: int, size: tuple[int, int]) -> Region:
    x, y, w, h = core
    left, top = max(0, x - reach), max(0, y - reach)
    right, bottom = min(size[0], x + w + reach), min(size[1], y + h + reach)
    return left, top, right - left, bottom - top


def _within(cells: Cells, region: Region, cell: int) -> Cells:
    x, y, w, h = region
    first, last = (y // cell, x // cell), (-(-(y + h) // cell), -(-(x + w) // cell))
    return cells[((cells >= first) & (cells < last)).all(1)]


def _holds(part: SlidePart, cells: Cells) -> bool:
    if not len(cells):
        return False
    both = np.concatenate([part.cells, cells])
    return len(np.unique(both, axis=0)) < len(both)
