"""Degradations for super-resolution: two blind pipelines, and a scanner with larger pixels.

A pipeline draws a plan for each image from the image's own seed, so that the same seed gives the
same result whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from histomend.damage.pipelines import AnyOf, CodeFormer, Pipeline, RealEsrgan, Scanner
from histomend.damage.steps import Plan, carried_out
from histomend.errors import ImageSizeError, SettingError, UnsupportedImageError

SMALLEST_PX = 32

PIPELINES: dict[str, Pipeline] = {
    "codeformer": CodeFormer(),
    "real-esrgan": RealEsrgan(),
    "scanner": Scanner(),
    "mixed": AnyOf((CodeFormer(), RealEsrgan(), Scanner())),
}


@dataclass(frozen=True)
class DegradedBatch:
    """Degraded images and what was done to each.

    Attributes
    ----------
    images : (B, 3, H, W) float32
        On the 256 levels of an 8-bit file, in [0, 1].
    plans : one per image
    """

    images: Tensor
    plans: tuple[Plan, ...]

    def record(self, index: int) -> str:
        """Return what was done to an image, in words."""
        return "; ".join(map(str, self.plans[index]))


def pipeline_named(name: str) -> Pipeline:
    """Return the pipeline of this name.

    Raises
    ------
    SettingError
        If there is none.
    """
    if name not in PIPELINES:
        raise SettingError(f"No degradation is called {name!r}. There are {', '.join(PIPELINES)}.")
    return PIPELINES[name]


@torch.no_grad()
def degrade_batch(images: Tensor, seeds: Sequence[int], pipeline: Pipeline) -> DegradedBatch:
    """Degrade a batch of images.

    Parameters
    ----------
    images : (B, 3, H, W) float32 in [0, 1], at least 32 px a side
    seeds : one per image, not negative
    pipeline : Pipeline
        One that gives all images of a batch the same size, as all in `PIPELINES` do.

    Raises
    ------
    UnsupportedImageError
        The images are no such tensor.
    ImageSizeError
        A side is shorter than 32 px.
    SettingError
        There is not one seed per image, or one is negative.
    """
    if images.ndim != 4 or images.shape[1] != 3 or images.dtype != torch.float32:
        raise UnsupportedImageError(
            f"Images (B, 3, H, W) in float32 can be degraded, not {images.dtype} of shape "
            f"{tuple(images.shape)}. Divide 8-bit values by 255, and put channels second."
        )
    height, width = images.shape[-2:]
    if min(height, width) < SMALLEST_PX:
        raise ImageSizeError(
            f"The images are {width}x{height} px; at least {SMALLEST_PX} px a side can be degraded."
        )
    if len(seeds) != len(images) or min(seeds, default=0) < 0:
        raise SettingError(
            f"{len(images)} images need as many seeds, none negative, not {list(seeds)}."
        )
    rngs = [np.random.default_rng(seed) for seed in seeds]
    plans = tuple(pipeline.draw(rng, height, width) for rng in rngs)
    done = torch.stack(carried_out(list(images), plans, rngs))
    return DegradedBatch((done.clamp(0, 1) * 255).round() / 255, plans)
