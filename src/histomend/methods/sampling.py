"""Presets: how methods from noise are sampled."""

from __future__ import annotations

from dataclasses import dataclass, replace

from histomend.diffusion.samplers import Sampler, Variance, ddpm, dpmpp_2m_sde, sampler_named
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import FixedTrajectory, repaint_times
from histomend.methods import METHODS, check_settings
from histomend.models import ModelConfig


@dataclass(frozen=True)
class Sampling:
    """How a method samples that starts from noise.

    Parameters
    ----------
    preset : str
    steps : int
        Denoising steps from pure noise to the clean image, jumps not counted.
    sampler : str
    context : bool
        Show the network the visible pixels and the mask, if it was trained with them.
    variance : "posterior" or "beta"
        Of the sampler `ddpm`, unless the network has learned one.
    extra_noise : float
        Of the sampler `dpmpp_2m_sde`; the others have no use for it.
    jump_length, jumps : int
        RePaint's jumps; a single pass if `jumps` is 1.
    start : float in (0, 1]
        Where the trajectory begins, as a share of the schedule. Below 1 the mask is filled with
        tissue of the same image first, and only a band along its seams is drawn, from this time on.
    """

    preset: str
    steps: int
    sampler: str
    context: bool
    variance: Variance = "posterior"
    extra_noise: float = 0.0
    jump_length: int = 10
    jumps: int = 1
    start: float = 1.0

    @property
    def joins(self) -> bool:
        """Whether the network joins what was copied, and does not draw the mask as a whole."""
        return self.start < 1

    def times(self, schedule: Schedule) -> list[int]:
        """Return the times the trajectory visits."""
        times = schedule.spaced(self.steps, max(round(self.start * schedule.steps), 1))
        return repaint_times(times, self.jump_length, self.jumps) if self.jumps > 1 else times

    def nfe(self, schedule: Schedule) -> int:
        """Return the network calls per sample."""
        return FixedTrajectory(self.times(schedule)).nfe

    def make_sampler(self, schedule: Schedule, learned_variance: bool) -> Sampler:
        """Return the sampler for a model."""
        if self.sampler == "ddpm":
            return ddpm(schedule, "learned" if learned_variance else self.variance)
        if self.sampler == "dpmpp_2m_sde":
            return dpmpp_2m_sde(schedule, self.extra_noise)
        return sampler_named(self.sampler, schedule)


EXEMPLAR = "exemplar"
# What `fast` is of other tasks: of restoring, the model draws all of it.
GENERATE = "generate"
# Ancestral steps of the preset `paper`.
_PAPER_STEPS = {"artifusion": 250, "latent-artifusion": 50, "conditional": 100}
# Start and calls of the preset `exemplar`: less than is usual for such bands, since on training
# tiles 8 calls from 0.6 made seams more conspicuous (docs/results/restoration.md).
JOINING_START, JOINING_STEPS = 0.4, 6


def sampling(
    preset: str, config: ModelConfig, steps: int | None = None, sampler: str | None = None
) -> Sampling:
    """Return the settings of `preset` for a model, with what the user overrides.

    Raises
    ------
    SettingError
        If there is no such preset of the model's method, no such sampler, or the schedule has
        fewer steps.
    """
    check_settings(METHODS[config.method], preset, steps, sampler)
    if preset in (GENERATE, "fast"):
        steps_of = min(config.fast_steps, 10) if config.latent_channels else config.fast_steps
        chosen = Sampling(
            preset, steps_of, config.sampler, context=True, extra_noise=config.extra_noise
        )
    elif preset == EXEMPLAR:
        chosen = Sampling(
            EXEMPLAR,
            JOINING_STEPS,
            config.sampler,
            context=True,
            extra_noise=config.extra_noise,
            start=JOINING_START,
        )
    elif preset == "paper":
        chosen = Sampling(
            "paper",
            min(_PAPER_STEPS[config.method], config.steps),
            "ddpm",
            context=False,
            variance="beta" if config.method == "conditional" else "posterior",
        )
    else:
        chosen = Sampling("author_code", min(250, config.steps), "ddpm", context=False, jumps=10)
    if steps is not None:
        chosen = replace(chosen, steps=steps)
    if sampler is not None:
        chosen = replace(chosen, sampler=sampler)
    chosen.times(config.noise_schedule())
    return chosen
