"""Training of RSCD's denoiser, on clean images and on small t only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.recalibration import RecalibratingPath
from histomend.diffusion.samplers import ddim
from histomend.errors import SettingError
from histomend.methods import rscd as method
from histomend.methods.rscd import CALLS, few_calls
from histomend.models import ModelConfig, calibrator_folder, fit_to_calibrator
from histomend.networks.build import arch_named
from histomend.train.denoiser import DenoiserSubject, checked
from histomend.train.figures import psnr
from histomend.train.loop import Run
from histomend.train.settings import RSCD, MixedOptions
from histomend.train.sheet import write_sheet
from histomend.train.signals import crops, open_signals

if TYPE_CHECKING:
    from typing_extensions import Unpack

# The paper's T'. No image of theirs needed more.
HIGHEST_T = 200
LEVELS = (5, 20, 50, 100, 200)
HELD_OUT, SHOWN = 16, 8


def train(
    data: Path,
    out: Path,
    *,
    calibrator: Path | None = None,
    arch: str = "small",
    channels: int = 3,
    init: str | Path | None = None,
    schedule: str = "cosine",
    highest_t: int = HIGHEST_T,
    best_after: int | None = None,
    best_share: float = 0.25,
    mpp: float = 0.5,
    shard_mb: float | None = None,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a denoiser for whole fields and return the folder of the finished model.

    It learns to tell epsilon, with the paper's L1 loss: what is left of an error of epsilon in x0
    vanishes with t, and so a clean image goes through unchanged.

    Parameters
    ----------
    data : Path
        Folder of clean tiles.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    calibrator : Path, optional
        Folder of the calibrator, copied into the model. It may be added to a finished run by
        resuming it.
    arch : str
        Size of the network (`histomend presets rscd`).
    channels : 1, 2 or 3
        See `open_signals`.
    highest_t : int
        Largest t that is trained (the paper's T').
    best_after : int, optional
        From this step on only the best tiles are used (the paper's second phase); they are
        picked automatically (`sharpest`).
    best_share : float in (0, 1]
        Share of the tiles that counts as the best.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `RSCD` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch, a schedule, a number of channels or a t that does not exist.
    ModelMismatchError
        If the calibrator is for other images or another schedule.
    """
    settings = replace(RSCD, **options)
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    arch_named(arch, "rscd")
    config = checked(
        ModelConfig(
            method="rscd",
            arch=arch,
            prediction="epsilon",
            schedule=schedule,
            mpp=mpp,
            channels=channels,
            context=False,
            fast_steps=CALLS,
            highest_t=highest_t,
        ),
        init,
    )
    levels = config.noise_schedule()
    if not 1 <= highest_t <= levels.steps:
        raise SettingError(f"--highest-t is {highest_t}, but must be from 1 to {levels.steps}.")
    beside = None if calibrator is None else calibrator_folder(calibrator)
    if beside is not None:
        config = fit_to_calibrator(config, beside)
    cache = settings.cache_of(out)
    tiles = open_signals(
        data,
        settings.validation,
        settings.extra,
        settings.extra_share,
        cache,
        channels=channels,
        best_share=best_share if best_after is not None else 1.0,
        crop=crop,
        device=where,
    )
    shard_bytes = None if shard_mb is None else int(shard_mb * 1e6)
    run = Run(
        out,
        DenoiserSubject(config, shard_bytes, calibrator=beside),
        settings,
        init=init,
        compiled=settings.compiled,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        key = [settings.seed, step, run.accelerator.process_index]
        source = tiles.best if best_after is not None and step >= best_after else tiles.every
        x0 = crops(source, np.random.default_rng(key), batch, crop).to(where)
        number = int(np.random.default_rng([*key, 1]).integers(2**62))
        draws = torch.Generator().manual_seed(number)
        t = torch.randint(1, highest_t + 1, (batch,), generator=draws)
        eps = torch.randn(x0.shape, generator=draws).to(where)
        found = network(levels.noised(x0, t, eps), t.to(where)).float()
        return F.l1_loss(found, eps), batch

    x0 = crops(tiles.held_out, np.random.default_rng([20, 1]), HELD_OUT, crop).to(where)

    def validate(run: Run) -> dict[str, float]:
        return _validate(run, config, x0)

    return run.train(loss_at, validate)


@torch.no_grad()
def _validate(run: Run, config: ModelConfig, x0: Tensor) -> dict[str, float]:
    """Return the PSNR of what one call takes for x0, by t.

    Also restores the first samples in a few calls and writes them under what they were.
    """
    schedule = config.noise_schedule()
    denoiser = Denoiser(run.averaged(), schedule, config.prediction)
    eps = _streams(len(x0)).draw(x0)
    figures = {}
    for level in LEVELS:
        t = torch.full((len(x0),), min(level, config.trained_t))
        guess = torch.cat(
            [
                denoiser(schedule.noised(*part), part[1]).x0
                for part in zip(x0.split(4), t.split(4), eps.split(4), strict=True)
            ]
        )
        figures[f"psnr_{level}"] = psnr(guess, x0)
    few = slice(0, SHOWN)
    t = torch.linspace(0, config.trained_t, SHOWN).round().long()
    noisy = schedule.noised(x0[few], t, eps[few])
    # Here t is known, so the path asks nobody.
    plan = few_calls(config.trained_t, CALLS, recalibrations=0)
    path = RecalibratingPath(lambda _: t.float(), plan)
    recipe, streams = method.RSCD(noisy), _streams(SHOWN)
    restored = sample(denoiser, recipe, path, ddim(schedule), streams, schedule).x
    folder = run.out / "samples"
    folder.mkdir(exist_ok=True)
    write_sheet(folder / f"{run.step:07d}.png", [noisy, restored, x0[few]])
    return figures


def _streams(count: int) -> NoiseStream:
    return NoiseStream([NoiseField(k) for k in range(count)], [(0, 0)] * count)
