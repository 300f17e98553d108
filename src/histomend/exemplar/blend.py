"""How pieces meet each other and the surroundings: in colour by a membrane, in detail at seams.

The membrane (Poisson blending, Perez et al. 2003, on a coarse grid) is a smooth shift of colour
for each piece. It is kept as whole numbers on a lattice, so that a copied pixel can be recomputed
to the last bit.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Differences of colour beyond this fraction of the range are no shift of stain or light but another
# structure, or an artifact that the mask has left out: the larger, the less is evened out.
SHIFT = 0.1
# How strongly the shift is pulled to nothing away from seams, per cell. A rim of the artifact
# that the mask has left out is thus not carried far inwards.
PULL = 0.01
# A shift is stored in steps of this fraction of a level of 8 bits.
FRACTION = 16
# Standard deviation in px over which pieces that meet are mixed.
FEATHER = 0.7
# How far the difference to the pixel beyond the mask's edge is carried inwards, in px, and over
# how many it is averaged along the edge, near it and further inside.
FADE = 1.5
ALONG = (0.6, 2.0)


def membrane(
    between: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats],
    border: tuple[npt.NDArray[np.int64], Floats],
    count: int,
) -> Floats:
    """Return the shift of colour of each cell, (N, 3), that makes neighbours agree.

    Parameters
    ----------
    between : (a, b, target)
        Neighbouring cells, and by how much the shift of the first is to be above that of the
        second, (M, 3): zero within a piece.
    border : (a, target)
        Cells beside visible ones, and the shift at which they agree with these, (K, 3).
    count : int
        Cells in all.
    """
    a, b, apart = between
    edge, shift = border

    def summed(cells: npt.NDArray[np.int64], values: Any = None) -> npt.NDArray[np.float64]:
        return np.bincount(cells, values, count).astype(np.float64)

    links = coo_matrix((np.ones(len(a)), (a, b)), shape=(count, count))
    degree = summed(a) + summed(b) + summed(edge) + PULL
    system = (diags(degree) - links - links.T).tocsc()
    jump, lift = (each.astype(np.float64) * _trust(each)[:, None] for each in (apart, shift))
    wanted = [
        summed(a, jump[:, k]) - summed(b, jump[:, k]) + summed(edge, lift[:, k]) for k in range(3)
    ]
    return np.asarray(splu(system).solve(np.stack(wanted, 1)), np.float32)


def _trust(differences: Floats) -> npt.NDArray[np.float64]:
    size = np.square(differences.astype(np.float64)).mean(1)
    return 1 / (1 + size / SHIFT**2)


def averaged(values: Floats, weights: Floats, sigma: float) -> Floats:
    """Return the weighted Gaussian mean around each place, 0 where no weight is near.

    Parameters
    ----------
    values : (H, W, C)
    weights : (H, W)
    """
    total = cv2.GaussianBlur(weights, (0, 0), sigma)
    mean = cv2.GaussianBlur(values * weights[..., None], (0, 0), sigma).reshape(values.shape)
    return np.asarray(mean / np.maximum(total, 1e-6)[..., None], np.float32)


def on_lattice(shift: Floats, inside: Mask, nodes: tuple[int, int]) -> npt.NDArray[np.int16]:
    """Return a shift as whole numbers on the nodes of a lattice, (h, w, 3).

    Parameters
    ----------
    shift : (H, W, 3) float32
        One for each cell, as a fraction of the range.
    inside : (H, W) bool
        Cells where the shift is wanted; nodes far from them are 0.
    nodes : (h, w)
        Every second corner of the cells.
    """
    weights = inside.astype(np.float32)
    near = cv2.dilate(weights, np.ones((7, 7), np.uint8))
    mean = averaged(shift, weights, 1.5) * near[..., None]
    # Node k lies at the corner between cells 2 k - 1 and 2 k.
    rows = np.clip(2 * np.arange(nodes[0]), 0, shift.shape[0] - 1)
    columns = np.clip(2 * np.arange(nodes[1]), 0, shift.shape[1] - 1)
    before = np.maximum(rows - 1, 0), np.maximum(columns - 1, 0)
    corners = sum(mean[r][:, c] for r in (rows, before[0]) for c in (columns, before[1]))
    return np.asarray(np.rint(corners / 4 * 255 * FRACTION), np.int16)


def shifted(
    copied: npt.NDArray[Any],
    lattice: npt.NDArray[np.int16],
    y: npt.NDArray[np.int64],
    x: npt.NDArray[np.int64],
    step: int,
) -> npt.NDArray[Any]:
    """Return copied pixels with the shift of their places added, all in whole numbers.

    Parameters
    ----------
    copied : (N, 3) uint8 or uint16
    lattice : (h, w, 3) int16
        In 1 / `FRACTION` of a level of 8 bits; see `on_lattice`.
    y, x : (N,) int
        Places, in px from the lattice's first node.
    step : int
        Px between nodes.
    """
    top, left = y // step, x // step
    down, right = (y - top * step)[:, None], (x - left * step)[:, None]
    grid = lattice.astype(np.int64)
    total = (step - down) * ((step - right) * grid[top, left] + right * grid[top, left + 1])
    total += down * ((step - right) * grid[top + 1, left] + right * grid[top + 1, left + 1])
    # 65535 is 257 times 255.
    highest = np.iinfo(copied.dtype).max
    whole = FRACTION * step * step
    shift = (total * (highest // 255) + whole // 2) // whole
    return np.clip(copied.astype(np.int64) + shift, 0, highest).astype(copied.dtype)
