"""The cells of a hole, and what each of them would look like with each piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.exemplar.labels import Choice, choose, neighbours
from histomend.exemplar.pieces import Piece
from histomend.exemplar.tissue import Floats, Mask, Tissue

# What a seam costs per side of a cell even where pieces agree. Dear seams make few, large pieces.
SEAM = 0.2
# How much a cell beside a visible one must look like it, beside a seam between two pieces.
BORDER = 2.0
# What is hidden at the source of a neighbour counts as this mismatch.
UNSEEN = 0.1
_SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))


@dataclass(frozen=True)
class Cells:
    """Cells that are filled at once, and the piece of each.

    Parameters
    ----------
    rows, columns : (N,) int
    label : (N,) int
        Number of the piece.
    pieces : tuple of Piece
        In pixels of the part of the image; each is used.
    """

    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    pieces: tuple[Piece, ...]


def chosen_pieces(
    tissue: Tissue, hole: Mask, pieces: list[Piece], cost: Floats, rng: np.random.Generator
) -> Cells | None:
    """Choose a piece for each cell of a hole; cells that no piece can fill are left out.

    Parameters
    ----------
    hole : (H, W) bool
    pieces : candidates
    cost : (h, w) float32
        What the source of a cell costs beside its mismatch, for each cell of the image.

    Returns
    -------
    Cells, or None if no piece fills any cell.
    """
    cell = tissue.cell
    grid = (hole.shape[0] // cell, hole.shape[1] // cell)
    shape = (grid[0], cell, grid[1], cell)
    known = np.asarray(tissue.known.reshape(shape).all((1, 3)), np.bool_)
    rows, columns = (each.astype(np.int64) for each in np.nonzero(hole.reshape(shape).any((1, 3))))
    if not len(rows) or not pieces:
        return None
    looks = np.zeros((len(rows), len(pieces), tissue.means.shape[2]), np.float32)
    own = np.full(looks.shape[:2], np.inf, np.float32)
    beside = [_beside(rows, columns, side, known) for side in _SIDES]
    for number, piece in enumerate(pieces):
        y, x, inside = _sources(piece, rows, columns, cell, hole.shape)
        possible = inside & tissue.whole[y, x]
        looks[:, number] = tissue.means[y, x]
        total = cost[y // cell, x // cell].copy()
        for near_rows, near_columns, visible in beside:
            ty, tx, there = _sources(
                piece, near_rows[visible], near_columns[visible], cell, hole.shape
            )
            middle = near_rows[visible] * cell + cell // 2, near_columns[visible] * cell + cell // 2
            off = np.square(tissue.means[ty, tx] - tissue.means[middle]).sum(-1)
            total[visible] += BORDER * np.where(there & tissue.known[ty, tx], off, UNSEEN)
        own[possible, number] = total[possible]
    covered = np.isfinite(own).any(1)
    if not covered.any():
        return None
    rows, columns = rows[covered], columns[covered]
    own, looks = own[covered], looks[covered]
    numbers = np.full(grid, -1)
    numbers[rows, columns] = np.arange(len(rows))
    label = choose(Choice(own, looks, neighbours(numbers), SEAM), rng)
    used, label = np.unique(label, return_inverse=True)
    return Cells(rows, columns, label, tuple(pieces[k] for k in used))


def _beside(
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    side: tuple[int, int],
    known: Mask,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Mask]:
    """Return the cells on one side, and which of them are visible as a whole."""
    there, across = rows + side[0], columns + side[1]
    inside = (there >= 0) & (there < known.shape[0]) & (across >= 0) & (across < known.shape[1])
    visible = inside.copy()
    visible[inside] = known[there[inside], across[inside]]
    return there, across, visible


def _sources(
    piece: Piece,
    rows: npt.NDArray[np.int64],
    columns: npt.NDArray[np.int64],
    cell: int,
    shape: tuple[int, int],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Mask]:
    """Return the middles of the sources of cells, cut to the image, and which lie inside."""
    y, x = piece.source(rows * cell + cell // 2, columns * cell + cell // 2)
    y, x = y + piece.back[0], x + piece.back[1]
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    return np.clip(y, 0, shape[0] - 1), np.clip(x, 0, shape[1] - 1), inside
