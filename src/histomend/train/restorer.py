"""What the trainings share whose networks restore whole fields, and learn from pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.methods.fields import RestoresTiles
from histomend.train.denoiser import DenoiserSubject
from histomend.train.figures import psnr
from histomend.train.loop import Run
from histomend.train.settings import MixedSettings
from histomend.train.sheet import write_sheet
from histomend.train.signals import Signals, crops

HELD_OUT, SHOWN = 16, 8


class Lesson(Protocol):
    """How a network learns from clean crops, and how it restores."""

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the loss on crops (B, C, h, w) in [-1, 1], which are damaged first."""

    def damaged(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return crops as they are to be restored."""

    def restores(self, network: nn.Module) -> RestoresTiles:
        """Return the method with a network."""


def train_restorer(
    subject: DenoiserSubject,
    lesson: Lesson,
    out: Path,
    tiles: Signals,
    settings: MixedSettings,
    *,
    init: str | Path | None,
) -> Path:
    """Train a network and return the folder of the finished model.

    The log has the PSNR of restored held-out crops in dB (`psnr`) and that of the damaged ones
    (`psnr_damaged`), each the mean over crops.

    Parameters
    ----------
    subject : DenoiserSubject
    lesson : Lesson
    out : Path
        Folder of the run.
    tiles : Signals
    settings : MixedSettings
    init : str or Path, optional
        Bundled name or folder to take the first weights from.
    """
    batch, crop = settings.batch, settings.crop
    clean = crops(tiles.held_out, np.random.default_rng([20, 1]), HELD_OUT, crop)
    damaged = lesson.damaged(clean, np.random.default_rng([20, 2]))
    run = Run(out, subject, settings, init=init, compiled=settings.compiled)

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([settings.seed, step, run.accelerator.process_index])
        return lesson.loss(network, crops(tiles.every, rng, batch, crop).to(where), rng), batch

    def validate(run: Run) -> dict[str, float]:
        return compared(run, lesson.restores(run.averaged()), damaged, clean)

    return run.train(loss_at, validate)


def compared(run: Run, restores: RestoresTiles, damaged: Tensor, clean: Tensor) -> dict[str, float]:
    """Return the figures of a method on crops whose truth is known, for the log of its run.

    The first crops are written as a picture into `samples/`: damaged, restored, clean.

    Parameters
    ----------
    damaged, clean : (B, C, h, w) in [-1, 1]

    Returns
    -------
    dict
        PSNR in dB, mean over crops: ``psnr`` of the restored, ``psnr_damaged`` of the damaged ones.
    """
    restored = _restored(restores, damaged.to(run.accelerator.device)).cpu()
    folder = run.out / "samples"
    folder.mkdir(exist_ok=True)
    rows = [part[:SHOWN] for part in (damaged, restored, clean)]
    write_sheet(folder / f"{run.step:07d}.png", rows)
    return {"psnr": psnr(restored, clean), "psnr_damaged": psnr(damaged, clean)}


def _restored(restores: RestoresTiles, damaged: Tensor) -> Tensor:
    """Restore crops, each with noise of its own, a few at a time."""
    found = []
    for first in range(0, len(damaged), 4):
        part = damaged[first : first + 4]
        fields = [NoiseField(first + k) for k in range(len(part))]
        found.append(restores(part, None, NoiseStream(fields, [(0, 0)] * len(part)))[0])
    return torch.cat(found)
