"""CCDF: the image is noised to a fixed t, and keeps its low frequencies on the way back.

Of a noisy image the low frequencies are sure, as noise averages out in them. This method and RRD
(`rrd`) hold on to these after each step; neither asks again how far it has to go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.recalibration import Calibrates, RecalibratingTrajectory
from histomend.diffusion.samplers import sampler_named
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import Step
from histomend.errors import SettingError
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import DiffusionRestorer, always, decide_field
from histomend.methods.rscd import few_calls
from histomend.slides.source import ArraySource

# Where CCDF starts, in a schedule of 1,000 steps; our choice, for weak degradations.
CCDF_T = 100
# Half-width of the low frequencies in cycles per px: structures wider than about 16 px.
CUTOFF = 1 / 32


class CCDF(Recipe):
    """Come-Closer-Diffuse-Faster (Chung et al. 2022): noise the image to t, and go back.

    After each step the low frequencies are exchanged for those of the image, noised to the same
    t: the paper's data consistency, a map that does not stretch (section 3.2).

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    t : (B,)
    schedule : Schedule
    """

    def __init__(self, image: Tensor, t: Tensor, schedule: Schedule):
        self.image = image
        self.t = t.round().long()
        self.schedule = schedule

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the image, noised to t."""
        self._noise = noise
        return self.schedule.noised(self.image, self.t, noise.draw(self.image))

    def after(self, x: Tensor, step: Step) -> Tensor:
        """Exchange the low frequencies."""
        eps = self._noise.draw(x, step.down & (step.t_next > 0))
        wanted = self.schedule.noised(self.image, step.t_next, eps)
        return walking(step, x + low_frequencies(wanted - x), x)


def low_frequencies(x: Tensor, cutoff: float = CUTOFF) -> Tensor:
    """Return x (B, C, H, W) without its fine structure, by a Gaussian mask in Fourier space."""
    height, width = x.shape[-2:]
    down = torch.fft.fftfreq(height, device=x.device)[:, None]
    across = torch.fft.rfftfreq(width, device=x.device)[None, :]
    mask = torch.exp(-(down**2 + across**2) / (2 * cutoff**2))
    return torch.fft.irfft2(torch.fft.rfft2(x) * mask, s=(height, width))


def walking(step: Step, changed: Tensor, x: Tensor) -> Tensor:
    """Return `changed` for the samples that walk in this step; the others rest."""
    return torch.where(step.down.to(x.device).reshape(-1, 1, 1, 1), changed, x)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Noise each tile to the same t, and walk back.

    Raises
    ------
    SettingError
    """
    calibrate = always(min(CCDF_T, model.config.trained_t))
    return decide_reverse(source, model, options, CCDF, calibrate)


def decide_reverse(
    source: ArraySource,
    model: Any,
    options: Options,
    recipe: Callable[[Tensor, Tensor, Schedule], Recipe],
    calibrate: Calibrates,
) -> Job:
    """Return the job of a method with a model of RSCD, of which it needs the denoiser alone.

    Parameters
    ----------
    options : Options
        Its steps are the most network calls, by default as many as t; its sampler is by default
        ancestral, as in both papers.
    """
    schedule, highest = model.config.noise_schedule(), model.config.trained_t
    steps, sampler = options.steps, options.sampler or "ddpm"
    if steps is not None and not 1 <= steps <= highest:
        raise SettingError(f"{steps} steps were asked for, but this model makes 1 to {highest}.")
    plan = few_calls(highest, steps or highest, recalibrations=0)
    restores = DiffusionRestorer(
        model.denoiser,
        schedule,
        sampler_named(sampler, schedule),
        recipe=lambda x, t: recipe(x, t, schedule),
        trajectory=lambda t: RecalibratingTrajectory(calibrate, plan, first=t),
        calibrate=calibrate,
    )
    return decide_field(source, model, options, restores, {"steps": steps, "sampler": sampler})
