"""Conditional diffusion: x starts from noise, and the network sees the image beside it.

As in SR3 (Saharia et al. 2023, "Image super-resolution via iterative refinement"). The network is
one of its own, trained on pairs of degraded and clean images.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from histomend.diffusion.denoiser import Condition, Denoiser
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import DiffusionRestorer, decide_field
from histomend.methods.sampling import Sampling, sampling
from histomend.slides.source import ArraySource


class Conditional(Recipe):
    """Start from pure noise; the image is known to the network alone.

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    """

    def __init__(self, image: Tensor):
        self.image = image
        self.condition = Condition(image)

    def start(self, noise: NoiseStream) -> Tensor:
        """Return pure noise."""
        return noise.draw(self.image)


def by_condition(denoiser: Denoiser, sampling: Sampling) -> DiffusionRestorer:
    """Return conditional diffusion, which starts from pure noise whatever the image is.

    Parameters
    ----------
    denoiser : Denoiser
        Of a model of "conditional", which is shown the image beside x.
    """
    schedule = denoiser.schedule
    return DiffusionRestorer(
        denoiser,
        schedule,
        sampling.make_sampler(schedule, learned_variance=False),
        recipe=lambda x, _: Conditional(x),
        trajectory=lambda _: FixedTrajectory(sampling.times(schedule)),
    )


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Draw each tile from noise, its own noise being the same where tiles overlap.

    Raises
    ------
    SettingError
    """
    chosen = sampling(options.preset, model.config, options.steps, options.sampler)
    settings = {"sampler": chosen.sampler, "steps": chosen.steps}
    restores = by_condition(model.denoiser, chosen)
    return decide_field(source, model, options, restores, settings)
