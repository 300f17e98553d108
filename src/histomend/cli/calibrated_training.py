"""Verbs that train RSCD: calibrator, rscd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import Device, Seed
from histomend.cli.screen import say
from histomend.cli.training import (
    Average,
    Batch,
    Compiled,
    Cooldown,
    Crop,
    Data,
    Extra,
    ExtraShare,
    Init,
    Minutes,
    Noise,
    Rate,
    Resume,
    RunFolder,
    ShardMb,
    Steps,
    TileMpp,
    Validation,
    progress,
)

Channels = Annotated[
    int,
    typer.Option(
        min=1,
        max=3,
        help="1: grey images, 3: RGB, 2: CH2 and CH3 of Raman histology, simulated from H&E.",
    ),
]
HighestT = Annotated[int, typer.Option(min=1, help="Largest t that images are noised to.")]


def calibrator(
    data: Data,
    out: RunFolder,
    arch: Annotated[str, typer.Option(help="small, or paper: ResNet-50.")] = "small",
    channels: Channels = 3,
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Start from this calibrator.")
    ] = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 16,
    crop: Crop = 128,
    lr: Rate = 3e-4,
    ema: Average = 0.999,
    cooldown: Cooldown = 0.0,
    schedule: Noise = "cosine",
    highest_t: HighestT = 300,
    augmented: Annotated[
        bool, typer.Option(help="Noise two regions differently, and tell the larger t.")
    ] = True,
    compiled: Compiled = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train RSCD's step calibrator: how noisy is an image, in steps of diffusion?"""
    from histomend.train.calibrator import train_calibrator

    with progress() as report:
        model = train_calibrator(
            data,
            out,
            arch=arch,
            channels=channels,
            validation=validation,
            extra=extra,
            extra_share=extra_share,
            init=init,
            resume=resume,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            lr=lr,
            ema=ema,
            cooldown=cooldown,
            schedule=schedule,
            highest_t=highest_t,
            augmented=augmented,
            compiled=compiled,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend train rscd ... --calibrator {model}")


def rscd(
    data: Data,
    out: RunFolder,
    calibrator: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Put this calibrator into the model; also later, with --resume.",
        ),
    ] = None,
    arch: Annotated[
        str, typer.Option(help="Size of the network; see `histomend presets rscd`.")
    ] = "small",
    channels: Channels = 3,
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Init = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 128,
    lr: Rate = 3e-4,
    ema: Average = 0.9995,
    cooldown: Cooldown = 0.0,
    schedule: Noise = "cosine",
    highest_t: HighestT = 200,
    best_after: Annotated[
        int | None, typer.Option(min=0, help="From this step on use only the best tiles.")
    ] = None,
    best_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the tiles that counts as the best.")
    ] = 0.25,
    mpp: TileMpp = 0.5,
    compiled: Compiled = False,
    shard_mb: ShardMb = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train RSCD's denoiser of whole fields; OUT/model holds it, and the calibrator."""
    from histomend.train.rscd import train

    with progress() as report:
        model = train(
            data,
            out,
            calibrator=calibrator,
            arch=arch,
            channels=channels,
            validation=validation,
            extra=extra,
            extra_share=extra_share,
            init=init,
            resume=resume,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            lr=lr,
            ema=ema,
            cooldown=cooldown,
            schedule=schedule,
            highest_t=highest_t,
            best_after=best_after,
            best_share=best_share,
            compiled=compiled,
            mpp=mpp,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"The model is in {model}")
