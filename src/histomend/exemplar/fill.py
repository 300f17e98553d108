"""Fill the holes of an image with tissue of the same image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError, SettingError, UnsupportedImageError
from histomend.exemplar.candidates import (
    COARSE,
    LITTLE,
    aligned,
    blocks,
    places,
    search,
    source_cost,
)
from histomend.exemplar.compose import compose
from histomend.exemplar.holes import holes, seams, within
from histomend.exemplar.layers import chosen_pieces
from histomend.exemplar.provenance import Part, Provenance, undrawn
from histomend.exemplar.sheet import Elsewhere, Field, Sheet
from histomend.exemplar.tissue import Mask, Tissue, describe, glass, soiled_rim

# Side of a cell in um: pieces are chosen cell by cell.
CELL_UM = 2.0
USUAL_MPP = 0.5
# How far around a hole tissue is searched: so many times its side, within limits in cells; where
# nothing fits, twice as far, and so on.
REACH, LEAST_REACH, MOST_REACH, FURTHEST = 4, 32, 128, 1024
# Randomness of the search: standard deviation of the logarithm of a factor on the mismatch.
VARIETY = 0.1
# With less clean tissue than this, relative to the hole, the same place would be copied again
# and again.
LEAST_CLEAN = 2.0
# A hole lies on glass if this share of what surrounds it is glass.
ON_GLASS = 0.05
# What meets at a seam does not fit if it differs by more than this fraction of the range.
MISFIT = 0.25
_ROUNDS = 6
TOO_LITTLE = (
    "There is too little clean tissue around a masked region to fill it with: it is drawn by the "
    "model alone."
)
TIGHT = (
    "The mask seems to be drawn too tight: beside it the colour is another than further out, so "
    "that a rim of the artifact is probably left. Grow the mask by a few pixels."
)
FAR = (
    "There is too little clean tissue around a masked region to fill it with: tissue from further "
    "away on the slide was copied."
)
NO_FIT = (
    "For a part of the mask no clean tissue of its size was found: it is drawn by the model alone."
)


@dataclass(frozen=True)
class Filling:
    """An image whose holes are filled.

    Parameters
    ----------
    pixels : (H, W, 3) of the type of the image
        Outside the mask as they were.
    provenance : Provenance
    seams : (H, W) bool
        Masked pixels next to a seam: between two pieces, or between a piece and what is visible.
    misfits : (H, W) bool
        Those of them where what meets does not fit, so that it should be joined.
    missing : (H, W) bool
        Masked pixels for which no tissue was found. They hold the image's own pixels still, and
        the provenance leaves them to the model.
    notices : tuple of str
    """

    pixels: npt.NDArray[Any]
    provenance: Provenance
    seams: Mask
    misfits: Mask
    missing: Mask
    notices: tuple[str, ...]


@dataclass
class _Canvas:
    """The image while it is being filled."""

    pixels: npt.NDArray[Any]
    known: Mask
    clean: Mask
    cell: int
    used: Mask
    misfits: Mask
    fields: Callable[[], tuple[Field, ...]]
    parts: list[Part] = field(default_factory=list)


def fill(
    image: npt.NDArray[Any],
    mask: Mask,
    *,
    clean: Mask | None = None,
    mpp: float | None = None,
    seed: int = 0,
    variety: float = VARIETY,
    elsewhere: Elsewhere | None = None,
) -> Filling:
    """Fill the masked parts of an image with pieces of the same image.

    Candidates in eight orientations are found by how well the surroundings of a hole fit in
    colour and grain, and their seams are laid where they agree (graph cuts). A smooth shift of
    colour makes pieces and surroundings meet. Sources near the hole, or used before, cost more.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16
    mask : (H, W) bool
        What is to be filled.
    clean : (H, W) bool, optional
        What may be copied; by default all that is not masked. Bare glass is copied only into
        holes that lie on glass.
    mpp : float, optional
        Micrometres per pixel, 0.5 if not known.
    seed : int
        Another seed gives another filling; the same seed the same bytes.
    variety : float
        How random the choice of candidates is.
    elsewhere : function that returns Field, ..., optional
        Further tissue of the slide that the image is a part of. It is asked for once, and only if
        the image has nothing that a hole could be filled with.

    Returns
    -------
    Filling

    Raises
    ------
    UnsupportedImageError, MaskError, SettingError
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError(
            f"an image of shape {image.shape} {image.dtype} cannot be filled: (H, W, 3) in 8 or "
            "16 bits is needed"
        )
    for name, given in (("mask", mask), ("map of clean tissue", clean)):
        if given is not None and (given.shape != image.shape[:2] or given.dtype != np.bool_):
            raise MaskError(
                f"the {name} is {given.shape} {given.dtype}, and the image {image.shape[:2]}: one "
                "bool for each pixel is needed"
            )
    if mpp is not None and not mpp > 0:
        raise SettingError(f"a pixel cannot measure {mpp} um; give more than 0")
    # An even number of px, so that cells turned by quarters still lie on whole pixels.
    cell = 2 * max(1, round(CELL_UM / (mpp or USUAL_MPP) / 2))
    usable = ~mask if clean is None else clean & ~mask
    canvas = _Canvas(
        image.copy(),
        ~mask,
        usable,
        cell,
        np.zeros_like(mask),
        np.zeros_like(mask),
        cache(elsewhere or tuple),
    )
    notices = []
    for number, hole in enumerate(holes(mask, cell)):
        rng = np.random.default_rng([seed, number])
        notices += _fill_hole(canvas, *hole, rng, variety)
    missing = mask & ~canvas.known
    filled = Provenance(tuple(canvas.parts))
    left = tuple(undrawn(place, hole, 2 * cell) for place, hole in holes(missing, cell))
    return Filling(
        canvas.pixels,
        Provenance((*filled.parts, *left)),
        seams(mask, filled),
        canvas.misfits,
        missing,
        tuple(dict.fromkeys(notices)),
    )


def _fill_hole(
    canvas: _Canvas,
    place: tuple[slice, slice],
    inside: Mask,
    rng: np.random.Generator,
    variety: float,
) -> list[str]:
    """Fill a hole of the canvas in rounds, and return what is to be said of it."""
    longest = max(part.stop - part.start for part in place)
    least, most, furthest = (each * canvas.cell for each in (LEAST_REACH, MOST_REACH, FURTHEST))
    reach = min(max(REACH * longest, least), most)
    begun = reach
    while True:
        window = within(place, reach, canvas.known.shape)
        enough, tight = _fill_from(
            canvas, place, inside, Sheet.of(window, canvas.cell), rng, variety
        )
        if canvas.known[place][inside].all():
            return [TIGHT] if tight else []
        sides = tuple(part.stop - part.start for part in window)
        if sides == canvas.known.shape or reach >= furthest:
            break
        reach *= 2
    if canvas.fields():
        sheet = Sheet.of(within(place, begun, canvas.known.shape), canvas.cell, canvas.fields())
        enough, tight = _fill_from(canvas, place, inside, sheet, rng, variety)
        if canvas.known[place][inside].all():
            return [FAR, TIGHT] if tight else [FAR]
    return [NO_FIT if enough else TOO_LITTLE]


def _fill_from(
    canvas: _Canvas,
    place: tuple[slice, slice],
    inside: Mask,
    sheet: Sheet,
    rng: np.random.Generator,
    variety: float,
) -> tuple[bool, bool]:
    """Fill a hole from a part of the image, and what is laid beside it.

    Returns
    -------
    (bool, bool)
        Whether that has enough clean tissue, and whether the mask is drawn too tight.
    """
    rows, columns = sheet.window
    hole = np.zeros(sheet.shape, np.bool_)
    hole[
        place[0].start - rows.start : place[0].stop - rows.start,
        place[1].start - columns.start : place[1].stop - columns.start,
    ] = inside
    pixels = sheet.pixels(canvas.pixels)
    clean = sheet.laid(canvas.clean, [each.clean for each in sheet.fields])
    bare = glass(pixels, canvas.cell) & clean
    near = cv2.dilate(hole.astype(np.uint8), np.ones((4 * sheet.block + 1,) * 2, np.uint8)) > 0
    around = near & sheet.laid(canvas.known)
    if not around.any() or np.count_nonzero(bare & around) <= ON_GLASS * np.count_nonzero(around):
        clean &= ~bare
    if np.count_nonzero(clean) < LEAST_CLEAN * np.count_nonzero(hole):
        return False, False
    rim = soiled_rim(pixels, hole, sheet.laid(canvas.known), canvas.cell)
    clean &= ~rim
    seen = [np.ones_like(each.clean) for each in sheet.fields]
    for _ in range(_ROUNDS):
        known = sheet.laid(canvas.known, seen)
        left = hole & ~known
        if not left.any():
            break
        tissue = describe(pixels, known & ~rim, clean, canvas.cell)
        if _round(canvas, tissue, left, rim, sheet, rng, variety) is None:
            break
        pixels = sheet.pixels(canvas.pixels)
    return True, bool(rim.any())


def _round(
    canvas: _Canvas,
    tissue: Tissue,
    hole: Mask,
    rim: Mask,
    sheet: Sheet,
    rng: np.random.Generator,
    variety: float,
) -> Part | None:
    """Fill what can be filled at once, and write it to the canvas; None if nothing can be.

    A soiled rim is bridged: pieces are chosen for it too, so that they fit what lies beyond.
    """
    wanted = hole | rim
    coarse = blocks(tissue, wanted)
    if not coarse.known.any():
        return None
    used = sheet.laid(canvas.used, [each.used for each in sheet.fields])
    parts = used.reshape(coarse.known.shape[0], sheet.block, -1, sheet.block)
    cost = source_cost(coarse, np.asarray(parts.mean((1, 3)), np.float32))
    found = search(coarse, places(coarse), cost, rng, variety)
    if not found:
        # Little may be visible or clean: compare less of the surroundings.
        found = search(coarse, places(coarse, LITTLE), cost, rng, variety)
    by_cell = np.repeat(np.repeat(cost, COARSE, 0), COARSE, 1)
    cells = chosen_pieces(tissue, wanted, aligned(tissue, found), by_cell, rng)
    if cells is None:
        return None
    made = compose(tissue, hole, rim, cells, rng)
    top, left = (part.start for part in sheet.window)
    rows, columns = made.place
    # Padding is no part of the image.
    h = min(rows.stop, sheet.window[0].stop - top) - rows.start
    w = min(columns.stop, sheet.window[1].stop - left) - columns.start
    y, x = rows.start + top, columns.start + left
    box = np.s_[y : y + h, x : x + w]
    filled = made.filled[:h, :w]
    canvas.pixels[box][filled] = made.pixels[:h, :w][filled]
    canvas.known[box] |= filled
    canvas.misfits[box] |= made.misfit[:h, :w] > MISFIT
    part = sheet.account(made, cells.pieces, (x, y, w, h), 2 * canvas.cell, canvas.used)
    canvas.parts.append(part)
    return part
