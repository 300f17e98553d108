"""CycleGAN: one call of the generator that learned without pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from histomend.diffusion.noise import NoiseStream
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import decide_field
from histomend.slides.source import ArraySource


@dataclass(frozen=True)
class CycleGanRestorer:
    """CycleGAN: one call of the generator that restores."""

    network: nn.Module
    calibrate: None = None

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Translate damaged tiles into clean ones."""
        return self.network(x).to(x.dtype), torch.ones(len(x), dtype=torch.int64)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Translate damaged tiles into clean ones."""
    return decide_field(source, model, options, CycleGanRestorer(model.denoiser.network), {})
