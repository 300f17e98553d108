"""Write down what was done to an image, and under a mask what was changed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

import histomend
from histomend.errors import LedgerError
from histomend.image import Image, bands, encode_png, pixels_sha256
from histomend.image.stacks import Stack, original_order
from histomend.ledger.records import NOTE, NOTES, Change, OutputRecord, Record, SourceRecord
from histomend.ledger.schema import plain
from histomend.masks import label_regions

CELL = 16
"""Masked parts whose cells of this many pixels touch are listed as one region."""

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def build_record(
    task: str,
    source: Image | Stack,
    output: Image | Stack,
    *,
    method: str,
    model: dict[str, Any] | None,
    options: dict[str, Any],
    settings: dict[str, Any],
    seed: int,
    nfe: int,
    units: int = 0,
    windows: Sequence[dict[str, Any]] = (),
    figures: dict[str, Any] | None = None,
    mask: Mask | None = None,
    uncertainty: Pixels | None = None,
    notices: Sequence[str] = (),
    provenance: dict[str, Any] | None = None,
) -> Record:
    """Compare source and result, and record what was done.

    Parameters
    ----------
    source, output : Image or Stack
    options, settings, figures : dict
        See `Record`.
    mask : (H, W) bool or None
        Where pixels may differ, all others being equal; None where the whole image was worked on.
    uncertainty : (H, W) float or None
    provenance : dict, optional
        `Provenance.record()` of what was copied from elsewhere in the image.

    Raises
    ------
    LedgerError
        If shapes differ, or a pixel outside the mask was changed: such a restoration is wrong
        and no record should vouch for it.
    """
    changes: tuple[Change, ...] = ()
    if mask is not None:
        if isinstance(source, Stack) or isinstance(output, Stack):
            raise LedgerError("changes under a mask are recorded of pictures, not of stacks")
        _check_restored(source.pixels, output.pixels, mask)
        changes = tuple(
            _change(source, output.pixels, part, box, uncertainty) for part, box in _parts(mask)
        )
        figures = {**(figures or {}), **totals(changes, source.width * source.height, source.mpp)}
    before, after = original_order(source), original_order(output)
    height, width = _sides(source)
    high, wide = _sides(output)
    return Record(
        task=task,
        histomend=histomend.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source=SourceRecord(
            name=source.source.name if source.source else None,
            sha256=source.sha256,
            pixels_sha256=pixels_sha256(before),
            alpha_sha256=None if source.alpha is None else pixels_sha256(source.alpha),
            width=width,
            height=height,
            dtype=before.dtype.name,
            mpp=source.mpp,
            lossy=source.lossy,
            region=source.region,
            axes=source.axes.letters if isinstance(source, Stack) else None,
        ),
        output=OutputRecord(pixels_sha256(after), wide, high, after.dtype.name, output.mpp),
        method=method,
        model=None if model is None else plain(model, "model"),
        options=plain(options, "options"),
        settings=plain(settings, "settings"),
        seed=int(seed),
        nfe=int(nfe),
        units=units,
        windows=tuple(plain(list(windows), "windows")),
        regions=changes,
        figures=plain(figures or {}, "figures"),
        notices=tuple(notices),
        note=NOTES.get(task, NOTE),
        provenance=None if provenance is None else plain(provenance, "provenance"),
    )


def _sides(image: Image | Stack) -> tuple[int, int]:
    values = image.values[0] if isinstance(image, Stack) else image.pixels
    return int(values.shape[0]), int(values.shape[1])


def _check_restored(pixels: Pixels, restored: Pixels, mask: Mask) -> None:
    if restored.shape != pixels.shape or restored.dtype != pixels.dtype:
        raise LedgerError(
            f"restored pixels are {restored.shape} {restored.dtype}, the source is "
            f"{pixels.shape} {pixels.dtype}"
        )
    if mask.shape != pixels.shape[:2] or mask.dtype != np.bool_:
        raise LedgerError(f"the mask is {mask.shape} {mask.dtype}, not bool {pixels.shape[:2]}")
    _check_outside(pixels, restored, mask)


def first_difference(one: Pixels, other: Pixels, mask: Mask | None = None) -> tuple[int, int, int]:
    """Compare two images outside a mask.

    Returns
    -------
    (count, x, y)
        How many pixels differ, and where the first of them is, row by row; (0, -1, -1) if none.
    """
    count, x, y = 0, -1, -1
    for start, stop in bands(one.shape[0], one[:1].size):
        differs = (one[start:stop] != other[start:stop]).any(axis=2)
        if mask is not None:
            differs &= ~mask[start:stop]
        found = int(np.count_nonzero(differs))
        if found and not count:
            row, column = np.argwhere(differs)[0]
            x, y = int(column), int(row) + start
        count += found
    return count, x, y


def _check_outside(source: Pixels, restored: Pixels, mask: Mask) -> None:
    count, x, y = first_difference(source, restored, mask)
    if count:
        raise LedgerError(
            f"{count} pixel(s) outside the mask were changed, the first at x={x}, y={y}. The "
            "restoration is not written; please report this."
        )


def _parts(mask: Mask) -> Iterator[tuple[Mask, tuple[int, int, int, int]]]:
    """Split a mask into regions: the part of the mask in a box, and the box.

    Regions are told apart on a grid of cells, as labels for each pixel of a large image would
    take four times the memory of its mask.
    """
    height, width = mask.shape
    cells = np.zeros((-(-height // CELL), -(-width // CELL)), dtype=bool)
    for row in range(cells.shape[0]):
        line = mask[row * CELL : (row + 1) * CELL].any(axis=0)
        cells[row] = np.logical_or.reduceat(line, np.arange(0, width, CELL))
    labels, boxes = label_regions(cells)
    for number, (x, y, w, h) in enumerate(boxes, start=1):
        inside = labels[y : y + h, x : x + w] == number
        left, top = x * CELL, y * CELL
        part = np.repeat(np.repeat(inside, CELL, axis=0), CELL, axis=1)
        rough = mask[top : top + h * CELL, left : left + w * CELL]
        part = part[: rough.shape[0], : rough.shape[1]] & rough
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        y0, y1, x0, x1 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        yield part[y0:y1, x0:x1], (left + x0, top + y0, x1 - x0, y1 - y0)


def _change(
    source: Image,
    restored: Pixels,
    part: Mask,
    box: tuple[int, int, int, int],
    uncertainty: Pixels | None,
) -> Change:
    x, y, w, h = box
    before = source.pixels[y : y + h, x : x + w]
    after = restored[y : y + h, x : x + w]
    total, unsure = 0, 0.0
    for start, stop in bands(h, w * 3):
        inside = part[start:stop]
        difference = before[start:stop][inside].astype(np.int64) - after[start:stop][inside]
        total += int(np.abs(difference).sum())
        if uncertainty is not None:
            values = uncertainty[y + start : y + stop, x : x + w][inside]
            unsure += float(values.sum(dtype=np.float64))
    area = int(np.count_nonzero(part))

    def rows(start: int, stop: int) -> Pixels:
        return np.where(part[start:stop, :, None], before[start:stop], 0).astype(before.dtype)

    original, outline = io.BytesIO(), io.BytesIO()
    encode_png(original, rows, shape=(h, w, 3), dtype=before.dtype)
    PIL.Image.fromarray(part).save(outline, "PNG")
    return Change(
        bbox=box,
        area_px=area,
        area_um2=_area_um2(area, source.mpp),
        mean_change=total / (3 * area),
        uncertainty=None if uncertainty is None else unsure / area,
        original=base64.b64encode(original.getvalue()).decode("ascii"),
        mask=base64.b64encode(outline.getvalue()).decode("ascii"),
    )


def _area_um2(area_px: int, mpp: float | None) -> float | None:
    return None if mpp is None else round(area_px * mpp * mpp, 3)


def totals(changes: Sequence[Change], pixels: int, mpp: float | None) -> dict[str, Any]:
    """Return the figures of an image of so many pixels that was changed there."""
    area = sum(change.area_px for change in changes)

    def mean(values: list[float | None]) -> float | None:
        if not area or any(value is None for value in values):
            return None
        weighted = zip(values, changes, strict=True)
        return sum((value or 0.0) * change.area_px for value, change in weighted) / area

    return {
        "regions": len(changes),
        "area_px": area,
        "area_um2": _area_um2(area, mpp),
        "share": area / pixels,
        "mean_change": mean([change.mean_change for change in changes]),
        "uncertainty": mean([change.uncertainty for change in changes]),
    }
