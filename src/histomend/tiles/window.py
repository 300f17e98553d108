"""Sampling one window: from the image's pixels to restored ones, and back into the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from histomend.diffusion.denoiser import Denoises, TiledDenoiser
from histomend.diffusion.loop import State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.path import FixedPath
from histomend.image import Image, Intensity
from histomend.image.pixels import Region
from histomend.models import Model
from histomend.recipes.joined import Joined
from histomend.recipes.regional import Regional
from histomend.recipes.settings import Sampling
from histomend.tiles.plan import Plan, Window
from histomend.tiles.surround import fill_smoothly, is_glass, meet_surround

Trace = Callable[[Window, int, npt.NDArray[np.uint8]], None]


@dataclass(frozen=True)
class Job:
    """Everything decided before the first network call."""

    source: Image
    mask: npt.NDArray[np.bool_]
    model: Model
    sampling: Sampling
    plan: Plan
    notices: tuple[str, ...]


def sample_window(
    job: Job,
    window: Window,
    pixels: npt.NDArray[Any],
    seed: int,
    called: Callable[[], None],
    trace: Trace | None,
) -> tuple[npt.NDArray[np.float32], int]:
    """Return the restored field, (h, w, 3) in [-1, 1] at the image's pixel size, and the NFE."""
    config, device = job.model.config, job.model.device
    x, y, w, h = window.field
    rows, columns = slice(y, y + h), slice(x, x + w)
    values = Intensity.for_dtype(pixels.dtype).encode(pixels[rows, columns])
    hidden = job.mask[rows, columns].copy()
    # Pieces of the same artifact that are finished already are tissue, not artifact.
    for done in _finished(job.plan, window):
        hidden[_inside(done.core, window.field)] = False
    if window.bare:
        # A mask may be drawn too tight: the artifact's rim must not stain the filling.
        return fill_smoothly(values, hidden | ~is_glass(values)), 0
    joins = job.sampling.joins
    if window.work != (w, h):
        # What is masked is nothing to go by, unless it has been filled.
        shown = values if joins else np.where(hidden[..., None], 0, values)
        values = _resized(shown, window.work)
        coverage = _resized(hidden.astype(np.float32), window.work)
        # A partly masked pixel holds some artifact: it is masked.
        hidden = coverage > 1e-3
    space, (high, wide) = job.model.space, hidden.shape
    if space.factor > 1 and not joins:
        # A cell sees beyond its own pixels: what lies under the mask must not leak into others.
        values = fill_smoothly(values, hidden)
    known = torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None].to(device)
    with torch.inference_mode():
        known = space.encode(known)
        mask = space.mask(torch.from_numpy(hidden.astype(np.float32))[None, None].to(device))
    schedule = config.noise_schedule()
    times = job.sampling.times(schedule)
    context = {"context": config.context, "shown": job.sampling.context}
    recipe = (
        Joined(known, mask, schedule, times[0], **context)
        if joins
        else Regional(known, mask, schedule, **context)
    )
    side = config.window // space.factor
    denoiser: Denoises = TiledDenoiser(
        job.model.denoiser, side, side // 4, needed=mask[0, 0].bool().cpu()
    )

    @torch.inference_mode()
    def pictured(x: torch.Tensor) -> torch.Tensor:
        return space.decode(x)[..., :high, :wide]

    def watch(state: State) -> None:
        if state.x0 is not None:
            called()
        if trace is not None:
            trace(window, int(state.step.t_next[0]), to_uint8(pictured(state.x)))

    found = sample(
        denoiser,
        recipe,
        FixedPath(times),
        job.sampling.make_sampler(schedule, config.learned_variance),
        NoiseStream([NoiseField(seed)], [window.origin]),
        schedule,
        callback=watch,
    )
    restored = pictured(found.x)[0].clamp(-1, 1).permute(1, 2, 0).cpu().numpy()
    if space.factor > 1:
        restored = meet_surround(restored, values, hidden)
    if window.work != (w, h):
        restored = _resized(restored, (w, h))
    return restored, int(found.nfe[0])


def write_window(
    job: Job,
    window: Window,
    pixels: npt.NDArray[Any],
    spread: npt.NDArray[np.float32] | None,
    drawn: list[npt.NDArray[np.float32]],
) -> None:
    """Put the first sample into `pixels` and the samples' deviation into `spread`."""
    inner = _inside(window.core, window.field)
    x, y, w, h = window.core
    outer = slice(y, y + h), slice(x, x + w)
    mask = job.mask[outer]
    intensity = Intensity.for_dtype(pixels.dtype)
    pixels[outer][mask] = intensity.decode(drawn[0][inner], pixels.dtype)[mask]
    if spread is not None:
        # Half, as [-1, 1] is twice as wide as the file's range taken as 1.
        deviation = np.std([field[inner] for field in drawn], axis=0, ddof=1).mean(-1) / 2
        spread[outer][mask] = deviation[mask]


def _finished(plan: Plan, window: Window) -> list[Window]:
    """Return the windows that come before `window` in its chain."""
    for chain in plan.chains:
        if window in chain:
            return list(chain[: chain.index(window)])
    return []


def _inside(inner: Region, outer: Region) -> tuple[slice, slice]:
    """Return the place of one rectangle within another, cut to it, as (rows, columns)."""
    left, top = max(inner[0] - outer[0], 0), max(inner[1] - outer[1], 0)
    right, bottom = inner[0] + inner[2] - outer[0], inner[1] + inner[3] - outer[1]
    return slice(top, max(bottom, 0)), slice(left, max(right, 0))


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Return a float field resampled to (w, h): area average down, cubic up."""
    shrinks = size[0] < values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(values, size, interpolation=how), np.float32)


def to_uint8(x: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Return the first image of a batch in [-1, 1] as (H, W, 3) uint8."""
    values = x[0].float().clamp(-1, 1).permute(1, 2, 0).cpu().numpy()
    return np.asarray(Intensity(0, 255).decode(values, np.uint8))
