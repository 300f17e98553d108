"""The edge of what is filled: the step there, and how it is evened out."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.exemplar.blend import ALONG, FADE, SHIFT, averaged
from histomend.exemplar.pieces import Piece
from histomend.exemplar.tissue import Floats, Mask, Tissue

# How far inwards a difference at the mask's edge is evened out at most, in px.
RIM = 5
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def sources(
    piece: Piece, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64], clean: Mask
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Mask]:
    """Return the sources of pixels, cut to the image, and which of them may be copied."""
    sy, sx = piece.source(y, x)
    inside = (sy >= 0) & (sy < clean.shape[0]) & (sx >= 0) & (sx < clean.shape[1])
    sy, sx = np.clip(sy, 0, clean.shape[0] - 1), np.clip(sx, 0, clean.shape[1] - 1)
    return sy, sx, inside & clean[sy, sx]


def step_at_edge(
    tissue: Tissue,
    rim: Mask,
    pieces: tuple[Piece, ...],
    fine: npt.NDArray[np.int64],
    exact: npt.NDArray[Any],
    place: tuple[slice, slice],
) -> tuple[Floats, Floats]:
    """Return what evens out the step at the mask's edge, (h, w, 3), and how large that is, (h, w).

    It fades within a few px; its size is that at the pixels along the edge.
    """
    # One px more on each side, so that what lies beyond the box is seen.
    outer = np.pad(fine, 1, constant_values=-1)
    known = np.zeros(outer.shape, np.bool_)
    rows, columns = (slice(max(each.start - 1, 0), each.stop + 1) for each in place)
    part = (tissue.known | rim)[rows, columns]
    y0, x0 = rows.start - place[0].start + 1, columns.start - place[1].start + 1
    known[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]] = part
    ring = known & (outer < 0) & (cv2.dilate((outer >= 0).astype(np.uint8), CROSS) > 0)
    step = np.zeros((*outer.shape, 3), np.float32)
    seen = np.zeros(outer.shape, np.float32)
    values = np.pad(exact, ((1, 1), (1, 1), (0, 0))).astype(np.float32)
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        # The pixel inside, its piece, and what that piece shows in the place of the one outside.
        inside = np.roll(outer, (down, right), (0, 1))
        y, x = np.nonzero(ring & (inside >= 0))
        number = inside[y, x]
        for piece in np.unique(number):
            at = number == piece
            ty, tx = y[at] + place[0].start - 1, x[at] + place[1].start - 1
            sy, sx, possible = sources(pieces[piece], ty, tx, tissue.clean)
            iy, ix, _ = sources(pieces[piece], ty - down, tx - right, tissue.clean)
            copied = tissue.pixels[sy, sx].astype(np.float32) - tissue.pixels[iy, ix]
            shown = values[y[at] - down, x[at] - right] + np.where(possible[:, None], copied, 0)
            step[y[at], x[at]] += tissue.pixels[ty, tx] - shown
            seen[y[at], x[at]] += 1
    mean = step / np.maximum(seen, 1)[..., None]
    at = (seen > 0).astype(np.float32)
    # Beside a rim of the artifact a large step is to be seen, and a small one is tissue's.
    levels = np.abs(mean).max(2, keepdims=True) / np.iinfo(exact.dtype).max
    doubtful = np.zeros((*outer.shape, 1), np.bool_)
    doubtful[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1], 0] = rim[rows, columns]
    mean = np.where(doubtful, mean / (1 + (levels / SHIFT) ** 4), mean)
    even, coarser = (averaged(mean.astype(np.float32), at, sigma) for sigma in ALONG)
    even = np.where(cv2.dilate(at, np.ones((3, 3), np.uint8))[..., None] > 0, even, coarser)
    depth = cv2.distanceTransform((outer >= 0).astype(np.uint8), cv2.DIST_L2, 3)
    beside = cv2.distanceTransform((~ring).astype(np.uint8), cv2.DIST_L2, 3)
    depth = np.maximum(depth, beside)
    even *= (np.exp((1 - depth) / FADE) * (depth <= RIM))[..., None]
    size = np.where(seen > 0, levels[..., 0], 0).astype(np.float32)
    size = np.where(outer >= 0, cv2.dilate(size, CROSS), np.float32(0))
    return even[1:-1, 1:-1], size[1:-1, 1:-1]
