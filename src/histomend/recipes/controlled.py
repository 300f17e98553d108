"""Histo-Diffusion's second stage: diffusion in the latent, steered by the cleaned image."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Condition
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.samplers import SAMPLERS
from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError
from histomend.models.upscaler import UpscalerConfig
from histomend.recipes.settings import Sampling

CONTROLLED_PRESETS = {
    "fast": "at most ten calls; the default",
    "paper": "50 ancestral steps, as the paper describes",
}
# The paper fixes colours as DiffBIR does.
PRESET_COLOURS = {"fast": "difference", "paper": "wavelet"}
PAPER_STEPS, MOST_FAST_STEPS = 50, 10


class Controlled(Recipe):
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
    if preset not in CONTROLLED_PRESETS:
        raise SettingError(
            f"No preset of histo-diffusion is called {preset!r}. There are "
            f"{', '.join(CONTROLLED_PRESETS)}."
        )
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
    if sampler is not None and sampler not in SAMPLERS:
        raise SettingError(f"No sampler is called {sampler!r}. There are {', '.join(SAMPLERS)}.")
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
