"""Deep Image Prior: a network is fitted to each tile, but not to the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from histomend.baselines.deep_image_prior import ENTRY, DeepImagePrior, fresh_prior
from histomend.diffusion.noise import NoiseStream
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import decide_field
from histomend.slides.source import ArraySource


@dataclass(frozen=True)
class DeepImagePriorFit:
    """Deep Image Prior, fitted tile by tile."""

    prior: DeepImagePrior
    seed: int
    calibrate: None = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Fit a network to each tile; a step of the fit counts as a call."""
        entry = noise.draw(x.new_zeros(len(x), ENTRY, *x.shape[2:]))
        fitted = [self.prior(tile, start, self.seed) for tile, start in zip(x, entry, strict=True)]
        return torch.stack(fitted), torch.full((len(x),), self.prior.steps)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Fit a network to each tile."""
    prior = fresh_prior(source.channels, options.seed, options.steps)
    restores = DeepImagePriorFit(prior, options.seed)
    return decide_field(source, None, options, restores, {"steps": prior.steps})
