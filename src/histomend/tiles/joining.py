"""Restoring with tissue of the same image: fill, draw what could not be filled, join the seams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.diffusion.noise import further_seed
from histomend.exemplar.fill import fill
from histomend.exemplar.provenance import Provenance
from histomend.recipes.joined import BAND_PX, band
from histomend.recipes.settings import sampling
from histomend.tiles.plan import Window, make_plan
from histomend.tiles.run import run_plan
from histomend.tiles.surround import mark_bare
from histomend.tiles.window import Job, Trace, sample_window, write_window

Mask = npt.NDArray[np.bool_]

COPIED_NOTICE = (
    "The restored parts are copies of tissue from elsewhere in this image, joined by the model. "
    "They are no evidence of what lay there: nuclei in them are copies, and must not be counted."
)


@dataclass(frozen=True)
class Joined:
    """An image restored with its own tissue.

    Parameters
    ----------
    pixels : (H, W, 3) of the type of the source
    provenance : Provenance
    nfe : int
    notices : tuple of str
    """

    pixels: npt.NDArray[Any]
    provenance: Provenance
    nfe: int
    notices: tuple[str, ...]


def join(
    job: Job,
    seed: int,
    *,
    batch: int,
    called: Callable[[], None],
    trace: Trace | None = None,
) -> Joined:
    """Fill the mask of a job with tissue of its image, and let the model join it.

    Where no tissue was found, the model draws everything, as the preset `fast` does; then it
    draws a band along all seams again. Windows on bare glass are left as they were filled.
    """
    source, config = job.source, job.model.config
    filling = fill(source.pixels, job.mask, mpp=source.mpp or config.mpp, seed=seed)
    pixels, nfe = filling.pixels, 0
    if filling.missing.any():
        plan = make_plan(filling.missing, config.window, job.plan.scale, config.factor)
        alone = replace(
            job,
            mask=filling.missing,
            sampling=sampling("fast", config),
            plan=mark_bare(plan, pixels, filling.missing),
        )
        nfe += _sampled(alone, pixels, seed, batch, called, trace)
    seams = band(filling.misfits, job.mask & ~filling.missing, BAND_PX / job.plan.scale)
    # One more draw of noise, so that the band does not repeat what was drawn beside it.
    nfe += _sampled(replace(job, mask=seams), pixels, further_seed(seed, -1), batch, called, trace)
    bare = np.zeros_like(seams)
    for window in job.plan.windows:
        if window.bare:
            bare[_place(window)] = True
    drawn = (seams & ~bare) | filling.missing
    return Joined(pixels, filling.provenance.drawn(drawn), nfe, filling.notices)


def deviation(job: Job, samples: list[npt.NDArray[Any]]) -> npt.NDArray[np.float32] | None:
    """Return the samples' standard deviation, as a fraction of the range; None for a single one."""
    if len(samples) < 2:
        return None
    spread = np.zeros(job.mask.shape, np.float32)
    values = np.stack([pixels[job.mask] for pixels in samples]).astype(np.float32)
    highest = np.iinfo(samples[0].dtype).max
    spread[job.mask] = np.std(values, axis=0, ddof=1).mean(-1) / highest
    return spread


def _sampled(
    job: Job,
    pixels: npt.NDArray[Any],
    seed: int,
    batch: int,
    called: Callable[[], None],
    trace: Trace | None,
) -> int:
    """Sample the windows of a job that hold something masked, into `pixels`; return the NFE."""

    def work(window: Window) -> int:
        masked = job.mask[_place(window)].any()
        if not masked or (window.bare and job.sampling.joins):
            return 0
        values, nfe = sample_window(job, window, pixels, seed, called, trace)
        write_window(job, window, pixels, None, [values])
        return nfe

    return run_plan(job.plan, work, device=job.model.device, batch=batch)


def _place(window: Window) -> tuple[slice, slice]:
    x, y, w, h = window.core
    return slice(y, y + h), slice(x, x + w)
