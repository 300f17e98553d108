"""Training of conditional diffusion, a baseline of RSCD that needs pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.methods.conditional import by_condition
from histomend.methods.fields import DiffusionRestorer
from histomend.methods.rscd import CALLS
from histomend.methods.sampling import sampling
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.denoiser import DenoiserSubject, checked
from histomend.train.objective import loss as denoising_loss
from histomend.train.pairs import under_tissue
from histomend.train.restorer import train_restorer
from histomend.train.settings import CONDITIONAL, MixedOptions
from histomend.train.signals import open_signals

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class Conditioning:
    """Show the network what is degraded, and let it denoise what is clean."""

    config: ModelConfig

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the error of the prediction at a random t, mean over crops of all t."""
        levels = self.config.noise_schedule()
        shown = self.damaged(clean, rng)
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        t = torch.randint(1, levels.steps + 1, (len(clean),), generator=draws)
        eps = torch.randn(clean.shape, generator=draws).to(clean)
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


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small",
    channels: int = 3,
    init: str | Path | None = None,
    schedule: str = "cosine",
    mpp: float = 0.5,
    shard_mb: float | None = None,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a denoiser that sees the degraded image, and return the folder of the finished model.

    The pairs are clean crops and the same under tissue (`histomend.damage.optical.degrade`) at 0 to
    80 um. The network learns v rather than SR3's epsilon, which says nothing of x0 at the noisy end
    and so needs many steps; T is 1000.

    Parameters
    ----------
    data : Path
        Folder of clean tiles.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Size of the network (`histomend presets conditional`).
    channels : 1, 2 or 3
        See `open_signals`.
    mpp : float
        Pixel size of the tiles in um, on which the blur of the pairs depends.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `CONDITIONAL` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch, a schedule or a number of channels that does not exist.
    PixelSizeError
        If `mpp` is outside 0.05 to 20.
    """
    settings = replace(CONDITIONAL, **options)
    where = torch_device(settings.device)
    arch_named(arch, "conditional")
    config = checked(
        ModelConfig(
            method="conditional",
            arch=arch,
            prediction="v",
            schedule=schedule,
            mpp=mpp,
            channels=channels,
            context=False,
            fast_steps=CALLS,
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
        Conditioning(config),
        out,
        tiles,
        settings,
        init=init,
    )
