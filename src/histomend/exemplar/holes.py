"""The holes of a mask, what is searched around them, and where their fillings have seams."""

from __future__ import annotations

import cv2
import numpy as np

from histomend.exemplar.candidates import COARSE
from histomend.exemplar.provenance import Provenance
from histomend.exemplar.tissue import Mask

# Holes larger than this are filled part by part, in cells a side.
CORE = 96


def holes(mask: Mask, cell: int) -> list[tuple[tuple[slice, slice], Mask]]:
    """Return the holes in reading order, each as its box and where in it; large ones in parts."""
    side = COARSE * cell
    high, wide = (-(-length // side) for length in mask.shape)
    padded = np.pad(mask, ((0, high * side - mask.shape[0]), (0, wide * side - mask.shape[1])))
    coarse = np.asarray(padded.reshape(high, side, wide, side).any((1, 3)), np.uint8)
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(coarse, connectivity=8)
    most = CORE // COARSE
    found = []
    for number, (x, y, w, h, _) in enumerate(boxes[1:].tolist(), 1):
        for top in range(y, y + h, most):
            for left in range(x, x + w, most):
                part = np.s_[top : min(top + most, y + h), left : min(left + most, x + w)]
                here = np.repeat(np.repeat(labels[part] == number, side, 0), side, 1)
                place = np.s_[
                    top * side : min(part[0].stop * side, mask.shape[0]),
                    left * side : min(part[1].stop * side, mask.shape[1]),
                ]
                hole = mask[place]
                hole = hole & here[: hole.shape[0], : hole.shape[1]]
                if hole.any():
                    found.append((place, hole))
    return found


def within(place: tuple[slice, slice], reach: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the part of an image within `reach` px of a box, as (rows, columns)."""
    rows, columns = (
        slice(max(part.start - reach, 0), min(part.stop + reach, length))
        for part, length in zip(place, shape, strict=True)
    )
    return rows, columns


def seams(mask: Mask, provenance: Provenance) -> Mask:
    """Return the masked pixels of which a neighbour is visible, or of another piece."""
    found = np.zeros_like(mask)
    for part in provenance.parts:
        x, y, w, h = part.box
        # Beyond the image there is nothing that could meet: the edge is taken to go on.
        sides = ((y > 0, y + h < mask.shape[0]), (x > 0, x + w < mask.shape[1]))
        piece = (part.origin // 2).astype(np.int32)
        for axis, (before, after) in enumerate(sides):
            wide = np.pad(piece, [(1, 1) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
            ends = np.moveaxis(wide, axis, 0)
            if before:
                ends[0] = 0
            if after:
                ends[-1] = 0
            differs = (ends[1:-1] != ends[:-2]) | (ends[1:-1] != ends[2:])
            found[part.place] |= np.moveaxis(differs, 0, axis) & (piece > 0)
    return found
