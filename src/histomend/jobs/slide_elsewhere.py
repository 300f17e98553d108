"""Tissue from further away on a slide, for holes around which there is too little."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import UnreadableImageError
from histomend.exemplar.sheet import Field
from histomend.exemplar.tissue import Floats, Mask, glass
from histomend.image.depth import eight_bit
from histomend.image.pixels import Region
from histomend.jobs.slide_job import SlideJob
from histomend.slides.whole import Slide
from histomend.tiles.slide_plan import REACH_UM, USUAL_MPP, SlidePart

# What a place looks like is seen at about this pixel size; how many places are looked at, the
# nearest first, and how many are taken.
_LOOK_UM = 4.0
_LOOKED_AT, _TAKEN = 400, 3
_MOST_SIDE_PX = 1024
# Of a place, at least so much is tissue, and at most so much of it masked.
_TISSUE, _MASKED = 0.3, 0.1
# Around the masked pixels, tissue up to so far away is what a place should look like.
_RING_UM = 200.0
# What lies around is tissue if there are so many pixels of it to look at.
_FEW = 16


def find_elsewhere(job: SlideJob, slide: Slide, part: SlidePart) -> tuple[Field, ...]:
    """Return places of the slide, outside of what is read for a part, that look like its tissue.

    Parameters
    ----------
    part : SlidePart

    Returns
    -------
    tuple of Field
        At most three, the most alike first; clean is what is not masked. None if the slide has no
        tissue elsewhere.

    Raises
    ------
    UnreadableImageError
        What lies around the part cannot be read. Places that cannot be read are left out.
    """
    mpp = slide.about.mpp or USUAL_MPP
    side = min(math.ceil(REACH_UM / mpp), _MOST_SIDE_PX, *slide.size)
    wanted = _looks_around(job, slide, part, mpp)
    found = []
    for number, region in enumerate(_nearest(slide.size, part, side)[:_LOOKED_AT]):
        masked = job.mask.may_touch(region) and float(job.mask.read(region).mean()) > _MASKED
        if masked:
            continue
        try:
            seen = _overview(slide, region, mpp)
        except UnreadableImageError:
            continue
        tissue = ~glass(seen, 1)
        if tissue.mean() < _TISSUE:
            continue
        unlike = float(np.square(_looks(seen, tissue) - wanted).sum() + 1 - tissue.mean())
        found.append((unlike, number, region))
    fields = []
    taken: list[Region] = []
    for _, _, region in sorted(found):
        # Places overlap, so that tissue of any position is met.
        if any(max(abs(region[0] - x), abs(region[1] - y)) < side for x, y, _, _ in taken):
            continue
        try:
            pixels = slide.part(region).pixels
        except UnreadableImageError:
            continue
        corner = region[0] - part.region[0], region[1] - part.region[1]
        fields.append(Field(pixels, ~job.mask.read(region), corner))
        taken.append(region)
        if len(taken) == _TAKEN:
            break
    return tuple(fields)


def _looks_around(job: SlideJob, slide: Slide, part: SlidePart, mpp: float) -> Floats:
    """Return what the tissue around the masked pixels of a part looks like."""
    seen = _overview(slide, part.region, mpp)
    high, wide = seen.shape[:2]
    mask = job.mask.read(part.region).astype(np.float32)
    hidden = cv2.resize(mask, (wide, high), interpolation=cv2.INTER_AREA) > 0
    tissue = ~hidden & ~glass(seen, 1)
    distance = cv2.distanceTransform((~hidden).astype(np.uint8), cv2.DIST_L2, 3)
    near = tissue & (distance * part.region[2] * mpp / wide <= _RING_UM)
    for where in (near, tissue, ~hidden):
        if np.count_nonzero(where) >= _FEW:
            return _looks(seen, where)
    return _looks(seen, np.ones_like(hidden))


def _looks(pixels: npt.NDArray[np.uint8], where: Mask) -> Floats:
    """Return mean and spread of CIELAB, (6,), in units of which each counts alike."""
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2Lab)[where].astype(np.float32)
    return np.concatenate([lab.mean(0), lab.std(0)]) / np.float32(10)


def _overview(slide: Slide, region: Region, mpp: float) -> npt.NDArray[np.uint8]:
    """Return a region at about `_LOOK_UM`, (h, w, 3)."""
    level = slide.level_for(_LOOK_UM)
    factor = slide.reader.factors[level]
    width, height = slide.reader.levels[level]
    x, y = min(int(region[0] / factor), width - 1), min(int(region[1] / factor), height - 1)
    w = max(1, min(round(region[2] / factor), width - x))
    h = max(1, min(round(region[3] / factor), height - y))
    pixels = eight_bit(slide.reader.read((x, y, w, h), level))
    step = _LOOK_UM / (mpp * factor)
    size = max(1, round(w / step)), max(1, round(h / step))
    if size[0] > w or size[1] > h:
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def _nearest(size: tuple[int, int], part: SlidePart, side: int) -> list[Region]:
    """Return the squares of a grid on the slide that are not read for a part, nearest first."""
    x, y, w, h = part.region
    stride = max(1, side // 2)
    columns, rows = ((length - side) // stride + 1 for length in size)
    row, column = (each.ravel() for each in np.mgrid[:rows, :columns])
    left, top = column * stride, row * stride
    outside = (left >= x + w) | (left + side <= x) | (top >= y + h) | (top + side <= y)
    cx, cy, cw, ch = part.core
    away = np.hypot(left + side / 2 - cx - cw / 2, top + side / 2 - cy - ch / 2)
    order = np.argsort(np.where(outside, away, np.inf), kind="stable")
    order = order[: np.count_nonzero(outside)]
    return [(int(left[k]), int(top[k]), side, side) for k in order]
