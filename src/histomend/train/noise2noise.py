"""Training of Noise2Noise on synthetic noise, a baseline of RSCD."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.baselines.noise2noise import without_noise
from histomend.diffusion.device import torch_device
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.recipes.whole_field import ByNoise2Noise
from histomend.train.denoiser import DenoiserSubject, checked
from histomend.train.loop import Budget, Optimiser
from histomend.train.pairs import noisy_twice
from histomend.train.restorer import train_restorer
from histomend.train.signals import open_signals


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

    def restores(self, network: nn.Module) -> ByNoise2Noise:
        """Return the method with a network."""
        return ByNoise2Noise(network)


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small",
    channels: int = 3,
    validation: Path | None = None,
    extra: Path | None = None,
    extra_share: float = 0.08,
    init: str | Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int = 8,
    crop: int = 128,
    lr: float = 3e-4,
    ema: float = 0.9995,
    cooldown: float = 0.0,
    mpp: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    compiled: bool = False,
    save_minutes: float = 5,
    validate_minutes: float = 10,
    shard_mb: float | None = None,
    cache: Path | None = None,
    report: Callable[[int, float, float, float], None] | None = None,
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

    The other parameters are those of `histomend.train.artifusion.train`.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or a number of channels that does not exist.
    """
    where = torch_device(device)
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
        validation,
        extra,
        extra_share,
        out.parent / "cache" if cache is None else cache,
        channels=channels,
        best_share=1.0,
        crop=crop,
        device=where,
    )
    shard_bytes = None if shard_mb is None else int(shard_mb * 1e6)
    return train_restorer(
        DenoiserSubject(config, shard_bytes),
        NoisyPairs(),
        out,
        tiles,
        Optimiser(lr=lr, ema=ema, cooldown=cooldown),
        Budget(minutes, steps, save_minutes, validate_minutes),
        batch=batch,
        crop=crop,
        seed=seed,
        init=init,
        resume=resume,
        device=where,
        compiled=compiled,
        report=report,
    )
