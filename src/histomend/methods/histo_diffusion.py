"""Histo-Diffusion's second stage: diffusion in the latent, steered by the cleaned image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition, TiledDenoiser
from histomend.diffusion.loop import Recipe, State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.samplers import Sampler
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.errors import SettingError
from histomend.image import Intensity
from histomend.jobs.job import Job, Mask, Options, Outcome, Pixels, Tick, UpscaleOptions
from histomend.methods import METHODS, check_settings
from histomend.methods.colour import (
    HALO,
    adain_fixed,
    keep_between_pixels,
    moments,
    wavelet_fixed,
)
from histomend.methods.enlarging import (
    TileStage,
    WholeStage,
    as_array,
    as_tensor,
    cleaned_tiles,
    cleaning,
    decide_enlarged,
    enlarged,
    size_notices,
)
from histomend.methods.sampling import Sampling
from histomend.models.upscaler import Upscaler, UpscalerConfig
from histomend.slides.source import ArraySource

# The paper fixes colours as DiffBIR does.
PRESET_COLOURS = {"fast": "difference", "paper": "wavelet"}
PAPER_STEPS, MOST_FAST_STEPS = 50, 10
# Fields are padded to a multiple of so many px, as Stable Diffusion's U-Net needs (the paper's
# Fig. 9); by reflection, as zeros would be a black border that the diffusion sees.
UNIT = 64
# Windows in one network call, a constant of the result (`TiledDenoiser`).
WINDOWS = 4
# Rows that are given their colours at once.
BAND = 256
NO_CONTROL = (
    "There is no control latent without diffusion. Leave --control-out away, or use "
    "histo-diffusion with a generation above 0."
)


class HistoDiffusion(Recipe):
    """Start from noise, or from the control noised to a t; the control steers every call.

    Parameters
    ----------
    control : (B, C, h, w)
        Latent of the cleaned image (c_RM, section 3.2).
    t : int
        Where to start; the schedule's last is pure noise, drawn directly in the latent. Before
        that what the control shows more strongly than the noise of t stays.
    schedule : Schedule
    """

    def __init__(self, control: Tensor, t: int, schedule: Schedule):
        self.control, self.t, self.schedule = control, t, schedule
        self.condition = Condition(control)

    def start(self, noise: NoiseStream) -> Tensor:
        """Return pure noise, or the control noised to t."""
        eps = noise.draw(self.control)
        if self.t == self.schedule.steps:
            return eps
        return self.schedule.noised(self.control, torch.full((len(eps),), self.t), eps)


def controlled_sampling(
    preset: str,
    config: UpscalerConfig,
    schedule: Schedule,
    steps: int | None = None,
    sampler: str | None = None,
) -> Sampling:
    """Return the settings of `preset` for an upscaler, with what the user overrides.

    Raises
    ------
    SettingError
        There is no such preset or sampler, or the schedule has fewer steps.
    """
    check_settings(METHODS["histo-diffusion"], preset, steps, sampler)
    if preset == "fast":
        chosen = Sampling(
            "fast",
            min(config.fast_steps, MOST_FAST_STEPS),
            config.sampler,
            context=False,
            extra_noise=config.extra_noise,
        )
    else:
        chosen = Sampling("paper", min(PAPER_STEPS, schedule.steps), "ddpm", context=False)
    chosen = replace(chosen, steps=steps or chosen.steps, sampler=sampler or chosen.sampler)
    schedule.spaced(chosen.steps)
    return chosen


def times_for(generation: float, sampling: Sampling, schedule: Schedule) -> list[int]:
    """Return the times that a share of the whole generation visits.

    Parameters
    ----------
    generation : float in (0, 1]
        The path starts at this share of the schedule's times, with as large a share of the
        steps (rounded up).
    """
    start = max(1, round(generation * schedule.steps))
    return schedule.spaced(min(start, math.ceil(generation * sampling.steps)), start)


@dataclass(frozen=True)
class Steering:
    """How the diffusion of an upscaler runs.

    Parameters
    ----------
    times : list of int
        From where it starts to 0.
    sampler : Sampler
    colour : of `histomend.methods.colour.COLOUR_FIXES`
    grid : (height, width)
        Pixels of the source.
    gain : float
        By what a difference is multiplied.
    seed : int
    keep_control : bool
    """

    times: list[int]
    sampler: Sampler
    colour: str
    grid: tuple[int, int]
    gain: float
    seed: int
    keep_control: bool


@torch.inference_mode()
def steered(
    image: Pixels, model: Upscaler, steering: Steering, tick: Tick
) -> tuple[Pixels, Pixels | None]:
    """Return what the diffusion makes of a cleaned image, and the decoded control if it is kept.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16
    tick : called after each step
    """
    intensity = Intensity.for_dtype(image.dtype)
    height, width = image.shape[:2]
    control = model.space.encode(_padded(image, intensity).to(model.device))
    kept = None
    if steering.keep_control:
        shown = model.space.decode(control)[0, :, :height, :width]
        kept = np.empty_like(image)
        for rows in _bands(height):
            kept[rows] = intensity.decode(as_array(shown[None, :, rows]), image.dtype)
        del shown
    schedule = model.denoiser.schedule
    side = model.config.window // model.space.factor
    tiled = TiledDenoiser(model.denoiser, side, side // 4, WINDOWS)

    def stepped(_: State) -> None:
        tick()

    x = sample(
        tiled,
        HistoDiffusion(control, steering.times[0], schedule),
        FixedTrajectory(steering.times),
        steering.sampler,
        NoiseStream([NoiseField(steering.seed)], [(0, 0)]),
        schedule,
        stepped,
    ).x
    if steering.colour == "difference":
        # Of a large image the difference is the largest thing held; of 8 bits, half will do.
        held = torch.float16 if image.dtype == np.uint8 else torch.float32
        field = model.space.decode_difference(x, control, held)[0, :, :height, :width]
        keep_between_pixels(field, steering.grid)
        field *= steering.gain
    else:
        field = model.space.decode(x)[0, :, :height, :width]
    out = np.empty_like(image)
    for rows, band in _coloured(field, image, intensity, steering.colour):
        out[rows] = intensity.decode(as_array(band[None]), image.dtype)
    return out, kept


def _padded(image: Pixels, intensity: Intensity) -> Tensor:
    """Return an image as (1, 3, H, W) in [-1, 1], with sides that are multiples of `UNIT`.

    It is padded in the numbers of its file, and filled in by bands: of a large one a second
    floating-point copy would not fit.
    """
    after = [(0, -side % UNIT) for side in image.shape[:2]]
    wide = np.pad(image, [*after, (0, 0)], mode="reflect")
    out = torch.empty(1, wide.shape[2], *wide.shape[:2])
    for rows in _bands(len(wide)):
        out[:, :, rows] = as_tensor(intensity.encode(wide[rows]))
    return out


def _coloured(
    field: Tensor, image: Pixels, intensity: Intensity, colour: str
) -> Iterator[tuple[slice, Tensor]]:
    """Yield a decoded field, or a difference, (3, H, W) band by band with the image's colours."""
    height = field.shape[1]

    def reference(rows: slice) -> Tensor:
        return as_tensor(intensity.encode(image[rows]))[0].to(field.device)

    if colour == "adain":
        own = moments(field[:, rows] for rows in _bands(height))
        wanted = moments(reference(rows) for rows in _bands(height))
    for rows in _bands(height):
        if colour == "wavelet":
            wide = slice(max(0, rows.start - HALO), min(height, rows.stop + HALO))
            fixed = wavelet_fixed(field[None, :, wide], reference(wide)[None])[0]
            yield rows, fixed[:, rows.start - wide.start : rows.stop - wide.start]
        elif colour == "difference":
            yield rows, reference(rows) + field[:, rows]
        elif colour == "adain":
            yield rows, adain_fixed(field[:, rows], own, wanted)
        else:
            yield rows, field[:, rows]


def _bands(height: int) -> list[slice]:
    return [slice(top, min(top + BAND, height)) for top in range(0, height, BAND)]


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Clean the enlarged image in tiles; let its latent steer a diffusion of the whole field.

    Raises
    ------
    SettingError
        The generation is no share, or the control is to be kept where there is none.
    """
    if not isinstance(options, UpscaleOptions):
        raise SettingError("histo-diffusion enlarges: name a scale.")
    generation, schedule = options.generation, model.denoiser.schedule
    chosen = controlled_sampling(
        options.preset, model.config, schedule, options.steps, options.sampler
    )
    times = times_for(generation, chosen, schedule) if generation else []
    if options.keep_control and not times:
        raise SettingError(NO_CONTROL)
    colour = options.colour or PRESET_COLOURS[options.preset]
    config, calls = model.config, max(0, len(times) - 1)
    mpp = None if source.mpp is None else source.mpp / options.scale
    steering = Steering(
        times,
        chosen.make_sampler(schedule, learned_variance=False),
        colour,
        (source.height, source.width),
        config.gain,
        options.seed,
        options.keep_control,
    )

    def clean(_: Any) -> TileStage:
        larger = enlarged(source, options.size)
        return cleaning(larger, model.restoration, model.device, last=not times)

    def diffuse(cleaned: ArraySource) -> WholeStage:
        def work(image: Pixels, tick: Tick) -> tuple[Pixels, Outcome]:
            pixels, control = steered(image, model, steering, tick)
            return pixels, Outcome(FixedTrajectory(times).nfe, control=control)

        return WholeStage(cleaned, work)

    return decide_enlarged(
        source,
        options,
        (clean, diffuse) if times else (clean,),
        parts=cleaned_tiles(options.size) + calls,
        units=cleaned_tiles(options.size) + bool(times),
        device=model.device,
        nfe=FixedTrajectory(times).nfe if times else 0,
        model=model.record(),
        settings={
            "times": times,
            "sampler": chosen.sampler,
            "generation": generation,
            "colour": colour,
            "gain": config.gain if colour == "difference" else None,
            "window": config.window,
        },
        notices=size_notices(mpp, config.mpp),
    )
