"""From cells with pieces to pixels: seams to the pixel, colours that meet, and an account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.exemplar.blend import (
    ALONG,
    FEATHER,
    SHIFT,
    averaged,
    membrane,
    on_lattice,
    shifted,
)
from histomend.exemplar.edges import CROSS, sources, step_at_edge
from histomend.exemplar.labels import Choice, choose, neighbours
from histomend.exemplar.layers import Cells
from histomend.exemplar.pieces import Piece
from histomend.exemplar.provenance import COPIED, ELSEWHERE
from histomend.exemplar.tissue import Floats, Mask, Tissue

# Cells around what is filled whose colours are compared.
RING = 6
# Standard deviation in cells over which colours are averaged before they are compared.
LOW_PASS = 2.5
# Px that a seam may move to either side once the cells are chosen; what it costs per px.
FINE_SEAM = 0.004
# Share of another piece in a pixel beside a seam, once pieces are mixed.
_BESIDE = 0.1


@dataclass(frozen=True)
class Composed:
    """What a round of filling gives, in a box of the part of the image it worked on.

    Parameters
    ----------
    place : (rows, columns)
        The box, as slices.
    filled : (h, w) bool
    pixels : (h, w, 3)
        Of use where `filled`.
    origin : (h, w) uint16
        See `histomend.exemplar.provenance.Part`.
    shifts : (pieces, rows, columns, 3) int16
    misfit : (h, w) float32
        How far apart what meets at a seam is, before it is evened out: on the pixels beside seams,
        averaged along these, as a fraction of the range; elsewhere 0.
    """

    place: tuple[slice, slice]
    filled: Mask
    pixels: npt.NDArray[Any]
    origin: npt.NDArray[np.uint16]
    shifts: npt.NDArray[np.int16]
    misfit: Floats


def compose(
    tissue: Tissue, hole: Mask, rim: Mask, cells: Cells, rng: np.random.Generator
) -> Composed:
    """Fill the chosen cells of a hole, to the pixel.

    Parameters
    ----------
    rim : (H, W) bool
        Visible pixels beside the hole that may belong to the artifact.
    """
    cell = tissue.cell
    top, left = (int(each.min()) for each in (cells.rows, cells.columns))
    high, wide = int(cells.rows.max()) + 1 - top, int(cells.columns.max()) + 1 - left
    place = (
        slice(top * cell, (top + high) * cell),
        slice(left * cell, (left + wide) * cell),
    )
    coarse = np.full((high, wide), -1)
    coarse[cells.rows - top, cells.columns - left] = cells.label
    rough = np.repeat(np.repeat(coarse, cell, 0), cell, 1)
    rough[~hole[place]] = -1
    fine = _fine_labels(tissue, cells.pieces, rough, place, rng)
    shifts = _shifts(tissue, cells, (top, left), coarse)
    pixels, mixed, misfit = _mixed(tissue, rim, cells.pieces, fine, shifts, place)
    origin = np.where(fine < 0, ELSEWHERE, COPIED + 2 * fine + mixed).astype(np.uint16)
    return Composed(place, fine >= 0, pixels, origin, shifts, misfit)


def _fine_labels(
    tissue: Tissue,
    pieces: tuple[Piece, ...],
    rough: npt.NDArray[np.int64],
    place: tuple[slice, slice],
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """Return the number of the piece of each pixel, -1 for none: seams moved to the pixel."""
    side = 2 * tissue.cell + 1
    near = np.stack(
        [
            cv2.dilate((rough == k).astype(np.uint8), np.ones((side, side), np.uint8)) > 0
            for k in range(len(pieces))
        ]
    )
    inside = rough >= 0
    free = inside & (near.sum(0) > 1)
    if not free.any():
        return rough
    nodes = inside & (cv2.dilate(free.astype(np.uint8), CROSS) > 0)
    rows, columns = np.nonzero(nodes)
    own = np.full((len(rows), len(pieces)), np.inf, np.float32)
    looks = np.zeros((*own.shape, 3), np.float32)
    movable = free[rows, columns]
    for number, piece in enumerate(pieces):
        y, x, possible = sources(
            piece, rows + place[0].start, columns + place[1].start, tissue.clean
        )
        looks[:, number] = tissue.colour[y, x]
        own[possible & movable & near[number, rows, columns], number] = 0
    now = rough[rows, columns]
    own[np.arange(len(rows)), now] = 0
    numbers = np.full(rough.shape, -1)
    numbers[rows, columns] = np.arange(len(rows))
    choice = Choice(own, looks, neighbours(numbers), FINE_SEAM)
    fine = rough.copy()
    fine[rows, columns] = choose(choice, rng, start=now, sweeps=1)
    return fine


def _shifts(
    tissue: Tissue, cells: Cells, corner: tuple[int, int], coarse: npt.NDArray[np.int64]
) -> npt.NDArray[np.int16]:
    """Return the shift of colour of each piece, with a node at every second corner of the cells.

    Parameters
    ----------
    corner : (row, column)
        Of the box, in cells.
    coarse : (h, w) int
        The piece of each cell of the box, -1 for none.
    """
    high, wide = coarse.shape
    rows, columns = np.mgrid[: high + 2 * RING, : wide + 2 * RING] - RING
    visible = _means(tissue, None, rows + corner[0], columns + corner[1])
    surface, known = visible
    inner = np.s_[RING : RING + high, RING : RING + wide]
    targets, levels = [], []
    for piece in cells.pieces:
        copied, possible = _means(tissue, piece, rows + corner[0], columns + corner[1])
        off = surface - copied
        weights = (known & possible) / (1 + np.square(off).mean(-1) / SHIFT**2) ** 2
        targets.append(averaged(off, weights.astype(np.float32), LOW_PASS)[inner])
        levels.append(averaged(copied, possible.astype(np.float32), LOW_PASS)[inner])
    target, level = np.stack(targets), np.stack(levels)
    y, x, label = cells.rows - corner[0], cells.columns - corner[1], cells.label
    numbers = np.full(coarse.shape, -1)
    numbers[y, x] = np.arange(len(y))
    a, b = neighbours(numbers).T
    # Where two pieces meet, one is to be lifted above the other by what it lies below it.
    apart = np.zeros((len(a), 3), np.float32)
    for each in (a, b):
        apart += (level[label[b], y[each], x[each]] - level[label[a], y[each], x[each]]) / 2
    border = cv2.dilate(known.astype(np.uint8), CROSS)[inner] > 0
    edge = np.flatnonzero(border[y, x])
    found = membrane((a, b, apart), (edge, target[label[edge], y[edge], x[edge]]), len(y))
    shift = np.zeros((high, wide, 3), np.float32)
    shift[y, x] = found
    nodes = (-(-high // 2) + 1, -(-wide // 2) + 1)
    return np.stack([on_lattice(shift, coarse == k, nodes) for k in range(len(cells.pieces))])


def _means(
    tissue: Tissue, piece: Piece | None, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> tuple[Floats, Mask]:
    """Return mean colours of cells, (h, w, 3) as a fraction of the range, and which are whole.

    Parameters
    ----------
    piece : Piece, optional
        Show the cells as copied with it; by default as they are.
    """
    cell, shape = tissue.cell, tissue.known.shape
    y, x = rows * cell, columns * cell
    if piece is not None:
        y, x = piece.source(y, x)
        y, x = (each - back * (cell - 1) for each, back in zip((y, x), piece.back, strict=True))
    inside = (y >= 0) & (y <= shape[0] - cell) & (x >= 0) & (x <= shape[1] - cell)
    y, x = np.clip(y, 0, shape[0] - cell), np.clip(x, 0, shape[1] - cell)
    middle = y + cell // 2, x + cell // 2
    total = np.zeros((*y.shape, 3), np.float32)
    for down in range(cell):
        for right in range(cell):
            total += tissue.pixels[y + down, x + right]
    total /= np.float32(cell * cell * np.iinfo(tissue.pixels.dtype).max)
    if piece is not None:
        return total, inside & tissue.whole[middle]
    whole = inside.copy()
    for down in range(cell):
        for right in range(cell):
            whole &= tissue.known[y + down, x + right]
    return total, whole


def _mixed(
    tissue: Tissue,
    rim: Mask,
    pieces: tuple[Piece, ...],
    fine: npt.NDArray[np.int64],
    shifts: npt.NDArray[np.int16],
    place: tuple[slice, slice],
) -> tuple[npt.NDArray[Any], Mask, Floats]:
    """Return the pixels of the box, which are mixed with what they meet, and the misfit."""
    step = 2 * tissue.cell
    top, left = place[0].start, place[1].start
    exact = np.zeros((*fine.shape, 3), tissue.pixels.dtype)
    total = np.zeros((*fine.shape, 3), np.float32)
    weight = np.zeros(fine.shape, np.float32)
    beside = []
    for number, piece in enumerate(pieces):
        own = fine == number
        share = cv2.GaussianBlur(own.astype(np.float32), (0, 0), FEATHER)
        rows, columns = np.nonzero((fine >= 0) & (share > 0.02))
        y, x, possible = sources(piece, rows + top, columns + left, tissue.clean)
        values = shifted(tissue.pixels[y, x], shifts[number], rows, columns, step)
        mine = own[rows, columns]
        exact[rows[mine], columns[mine]] = values[mine]
        much = share[rows, columns] * possible
        total[rows, columns] += much[:, None] * values
        weight[rows, columns] += much
        other = possible & ~mine & (share[rows, columns] > _BESIDE)
        beside.append((rows[other], columns[other], values[other]))
    mean = total / np.maximum(weight, 1e-6)[..., None]
    highest = np.iinfo(exact.dtype).max
    evened, misfit = step_at_edge(tissue, rim, pieces, fine, exact, place)
    mean += evened
    for rows, columns, values in beside:
        apart = np.abs(values.astype(np.float32) - exact[rows, columns]).max(1) / highest
        misfit[rows, columns] = np.maximum(misfit[rows, columns], apart)
    along = averaged(misfit[..., None], (misfit > 0).astype(np.float32), ALONG[1])[..., 0]
    pixels = np.clip(np.rint(mean), 0, highest).astype(exact.dtype)
    # Differences of rounding are no mixture.
    mixed = np.abs(pixels.astype(np.int32) - exact).max(-1) > highest // 255
    return np.where(mixed[..., None], pixels, exact), mixed, np.where(misfit > 0, along, 0)
