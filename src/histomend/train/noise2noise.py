"""Training of Noise2Noise on synthetic noise, a baseline of RSCD."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.baselines.noise2noise import without_noise
from histomend.diffusion.device import torch_device
from histomend.methods.noise2noise import Noise2NoiseRestorer
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.denoiser import DenoiserSubject, checked
from histomend.train.pairs import noisy_twice
from histomend.train.restorer import train_restorer
from histomend.train.settings import NOISE2NOISE, MixedOptions
from histomend.train.signals import open_signals

if TYPE_CHECKING:
    from typing_extensions import Unpack


class NoisyPairs:
    """Let the network tell one noisy image from another of the same scene."""

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


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small",
    channels: int = 3,
    init: str | Path | None = None,
    mpp: float = 0.5,
    shard_mb: float | None = None,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a network on pairs of noisy images, and return the folder of the finished model.

    RSCD's paper calls the row "synthetic noise" and cites Lehtinen et al. 2018 and Manifold et al.
    2019, without saying which noise. Here it is Poisson-Gaussian, of a strength drawn for each crop
    and even over it, without blur or haze; both images of a pair have it (`noisy_twice`).

    Parameters
    ----------
    data : Path
        Folder of clean tiles.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Size of the network (`histomend presets noise2noise`).
    channels : 1, 2 or 3
        See `open_signals`.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `NOISE2NOISE` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or a number of channels that does not exist.
    """
    settings = replace(NOISE2NOISE, **options)
    where = torch_device(settings.device)
    arch_named(arch, "noise2noise")
    config = checked(
        ModelConfig(
            method="noise2noise",
            arch=arch,
            prediction="epsilon",
            mpp=mpp,
            channels=channels,
            context=False,
            fast_steps=1,
        ),
        init,
    )
    tiles = open_signals(
        data,
        settings.validation,
        settings.extra,
        settings.extra_share,
        settings.cache_of(out),
        channels=channels,
        best_share=1.0,
        crop=settings.crop,
        device=where,
    )
    shard_bytes = None if shard_mb is None else int(shard_mb * 1e6)
    return train_restorer(
        DenoiserSubject(config, shard_bytes),
        NoisyPairs(),
        out,
        tiles,
        settings,
        init=init,
    )
