"""New pixels of the coarser levels of a slide, from those of level 0.

A scanner does not make its levels by plain averages, so that a tile averaged anew would differ
from its neighbours as a whole. Only the difference that the restoration made is averaged, and
what the scanner did beyond averaging fades with the masked share w of each pixel:

    L' = L + mean(R) - mean(S) - w * (L - mean(S))

where L is the level as it is, S and R level 0 before and after. Where nothing is masked L stays,
and where everything is L' is the average of R. Factors are whole numbers, as vendors' are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.image.pixels import Pixels, Region
from histomend.slides.jpeg_edit import Mask
from histomend.slides.patches import Patches
from histomend.slides.tiff_levels import LevelPixels

_BLOCK = 1024  # px of level 0 that are looked at together


def new_tile(
    finest: LevelPixels, level: LevelPixels, patches: Patches, tile: int
) -> tuple[Pixels, Mask] | None:
    """Return the pixels of a tile and which of them are new, of the tile as stored; None: none.

    Parameters
    ----------
    finest, level : LevelPixels
        Level 0, and the one that the tile belongs to, which may be level 0.
    patches : Patches
    tile : int
        A tile that was scanned.
    """
    region = level.level.region(tile)
    if level.level.factor == 1:
        found = patches.compose(region)
    else:
        found = _averaged(finest, level, patches, region, tile)
    if found is None:
        return None
    # Beyond the edge of the slide tiles are filled up; repeating the edge draws none there.
    height, width = level.level.shape(tile)
    beyond = (0, height - region[3]), (0, width - region[2])
    pixels, mask = found
    return np.pad(pixels, (*beyond, (0, 0)), mode="edge"), np.pad(mask, beyond, mode="edge")


def _averaged(
    finest: LevelPixels, level: LevelPixels, patches: Patches, region: Region, tile: int
) -> tuple[Pixels, Mask] | None:
    x, y, w, h = region
    factor = level.level.factor
    side = max(1, _BLOCK // factor)
    changed = np.zeros((h, w), np.bool_)
    pixels: Pixels | None = None
    for top in range(0, h, side):
        for left in range(0, w, side):
            cells = x + left, y + top, min(side, w - left), min(side, h - top)
            found = _cells(finest, patches, cells, factor)
            if found is None:
                continue
            (cx, cy, cw, ch), means, delta, share = found
            if pixels is None:
                pixels = level.tile(tile)[:h, :w].copy()
            here = slice(cy - y, cy - y + ch), slice(cx - x, cx - x + cw)
            old = pixels[here].astype(np.float64)
            new = old + delta - share[..., None] * (old - means)
            top_value = np.iinfo(pixels.dtype).max
            touched = share > 0
            pixels[here][touched] = np.clip(np.rint(new), 0, top_value)[touched]
            changed[here] |= touched
    return None if pixels is None else (pixels, changed)


def _cells(
    finest: LevelPixels, patches: Patches, cells: Region, factor: int
) -> (
    tuple[Region, npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]] | None
):
    """Average over cells of factor x factor px of level 0.

    Returns
    -------
    cells : (x, y, w, h)
        The smallest rectangle of cells that holds all masked ones.
    means : (h, w, samples)
        Of level 0 as it was.
    delta : (h, w, samples)
        By how much the means change.
    share : (h, w)
        Part of the pixels of each cell that are masked.
    """
    extent = patches.extent(_finest(cells, factor))
    if extent is None:
        return None
    left, top = extent[0] // factor, extent[1] // factor
    right, bottom = -(-(extent[0] + extent[2]) // factor), -(-(extent[1] + extent[3]) // factor)
    tight = left, top, right - left, bottom - top
    found = patches.compose(_finest(tight, factor))
    if found is None:
        return None
    target, mask = found
    source, scanned = _within(finest, tight, factor)
    mask = mask & scanned
    if not mask.any():
        return None
    shape = tight[3], tight[2], factor
    area = float(factor * factor)
    change = np.where(mask[..., None], target.astype(np.int32) - source, 0)
    share = _sums(mask[..., None], shape)[..., 0] / area
    return tight, _sums(source, shape) / area, _sums(change, shape) / area, share


def _finest(cells: Region, factor: int) -> Region:
    """Return the pixels of level 0 that cells cover."""
    x, y, w, h = cells
    return x * factor, y * factor, w * factor, h * factor


def _within(finest: LevelPixels, cells: Region, factor: int) -> tuple[Pixels, Mask]:
    """Read cells of level 0; where it ends within the last ones, its edge is repeated."""
    x, y, w, h = _finest(cells, factor)
    width = max(1, min(w, finest.level.width - x))
    height = max(1, min(h, finest.level.height - y))
    pixels, scanned = finest.read((x, y, width, height))
    beyond = (0, h - height), (0, w - width)
    return np.pad(pixels, (*beyond, (0, 0)), mode="edge"), np.pad(scanned, beyond, mode="edge")


def _sums(values: npt.NDArray[Any], shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    """Sum whole numbers over cells: exact, in whatever order."""
    rows, columns, factor = shape
    # Half the time in 32 bits, where they hold the largest sum.
    fits = np.iinfo(np.int32).max // (factor * factor) >= (1 << 8 * min(values.itemsize, 2)) - 1
    kind = np.int32 if fits or values.dtype == np.bool_ else np.int64
    by_row = values.reshape(rows, factor, -1).sum(1, dtype=kind)
    return np.asarray(by_row.reshape(rows, columns, factor, -1).sum(2, dtype=kind))
