"""The median of each neighbourhood, as a method of whole fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from histomend.baselines.denoising import SIDE_PX, median_blur
from histomend.diffusion.noise import NoiseStream
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.fields import decide_field
from histomend.slides.source import ArraySource


@dataclass(frozen=True)
class MedianFilter:
    """The median of each neighbourhood."""

    calibrate: None = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Blur, without any network."""
        pixels = ((x + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        blurred = torch.from_numpy(median_blur(pixels)).permute(0, 3, 1, 2).to(x)
        return 2 * blurred - 1, torch.zeros(len(x), dtype=torch.int64)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Blur, without any network."""
    return decide_field(source, model, options, MedianFilter(), {"side_px": SIDE_PX})
