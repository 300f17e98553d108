"""A part of a slide is restored as an image like any other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from histomend.exemplar.sheet import Elsewhere
from histomend.image import Image, Intensity
from histomend.jobs.job import Mask, Pixels
from histomend.jobs.progress import Advance
from histomend.jobs.run import execute
from histomend.jobs.slide_elsewhere import find_elsewhere
from histomend.jobs.slide_engine import Earlier, Finished
from histomend.jobs.slide_job import SlideJob
from histomend.ledger.slides import part_report
from histomend.slides.source import ArraySource
from histomend.slides.whole import Slide
from histomend.tiles.seams import bare_notice, fill_smoothly
from histomend.tiles.slide_plan import SlidePart

# Other artifacts are covered with colours of their surroundings, which need no detail.
_COARSE = 8


def read_part(job: SlideJob, slide: Slide, part: SlidePart) -> tuple[Image, Mask]:
    """Read what a part needs.

    Raises
    ------
    UnreadableImageError
    """
    return slide.part(part.region), job.mask.read(part.region)


def work_on_part(job: SlideJob, slide: Slide, part: SlidePart, earlier: Earlier) -> Finished:
    """Read a part and restore it; see `restore_part`."""
    image, mask = read_part(job, slide, part)
    return restore_part(job, part, image, mask, earlier, partial(find_elsewhere, job, slide, part))


def restore_part(
    job: SlideJob,
    part: SlidePart,
    image: Image,
    mask: Mask,
    earlier: Earlier,
    elsewhere: Elsewhere,
    advance: Advance | None = None,
) -> Finished:
    """Restore a part.

    Parameters
    ----------
    image, mask : as `read_part` gives them
    earlier : pixels and mask of its region, or None
        What became of the parts that it comes after.
    elsewhere : function that returns Field, ...
        See `find_elsewhere`.
    advance : function of (parts done, parts in all), optional

    Returns
    -------
    (arrays, report)
        The pixels of its core with their mask, and `histomend.ledger.slides.part_report`.

    Raises
    ------
    ResourceError
    """
    own, done = part.own(mask), part.finished(mask)
    avoid = mask & ~own
    pixels = image.pixels
    if earlier is not None:
        put = done & earlier[1]
        pixels = np.where(put[..., None], earlier[0], pixels)
        done = put
    else:
        done = np.zeros_like(mask)
    pixels = covered(pixels, avoid & ~done)
    source = ArraySource(replace(image, pixels=pixels))
    options = replace(
        job.options,
        seed=part.seed(job.options.seed),
        avoid=avoid if avoid.any() else None,
        elsewhere=elsewhere,
    )
    result = execute(job.decide(source, own, options), progress=advance)
    report = part_report(result.record, part.region)
    # Of all windows of the slide it is said at the end.
    bare = sum(window["bare_glass"] for window in report["windows"])
    own_notice = bare_notice(bare, len(report["windows"]))
    report["notices"] = [text for text in report["notices"] if text != own_notice]
    x, y, w, h = part.core
    left, top = x - part.region[0], y - part.region[1]
    place = np.s_[top : top + h, left : left + w]
    within = own[place]
    kept = np.where(within[..., None], result.pixels[place], 0)
    return {"pixels": kept.astype(image.pixels.dtype), "mask": within}, report


def covered(pixels: Pixels, hidden: Mask) -> Pixels:
    """Return pixels where other artifacts are covered with the colours around them.

    They are neither tissue to be seen by a network nor restored here.
    """
    if not hidden.any():
        return pixels
    intensity = Intensity.for_dtype(pixels.dtype)
    few = np.s_[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
    values = np.asarray(intensity.encode(pixels[few]), np.float32)
    smooth = fill_smoothly(values, hidden[few])
    rows, columns = np.nonzero(hidden)
    there = np.minimum(rows // _COARSE, smooth.shape[0] - 1)
    across = np.minimum(columns // _COARSE, smooth.shape[1] - 1)
    out = pixels.copy()
    out[rows, columns] = intensity.decode(smooth[there, across].clip(-1, 1), pixels.dtype)
    return out
