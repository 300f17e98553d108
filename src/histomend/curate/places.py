"""Where on a slide tiles can be cut, and in which order places are looked at."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from histomend.detect.features import find_tissue
from histomend.errors import UnsupportedImageError
from histomend.slides.scans import Scan, area_average

Places = npt.NDArray[np.intp]
Shares = npt.NDArray[np.float64]

# Tissue is looked for at 8 um/px, in small tiles more finely, on very large slides more coarsely:
# 4 Mpx take about 250 MB, and at that size a slide of 25 mm has 12.5 um/px.
_OVERVIEW_UM = 8.0
_OVERVIEW_PX = 4_000_000
_PX_IN_TILE = 8
# Glass is brighter than this, and so is the red of any stained tissue.
_LEAST_LIGHT = 128
# Side of what is read at a time, in pixels of the level.
_BLOCK_PX = 2048


def tissue_shares(scan: Scan, mpp: float, size: int) -> Shares:
    """Return which share of each place of the grid looks like tissue on an overview.

    Parameters
    ----------
    scan : Scan
    mpp : micrometres per pixel of the tiles, as `Scan.mpp_near` returns it.
    size : side of a tile, px.

    Returns
    -------
    (rows, columns) float64 in [0, 1]
        Places lie side by side from the upper left corner; what is left over at the right and at
        the bottom is not used.

    Raises
    ------
    UnsupportedImageError
        If the scan is not of bright field.
    """
    width, height = scan.size_at(mpp)
    columns, rows = width // size, height // size
    um = max(
        scan.mpp,
        min(_OVERVIEW_UM, mpp * size / _PX_IN_TILE),
        mpp * math.sqrt(width * height / _OVERVIEW_PX),
    )
    um = scan.mpp_near(um)
    overview = _overview(scan, um)
    if np.percentile(overview.max(axis=2), 99) < _LEAST_LIGHT:
        raise UnsupportedImageError(
            f"{scan.path}: is dark nearly everywhere, as fluorescence is. Tiles are cut from "
            "stained tissue in bright field, by its colour. Leave the file out."
        )
    tissue = find_tissue(overview, um)
    step = mpp * size / um
    return area_average(area_average(tissue, 0, step, rows, axis=0), 0, step, columns, axis=1)


def _overview(scan: Scan, um: float) -> npt.NDArray[np.uint8]:
    width, height = scan.size_at(um)
    out = np.empty((height, width, 3), np.uint8)
    block = max(1, int(_BLOCK_PX / scan.step_at(um)))
    for y in range(0, height, block):
        for x in range(0, width, block):
            part = scan.read((x, y, min(block, width - x), min(block, height - y)), um)
            out[y : y + block, x : x + block] = part
    return out


def spread(places: Places, wanted: int, rng: np.random.Generator) -> Places:
    """Return places in a random order of which every beginning is spread over the slide.

    The slide is cut into about as many blocks as tiles are wanted. Each block gives one place,
    then each that has more a second one, and so on.

    Parameters
    ----------
    places : (n, 2) row and column
    wanted : about how many will be taken from the beginning, at least 1.
    rng : numpy.random.Generator

    Returns
    -------
    (n, 2) row and column
    """
    if len(places) == 0:
        return places
    shuffled = places[rng.permutation(len(places))]
    # Of the area where there is tissue, which may be a small part of the slide.
    side = max(1.0, math.sqrt(len(places) / wanted))
    block = (shuffled / side).astype(np.intp)
    _, number = np.unique(block, axis=0, return_inverse=True)
    number = rng.permutation(number.max() + 1)[number.reshape(-1)]
    # How many of its block come before each place.
    grouped = np.argsort(number, kind="stable")
    begins = np.cumsum(np.bincount(number)) - np.bincount(number)
    turn = np.empty(len(shuffled), np.intp)
    turn[grouped] = np.arange(len(shuffled)) - begins[number[grouped]]
    return shuffled[np.lexsort((number, turn))]
