"""Training of ArtiFusion's denoiser, on artifact-free images only (section 2)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
from histomend.train.loop import Budget, Optimiser


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small-unet",
    validation: Path | None = None,
    extra: Path | None = None,
    extra_share: float = 0.08,
    init: str | Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int = 8,
    crop: int = 128,
    lr: float = 1e-4,
    ema: float = 0.9999,
    cooldown: float = 0.0,
    prediction: PredictionType = "x0",
    schedule: str = "cosine",
    context: bool = True,
    unconditional: float = 0.2,
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
    """Train a denoiser and return the folder of the finished model.

    Parameters
    ----------
    data : Path
        Folder of artifact-free RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Size of the network (`histomend presets artifusion`).
    validation : Path, optional
        Folder of tiles from other slides; figures and sample grids are made on it.
    extra : Path, optional
        Folder of further tiles, for a share `extra_share` of the crops.
    init : str or Path, optional
        Bundled name or folder to take the first weights from; it must be of the same arch,
        prediction, schedule and context.
    resume : bool
        Go on with the run in `out`.
    minutes, steps : optional
        Time budget of this call; steps of the run in all. Without both it runs until stopped.
    batch, crop : int
        Crops per step and process, and their side in px.
    cooldown : float in [0, 1]
        Last share of the budget, over which the learning rate falls to zero.
    context : bool
        Show the network the visible pixels and the mask as four more channels.
    unconditional : float
        Share of samples without context, which keeps the paper's unconditional use.
    compiled : bool
        Compile the network first, which takes a minute or two and a C++ compiler.
    shard_mb : float, optional
        Largest size of one weight file.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or schedule that does not exist, or a pixel size that is not positive.
    """
    where = torch_device(device)
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
    cache = out.parent / "cache" if cache is None else cache
    tiles = open_sources(data, validation, extra, cache, crop=crop, device=where)
    crops = Mixed(tiles.main, tiles.further, extra_share)

    def draw(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        return drawn(crops, rng, count, crop, share)

    return train_denoiser(
        DenoiserSubject(config, None if shard_mb is None else int(shard_mb * 1e6)),
        out,
        draw,
        _held_out(tiles.held_out, crop, 0.0 if config.context else 1.0, where),
        Optimiser(lr=lr, ema=ema, cooldown=cooldown),
        Budget(minutes, steps, save_minutes, validate_minutes),
        batch=batch,
        unconditional=unconditional,
        seed=seed,
        init=init,
        resume=resume,
        device=where,
        compiled=compiled,
        report=report,
    )


def _held_out(tiles: Tiles, crop: int, share: float, device: torch.device) -> HeldOut:
    """Return always the same crops, shown damaged, restored and as they are."""
    x0, mask = tensors(drawn(tiles, np.random.default_rng([20, 1]), HELD_OUT, crop, share), device)

    def rows(restored: Tensor) -> list[Tensor]:
        truth = x0[: len(restored)]
        return [truth * (1 - mask[: len(restored)]), restored, truth]

    return HeldOut(x0, mask, rows)
