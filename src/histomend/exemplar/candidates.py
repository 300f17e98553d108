"""Where in an image there is tissue that fits a hole: a search over places and orientations."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import fft

from histomend.exemplar.pieces import ORIENTATIONS, Piece, oriented, placed
from histomend.exemplar.tissue import Floats, Mask, Tissue

# The search runs on blocks of this many cells a side.
COARSE = 2
# Part of the surroundings of a hole that is compared, on each side, in blocks; how fast it
# counts for less away from the hole.
RING, FADE = 4, 2.0
# A piece may reach this far beyond the hole, in blocks, before it meets what is not clean.
SPARE = 1
# Half a side of the places along the edge of a hole for which tissue is searched, and how far
# apart these are, in blocks. Holes up to WHOLE blocks wide are also searched for as a whole.
REACH, APART, WHOLE = 5, 4, 24
# The same where tissue is scarce: around the whole and around places.
LITTLE = (1, 2)
# What a source costs for being near the hole (and from how far on nothing, in cells), for having
# been used before, and for being conspicuous beside either; in the units of the mismatch.
NEAR, NEAR_CELLS, USED = 0.004, 24.0, 0.01
# Candidates kept for the hole as a whole, and for each place on its edge.
KEEP_WHOLE, KEEP_PLACE = 12, 5
_PER_ORIENTATION = 2
# Points of the surroundings that decide by which pixel a piece lies, at most.
_POINTS = 240


@dataclass(frozen=True)
class Blocks:
    """The image in blocks of `COARSE` cells a side.

    Parameters
    ----------
    means : (C, H, W) float32
        Zero where a block is not all known.
    known, clean, hole : (H, W) bool
        Blocks that are known, or clean, as a whole; those that hold a pixel to be filled.
    """

    means: Floats
    known: Mask
    clean: Mask
    hole: Mask


@dataclass(frozen=True)
class Place:
    """A part of the image for which tissue is searched.

    Parameters
    ----------
    y, x : int
        Its corner, in blocks.
    means : (C, h, w) float32
    weights : (h, w) float32
        How much each block of the surroundings counts.
    footprint : (h, w) float32
        1 where the source has to be clean.
    keep : int
        Candidates to keep.
    """

    y: int
    x: int
    means: Floats
    weights: Floats
    footprint: Floats
    keep: int


def blocks(tissue: Tissue, hole: Mask) -> Blocks:
    """Return a part of an image in blocks; its sides are multiples of a block's."""
    side = COARSE * tissue.cell
    low = slice(tissue.cell // 2, None, tissue.cell)
    cells = tissue.means[low, low]
    size = (cells.shape[1] // COARSE, cells.shape[0] // COARSE)
    known, clean = (_all(values, side) for values in (tissue.known, tissue.clean))
    means = cv2.resize(cells, size, interpolation=cv2.INTER_AREA)
    means = np.where(known[..., None], means, np.float32(0))
    return Blocks(np.ascontiguousarray(means.transpose(2, 0, 1)), known, clean, ~_all(~hole, side))


def places(image: Blocks, around: tuple[int, int] = (RING, REACH)) -> list[Place]:
    """Return the hole as a whole, unless it is large, and places all along its edge.

    Parameters
    ----------
    around : (int, int)
        Blocks that are compared around either, on each side.
    """
    rows, columns = np.nonzero(image.hole)
    low, high = (rows.min(), columns.min()), (rows.max() + 1, columns.max() + 1)
    found = []
    if max(high[0] - low[0], high[1] - low[1]) <= WHOLE:
        found.append(_place(image, low, high, around[0], KEEP_WHOLE))
    inner = cv2.erode(image.hole.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    beside = cv2.dilate(image.known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    edge = np.argwhere(image.hole & (inner == 0) & beside)
    for y, x in _spread(edge):
        found.append(_place(image, (y, x), (y + 1, x + 1), around[1], KEEP_PLACE))
    return [place for place in found if place is not None]


def source_cost(image: Blocks, used: Floats) -> Floats:
    """Return what a source costs for being near the hole, conspicuous, or used before."""
    distance = cv2.distanceTransform((~image.hole).astype(np.uint8), cv2.DIST_L2, 3) * COARSE
    near = np.exp(-distance / NEAR_CELLS)
    again = cv2.dilate(used, np.ones((3, 3), np.uint8))
    known = image.known
    mean = image.means[:, known].mean(1)[:, None, None]
    spread = image.means[:, known].std() + 1e-3
    # How far the place is from what the image mostly looks like: vessels, pigment.
    odd = np.sqrt(np.square((image.means - mean) / spread).sum(0)) * known
    seen = 1 + np.clip(odd - 1, 0, 3)
    return np.asarray((NEAR * near + USED * again) * seen, np.float32)


def search(
    image: Blocks, wanted: list[Place], cost: Floats, rng: np.random.Generator, fancy: float
) -> list[tuple[Piece, Place]]:
    """Return where in the image there is tissue that fits, best first for each place.

    Parameters
    ----------
    cost : (H, W) float32
        What a source around each block costs beside the mismatch.
    fancy : float
        Standard deviation of the logarithm of a random factor on the costs.

    Returns
    -------
    list of (Piece in blocks, Place)
    """
    high, wide = image.known.shape
    size = (fft.next_fast_len(high, True), fft.next_fast_len(wide, True))
    energy = np.square(image.means).sum(0)
    field = fft.rfft2(np.stack([*image.means, energy, ~image.clean]).astype(np.float32), size)
    found = []
    for place in wanted:
        weighted = place.means * place.weights
        own = float((weighted * place.means).sum())
        total = float(place.weights.sum())
        stack = np.stack([*(-2 * weighted), place.weights, place.footprint])
        best: list[tuple[float, int, Piece]] = []
        for turn in range(ORIENTATIONS):
            shown = oriented(stack.transpose(1, 2, 0), turn).transpose(2, 0, 1)
            h, w = shown.shape[1:]
            if h > high or w > wide:
                continue
            product = np.conj(fft.rfft2(shown, size)) * field
            two = np.stack([product[:-1].sum(0), product[-1]])
            mismatch, blocked = fft.irfft2(two, size)[:, : high - h + 1, : wide - w + 1]
            costs = np.maximum(mismatch + own, 0) / total
            costs += cost[h // 2 :, w // 2 :][: costs.shape[0], : costs.shape[1]]
            costs *= np.exp(fancy * rng.standard_normal(costs.shape, np.float32))
            costs[blocked > 0.5] = np.inf
            size_there = place.weights.shape
            for value, y, x in _lowest(costs, _PER_ORIENTATION):
                piece = placed(turn, size_there, (place.y, place.x), (y, x))
                best.append((value, len(best), piece))
        found += [(piece, place) for _, _, piece in sorted(best)[: place.keep]]
    return found


def aligned(tissue: Tissue, found: list[tuple[Piece, Place]]) -> list[Piece]:
    """Return candidates in pixels, each moved by a few to where it fits best, without doubles."""
    block = COARSE * tissue.cell
    points: dict[int, tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]] = {}
    chosen: dict[Piece, None] = {}
    for piece, place in found:
        if id(place) not in points:
            points[id(place)] = _points(tissue, place)
        y, x, weight = points[id(place)]
        # From blocks to pixels: a block walked backwards begins with its last pixel.
        last = (block - 1) * np.array(piece.back)
        moved = Piece(
            piece.orientation, block * piece.down + int(last[0]), block * piece.right + int(last[1])
        )
        for step in (max(block // 4, 1), 1):
            moved = _nudged(tissue, moved, y, x, weight, step)
        chosen[moved] = None
    return list(chosen)


def _nudged(
    tissue: Tissue,
    piece: Piece,
    y: npt.NDArray[np.intp],
    x: npt.NDArray[np.intp],
    weight: Floats,
    step: int,
) -> Piece:
    """Return the piece moved by up to two steps a side to where the surroundings fit best."""
    if not len(y):
        return piece
    high, wide = tissue.known.shape
    down, right = (each.ravel() for each in np.mgrid[-2:3, -2:3] * step)
    sy, sx = piece.source(y, x)
    back = piece.back
    ty = np.clip(sy + back[0] + down[:, None], 0, high - 1)
    tx = np.clip(sx + back[1] + right[:, None], 0, wide - 1)
    off = np.square(tissue.means[ty, tx] - tissue.means[y, x]).sum(-1)
    # What is hidden at the source cannot be compared, and is no better than a bad fit.
    off = np.where(tissue.known[ty, tx], off, 0.1)
    best = int((off * weight).sum(1).argmin())
    return Piece(piece.orientation, piece.down + int(down[best]), piece.right + int(right[best]))


def _points(
    tissue: Tissue, place: Place
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    """Return middles of cells of a place's surroundings, (y, x), and their weights."""
    cell, block = tissue.cell, COARSE * tissue.cell
    weights = np.repeat(np.repeat(place.weights, COARSE, 0), COARSE, 1)
    y, x = np.nonzero(weights > 0.05)
    if len(y) > _POINTS:
        step = -(-len(y) // _POINTS)
        y, x = y[::step], x[::step]
    middle = cell // 2
    return y * cell + place.y * block + middle, x * cell + place.x * block + middle, weights[y, x]


def _place(
    image: Blocks, low: tuple[int, int], high: tuple[int, int], around: int, keep: int
) -> Place | None:
    """Return a box of blocks with `around` more on each side; None where nothing is visible."""
    y0, x0 = (max(int(side) - around, 0) for side in low)
    box = slice(y0, int(high[0]) + around), slice(x0, int(high[1]) + around)
    known, hole = image.known[box], image.hole[box]
    # Beyond the box another hole may begin: the distance is that from the hole within it.
    distance = cv2.distanceTransform((~hole).astype(np.uint8), cv2.DIST_L2, 3)
    weights = (known * np.exp(-distance / FADE)).astype(np.float32)
    if weights.sum() < 1:
        return None
    footprint = (distance <= SPARE).astype(np.float32)
    return Place(y0, x0, image.means[:, box[0], box[1]], weights, footprint, keep)


def _spread(edge: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return points of an edge, each as far as possible from those before, `APART` apart."""
    if not len(edge):
        return edge
    chosen = [0]
    distance = np.full(len(edge), np.inf)
    while True:
        distance = np.minimum(distance, np.square(edge - edge[chosen[-1]]).sum(1))
        furthest = int(distance.argmax())
        if distance[furthest] < APART**2:
            return edge[chosen]
        chosen.append(furthest)


def _lowest(costs: Floats, count: int) -> list[tuple[float, int, int]]:
    """Return the lowest finite costs with their places, none next to another."""
    found = []
    for _ in range(count):
        y, x = divmod(int(costs.argmin()), costs.shape[1])
        value = float(costs[y, x])
        if not np.isfinite(value):
            break
        found.append((value, y, x))
        costs[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = np.inf
    return found


def _all(values: Mask, side: int) -> Mask:
    """Return which squares of `side` px are True as a whole; both sides are multiples of it."""
    high, wide = values.shape
    return np.asarray(values.reshape(high // side, side, wide // side, side).all((1, 3)), np.bool_)
