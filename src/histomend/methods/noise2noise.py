"""Noise2Noise: one call of a network that learned on noisy pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from histomend.baselines.noise2noise import without_noise
from histomend.diffusion.noise import NoiseStream
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import decide_field
from histomend.slides.source import ArraySource


@dataclass(frozen=True)
class Noise2NoiseRestorer:
    """Noise2Noise: one call of its network."""

    network: nn.Module
    calibrate: None = None

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Take away what the network takes for noise."""
        return without_noise(self.network, x), torch.ones(len(x), dtype=torch.int64)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Take away what the network takes for noise, tile by tile."""
    return decide_field(source, model, options, Noise2NoiseRestorer(model.denoiser.network), {})
