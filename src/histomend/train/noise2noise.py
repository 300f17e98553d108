"""Training of Noise2Noise: on synthetic noise, a baseline of RSCD, or on noisy images alone."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.baselines.noise2noise import without_noise
from histomend.errors import SettingError
from histomend.methods.noise2noise import Noise2NoiseRestorer
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.comparison_options import Noise2NoiseOptions
from histomend.train.denoiser import starting_config
from histomend.train.neighbours import NeighbourLesson, NeighbourPairs
from histomend.train.paired import PairedLesson, paired_lesson
from histomend.train.simulated_pairs import noisy_twice


class NoisyPairs:
    """Let the network predict one noisy image from another of the same scene."""

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the squared error, whose least is at the mean of all noisy images.

        Among noise of all strengths that of the strongest weighs most. The clean crops themselves
        are never compared with.
        """
        first, second = (part.to(clean.device) for part in noisy_twice(clean, rng))
        return F.mse_loss(without_noise(network, first), second)

    def damaged(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return crops with noise."""
        return noisy_twice(clean, rng)[0].to(clean.device)

    def restores(self, network: nn.Module) -> Noise2NoiseRestorer:
        """Return the method with a network."""
        return Noise2NoiseRestorer(network)


def lesson(options: Noise2NoiseOptions) -> PairedLesson:
    """Return the lesson: one noisy crop to be predicted from another of the same scene.

    Of images that are noisy themselves, pixels are predicted from their neighbours.
    """
    arch_named(options.arch, "noise2noise")
    config = ModelConfig(
        method="noise2noise",
        arch=options.arch,
        prediction="epsilon",
        mpp=options.mpp,
        channels=options.channels,
        context=False,
        fast_steps=1,
    )
    config = starting_config(config, options)
    if options.noisy:
        if options.channels == 2:
            raise SettingError(
                "--channels 2 is simulated from clean RGB, so it does not go with --noisy. Train "
                "one channel after the other: --channels 1."
            )
        found = paired_lesson(options, options.channels, config, NeighbourPairs())
        return NeighbourLesson(**vars(found))
    return paired_lesson(options, options.channels, config, NoisyPairs())
