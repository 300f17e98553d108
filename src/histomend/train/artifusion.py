"""Training of ArtiFusion's denoiser, on artifact-free images only (section 2)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.device import torch_device
from histomend.models import ModelConfig
from histomend.networks.build import arch_named
from histomend.train.data import Mixed, Tiles, open_sources
from histomend.train.data import batch as drawn
from histomend.train.denoiser import (
    HELD_OUT,
    DenoiserSubject,
    HeldOut,
    checked,
    tensors,
    train_denoiser,
)
from histomend.train.settings import ARTIFUSION, MixedOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small-unet",
    init: str | Path | None = None,
    prediction: PredictionType = "x0",
    schedule: str = "cosine",
    context: bool = True,
    unconditional: float = 0.2,
    mpp: float = 0.5,
    shard_mb: float | None = None,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a denoiser and return the folder of the finished model.

    Parameters
    ----------
    data : Path
        Folder of artifact-free RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Size of the network (`histomend presets artifusion`).
    init : str or Path, optional
        Bundled name or folder to take the first weights from; it must be of the same arch,
        prediction, schedule and context.
    context : bool
        Show the network the visible pixels and the mask as four more channels.
    unconditional : float
        Share of samples without context, which keeps the paper's unconditional use.
    shard_mb : float, optional
        Largest size of one weight file.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `ARTIFUSION` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or schedule that does not exist, or a pixel size that is not positive.
    """
    settings = replace(ARTIFUSION, **options)
    where, crop = torch_device(settings.device), settings.crop
    config = checked(
        ModelConfig(
            method="artifusion",
            arch=arch,
            prediction=prediction,
            schedule=schedule,
            mpp=mpp,
            context=context,
            learned_variance=arch_named(arch).learned_variance and prediction == "epsilon",
        ),
        init,
    )
    cache = settings.cache_of(out)
    tiles = open_sources(data, settings.validation, settings.extra, cache, crop=crop, device=where)
    crops = Mixed(tiles.main, tiles.further, settings.extra_share)

    def draw(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        return drawn(crops, rng, count, crop, share)

    return train_denoiser(
        DenoiserSubject(config, None if shard_mb is None else int(shard_mb * 1e6)),
        out,
        draw,
        _held_out(tiles.held_out, crop, 0.0 if config.context else 1.0, where),
        settings,
        unconditional=unconditional,
        init=init,
    )


def _held_out(tiles: Tiles, crop: int, share: float, device: torch.device) -> HeldOut:
    """Return always the same crops, shown damaged, restored and as they are."""
    x0, mask = tensors(drawn(tiles, np.random.default_rng([20, 1]), HELD_OUT, crop, share), device)

    def rows(restored: Tensor) -> list[Tensor]:
        truth = x0[: len(restored)]
        return [truth * (1 - mask[: len(restored)]), restored, truth]

    return HeldOut(x0, mask, rows)
