"""What a mask must be, and the regions that it marks."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histomend.errors import MaskError

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]
Box = tuple[int, int, int, int]

EIGHT = np.ones((3, 3), dtype=bool)
"""Diagonal neighbours belong together."""


def check_mask(mask: npt.ArrayLike, shape: tuple[int, int]) -> Mask:
    """Make sure that a mask can be used to restore an image.

    Parameters
    ----------
    mask : (H, W) bool, or numbers that are all 0 or one other value (1 or 255)
    shape : (height, width) of the image

    Returns
    -------
    (H, W) bool

    Raises
    ------
    MaskError
        Other size, neither boolean nor black and white, empty, or everything masked.
    """
    values = np.asarray(mask)
    if values.ndim != 2:
        raise MaskError(
            f"the mask has shape {values.shape}; it needs one value per pixel: {tuple(shape)}"
        )
    check_shape((values.shape[0], values.shape[1]), shape, "the mask")
    if values.dtype != np.bool_:
        if values.dtype.kind not in "uif" or not np.isfinite(values).all():
            raise MaskError(f"the mask holds {values.dtype} or NaN values; use True and False")
        on = values.max()
        if not ((values == 0) | (values == on)).all() or on < 0:
            raise MaskError(
                "the mask holds more than two values. True (or white) is to be restored: "
                "compare it with a threshold first, mask > 127"
            )
        values = values != 0
    if not values.any():
        raise MaskError("the mask is empty: no pixel is marked (white), so nothing is to be done")
    if values.all():
        raise MaskError(
            "the mask covers the whole image, so no tissue is left to restore from. "
            "White is to be restored: is the mask inverted?"
        )
    return values


def share_notice(mask: Mask) -> tuple[str, ...]:
    """Return what to say of a mask over more than half of the image: most likely it is inverted."""
    share = float(np.count_nonzero(mask)) / max(1, mask.size)
    if share <= 0.5:
        return ()
    return (
        f"the mask marks {100 * share:.0f} % of the image. White is to be restored: is the mask "
        "inverted?",
    )


def label_regions(mask: Mask, *, merge_px: int = 0) -> tuple[Labels, list[Box]]:
    """Number the regions of a mask.

    Parameters
    ----------
    mask : (H, W) bool
    merge_px : int
        Parts with fewer than this many pixels between them, along both axes, are one region.

    Returns
    -------
    labels : (H, W) int32
        0 outside, region n of the list has n + 1.
    boxes : list of (x, y, w, h)
    """
    values = np.asarray(mask, dtype=bool)
    labels = np.zeros(values.shape, np.int32)
    box = bounding_box(values)
    if box is None:
        return labels, []
    x, y, w, h = box
    inside = values[y : y + h, x : x + w]
    grown = inside
    if merge_px > 1:
        # Growing every pixel to a square of merge_px joins parts exactly when they are that close.
        grown = np.pad(inside, ((0, merge_px), (0, merge_px)))
        for axis in (0, 1):
            grown = ndimage.maximum_filter1d(
                grown, merge_px, axis=axis, mode="constant", origin=(merge_px - 1) // 2
            )
        grown = grown[:h, :w] | inside
    found, _ = ndimage.label(grown, structure=EIGHT)
    found[~inside] = 0
    labels[y : y + h, x : x + w] = found
    boxes = []
    for slices in ndimage.find_objects(found):
        rows, columns = slices
        boxes.append(
            (
                x + columns.start,
                y + rows.start,
                columns.stop - columns.start,
                rows.stop - rows.start,
            )
        )
    return labels, boxes


def regions(mask: Mask, *, merge_px: int = 0) -> list[Box]:
    """Give the bounding boxes (x, y, w, h) of the regions of a mask, as `label_regions` does.

    Faster than that, and of masks of a slide's size by much.
    """
    values = np.asarray(mask, dtype=bool)
    box = bounding_box(values)
    if box is None:
        return []
    x, y, w, h = box
    grow = max(merge_px, 1) - 1
    # Growing every pixel to the right and down joins parts exactly when they are that close, and
    # makes each box larger by just as much.
    grown = np.zeros((h + grow, w + grow), np.uint8)
    grown[:h, :w] = values[y : y + h, x : x + w]
    for size in ((grow + 1, 1), (1, grow + 1)):
        kernel, anchor = np.ones(size, np.uint8), (size[1] - 1, size[0] - 1)
        grown = np.asarray(
            cv2.dilate(grown, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT), np.uint8
        )
    # The fastest of OpenCV's ways for masks that are mostly empty.
    _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
        grown, 8, cv2.CV_32S, cv2.CCL_BBDT
    )
    first = []
    for number, (left, top, wide, _, _) in enumerate(stats[1:].tolist(), 1):
        row = labels[top, left : left + wide]
        first.append((top, left + int((row == number).argmax()), number))
    boxes = stats[[number for *_, number in sorted(first)], :4] - [0, 0, grow, grow]
    return [(x + a, y + b, c, d) for a, b, c, d in boxes.tolist()]


def bounding_box(mask: Mask) -> Box | None:
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def check_shape(found: tuple[int, int], wanted: tuple[int, int], where: str) -> None:
    if tuple(found) == tuple(wanted):
        return
    hint = "Draw or export it at the size of the image."
    if tuple(found) == tuple(wanted)[::-1]:
        hint = "Width and height look swapped: turn the mask."
    raise MaskError(
        f"{where}: is {found[1]} x {found[0]} px, and the image (or the region to restore) is "
        f"{wanted[1]} x {wanted[0]} px. {hint}"
    )
