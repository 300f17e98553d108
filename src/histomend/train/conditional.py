"""Training of conditional diffusion, a baseline of RSCD that needs pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser
from histomend.methods.conditional import by_condition
from histomend.methods.fields import DiffusionRestorer
from histomend.methods.rscd import CALLS
from histomend.methods.sampling import sampling
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.comparison_options import ConditionalOptions
from histomend.train.denoiser import starting_config
from histomend.train.lesson import drawn_seed
from histomend.train.objective import drawn_noise
from histomend.train.objective import loss as denoising_loss
from histomend.train.paired import PairedLesson, paired_lesson
from histomend.train.simulated_pairs import under_tissue


@dataclass(frozen=True)
class Conditioning:
    """Show the network what is degraded, and let it denoise what is clean."""

    config: ModelConfig

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the error of the prediction at a random t, mean over crops of all t."""
        levels = self.config.noise_schedule()
        shown = self.damaged(clean, rng)
        draws = torch.Generator().manual_seed(drawn_seed(rng))
        t, eps = drawn_noise(clean, levels, draws)
        x = levels.noised(clean, t, eps)
        output = network(torch.cat([x, shown], 1), t.to(clean.device)).float()
        everywhere = torch.ones_like(clean[:, :1])
        kind = self.config.prediction
        return denoising_loss(output, clean, x, eps, t, everywhere, levels, kind)

    def damaged(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return crops as if under tissue."""
        return under_tissue(clean, rng, self.config.mpp).to(clean.device)

    def restores(self, network: nn.Module) -> DiffusionRestorer:
        """Return the preset `fast` with a network."""
        denoiser = Denoiser(network, self.config.noise_schedule(), self.config.prediction)
        return by_condition(denoiser, sampling("fast", self.config))


def lesson(options: ConditionalOptions) -> PairedLesson:
    """Return the lesson: clean crops, denoised beside the same under tissue."""
    arch_named(options.arch, "conditional")
    config = ModelConfig(
        method="conditional",
        arch=options.arch,
        prediction="v",
        schedule=options.schedule,
        mpp=options.mpp,
        channels=options.channels,
        context=False,
        fast_steps=CALLS,
    )
    config = starting_config(config, options)
    return paired_lesson(options, options.channels, config, Conditioning(config))
