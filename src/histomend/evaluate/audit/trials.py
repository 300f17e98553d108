"""Trials: holes like the restored ones, in sound tissue of the same image, where truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.exemplar.tissue import glass

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Restore = Callable[[Mask, int], Pixels]
"""Restores a mask of the image with a seed, as the method in question does."""

# Wider holes are tried with a piece of their shape: sound tissue of their size is rare.
WIDEST = 128
# Pixels between a trial and any other hole.
APART = 24
# Tissue that a trial lies on, as a share of it.
LEAST_TISSUE = 0.6
# Side in pixels of the squares in which bare glass is told from lumina.
_CELL = 4


@dataclass(frozen=True)
class Trials:
    """Sound places that were restored as if they were damaged.

    Attributes
    ----------
    masks : tuple of ((y, x), (h, w) bool)
        Corner and shape of each trial.
    drawn : (seeds, H, W, 3) uint8
        The whole image, restored once with each seed: the user's mask and all trials at once.
    """

    masks: tuple[tuple[tuple[int, int], Mask], ...]
    drawn: npt.NDArray[np.uint8]

    def place(self, number: int) -> tuple[slice, slice]:
        """Return the rows and columns of a trial."""
        (y, x), shape = self.masks[number]
        return slice(y, y + shape.shape[0]), slice(x, x + shape.shape[1])


def choose(
    pixels: Pixels, mask: Mask, count: int, rng: np.random.Generator
) -> tuple[tuple[tuple[int, int], Mask], ...]:
    """Choose sound places for holes of the shapes of a mask's regions.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    mask : (H, W) bool
    count : int
        How many are wanted; fewer where there is no room.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of ((y, x), (h, w) bool)
        Corner and shape.
    """
    shapes = _shapes(mask)
    tissue = ~glass(pixels, _CELL)
    side = 2 * APART + 1
    taken = np.asarray(cv2.dilate(mask.astype(np.uint8), np.ones((side, side))), np.uint8)
    found: list[tuple[tuple[int, int], Mask]] = []
    for number in range(8 * count):
        if len(found) == count:
            break
        shape = shapes[number % len(shapes)]
        shape = np.ascontiguousarray(np.rot90(shape, int(rng.integers(4))))
        at = _room(taken, tissue, shape, rng)
        if at is None:
            continue
        found.append((at, shape))
        y, x = at
        top, left = max(0, y - APART), max(0, x - APART)
        taken[top : y + shape.shape[0] + APART, left : x + shape.shape[1] + APART] = 1
    return tuple(found)


def run(
    pixels: Pixels,
    mask: Mask,
    places: tuple[tuple[tuple[int, int], Mask], ...],
    restore: Restore,
    seeds: tuple[int, ...],
) -> Trials:
    """Restore the mask and the trials, once with each seed.

    What is masked stays masked, so that a trial is never filled with the artifact.
    """
    both = mask.copy()
    for (y, x), shape in places:
        both[y : y + shape.shape[0], x : x + shape.shape[1]] |= shape
    return Trials(places, np.stack([restore(both, seed) for seed in seeds]))


def _shapes(mask: Mask) -> list[Mask]:
    """Return the shapes of the regions of a mask, the largest first, cut to `WIDEST`."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    order = sorted(range(1, count), key=lambda k: -int(stats[k, cv2.CC_STAT_AREA]))
    shapes = []
    for number in order[:16]:
        x, y, w, h, _ = (int(value) for value in stats[number])
        shape = labels[y : y + h, x : x + w] == number
        top, left = max(0, (h - WIDEST) // 2), max(0, (w - WIDEST) // 2)
        piece = shape[top : top + WIDEST, left : left + WIDEST]
        shapes.append(piece if piece.any() else np.ones((min(h, 32), min(w, 32)), np.bool_))
    return shapes


def _room(
    taken: npt.NDArray[np.uint8], tissue: Mask, shape: Mask, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Return a corner where a shape lies on free tissue, or None."""
    high, wide = shape.shape
    rows, columns = taken.shape[0] - high, taken.shape[1] - wide
    if rows < 0 or columns < 0:
        return None
    blocked = cv2.integral(taken)
    stained = cv2.integral(tissue.astype(np.uint8))

    def total(table: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
        return np.asarray(
            table[high:, wide:]
            - table[:-high, wide:]
            - table[high:, :-wide]
            + table[:-high, :-wide]
        )

    free = np.argwhere((total(blocked) == 0) & (total(stained) >= LEAST_TISSUE * high * wide))
    if not len(free):
        return None
    y, x = free[rng.integers(len(free))]
    return int(y), int(x)
