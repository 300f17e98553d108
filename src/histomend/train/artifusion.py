"""Training of ArtiFusion's denoiser, on artifact-free images only (section 2)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.device import torch_device
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.data import Tiles, open_sources
from histomend.train.data import batch as drawn
from histomend.train.denoiser import (
    HELD_OUT,
    DenoiserTrainee,
    HeldOut,
    MaskedDenoising,
    starting_config,
    tensors,
)
from histomend.train.options import ArtifusionOptions
from histomend.train.validation import held_out_rng


def lesson(options: ArtifusionOptions) -> MaskedDenoising:
    """Return the lesson: crops under random masks, restored from what lies around them."""
    variance = arch_named(options.arch).learned_variance and options.prediction == "epsilon"
    config = ModelConfig(
        method="artifusion",
        arch=options.arch,
        prediction=options.prediction,
        schedule=options.schedule,
        mpp=options.mpp,
        context=options.context,
        learned_variance=variance,
    )
    config = starting_config(config, options)
    tiles, crop = open_sources(options), options.crop
    mixed = tiles.mixed

    def draw(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        return drawn(mixed, rng, count, crop, share)

    share = 0.0 if config.context else 1.0
    held_out = _held_out(tiles.held_out, crop, share, torch_device(options.device))
    trainee = DenoiserTrainee(config, options.shard_bytes)
    return MaskedDenoising(trainee, draw, held_out, options.batch, options.unconditional)


def _held_out(tiles: Tiles, crop: int, share: float, device: torch.device) -> HeldOut:
    """Return always the same crops, shown damaged, restored and as they are."""
    x0, mask = tensors(drawn(tiles, held_out_rng(), HELD_OUT, crop, share), device)

    def rows(restored: Tensor) -> list[Tensor]:
        truth = x0[: len(restored)]
        return [truth * (1 - mask[: len(restored)]), restored, truth]

    return HeldOut(x0, mask, rows)
