"""Lessons of pairs: a network learns to restore crops that were damaged on purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from histomend.methods.fields import RestoresTiles
from histomend.models import ModelConfig
from histomend.train.channels import crops, open_channels
from histomend.train.data import Crops
from histomend.train.denoiser import DenoiserTrainee
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.shared_options import DenoiserOptions
from histomend.train.validation import device_of, held_out_rng, noise_streams, psnr

HELD_OUT, SHOWN = 16, 8


class Pairing(Protocol):
    """How a network learns from clean crops, and how it restores."""

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the loss on crops (B, C, h, w) in [-1, 1], which are damaged first."""

    def damaged(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return crops as they are to be restored."""

    def restores(self, network: nn.Module) -> RestoresTiles:
        """Return the method with a network."""


@dataclass
class PairedLesson(Lesson[Tensor]):
    """Pairs made of clean crops.

    Parameters
    ----------
    trainee : DenoiserTrainee
    pairing : Pairing
    source : Crops
    batch, crop : int
    clean, damaged : (B, C, h, w) in [-1, 1]
        Held-out crops, always the same.
    """

    trainee: DenoiserTrainee
    pairing: Pairing
    source: Crops
    batch: int
    crop: int
    clean: Tensor
    damaged: Tensor

    def crops(self, step: Step) -> Tensor:
        """Draw clean crops."""
        return crops(self.source, step.rng, self.batch, self.crop).to(step.device)

    def loss(self, network: nn.Module, crops: Tensor, step: Step) -> Tensor:
        """Return the pairing's loss."""
        return self.pairing.loss(network, crops, step.rng)

    def figures(self, network: nn.Module) -> Figures:
        """Return the PSNRs of restored and of damaged crops."""
        return compared(
            self.pairing.restores(network), self.damaged, self.clean, device_of(network)
        )


def paired_lesson(
    options: DenoiserOptions, channels: int, config: ModelConfig, pairing: Pairing
) -> PairedLesson:
    """Return the lesson of a pairing on the images of a training."""
    tiles = open_channels(options, channels)
    clean = crops(tiles.held_out, held_out_rng(), HELD_OUT, options.crop)
    damaged = pairing.damaged(clean, held_out_rng(2))
    trainee = DenoiserTrainee(config, options.shard_bytes)
    return PairedLesson(trainee, pairing, tiles.every, options.batch, options.crop, clean, damaged)


def compared(
    restores: RestoresTiles, damaged: Tensor, clean: Tensor, device: torch.device
) -> Figures:
    """Return the figures of a method on crops whose truth is known.

    Parameters
    ----------
    damaged, clean : (B, C, h, w) in [-1, 1]
        The first few are shown: damaged, restored, clean.

    Returns
    -------
    Figures
        PSNR in dB, mean over crops: ``psnr`` of the restored, ``psnr_damaged`` of the damaged ones.
    """
    found = []
    for first in range(0, len(damaged), 4):
        part = damaged[first : first + 4].to(device)
        # Each with noise of its own.
        found.append(restores(part, None, noise_streams(len(part), first))[0].cpu())
    restored = torch.cat(found)
    return Figures(
        {"psnr": psnr(restored, clean), "psnr_damaged": psnr(damaged, clean)},
        [part[:SHOWN] for part in (damaged, restored, clean)],
    )
