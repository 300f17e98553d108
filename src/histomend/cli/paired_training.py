"""Verbs that train what RSCD is compared with, on pairs made from clean images."""

from __future__ import annotations

from typing import Annotated

import typer

from histomend.cli.calibrated_training import Channels
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

Arch = Annotated[str, typer.Option(help="Size of the network; see `histomend presets`.")]


def conditional(
    data: Data,
    out: RunFolder,
    arch: Arch = "small",
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
    mpp: TileMpp = 0.5,
    compiled: Compiled = False,
    shard_mb: ShardMb = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train conditional diffusion, a baseline of RSCD, on images with simulated tissue above."""
    from histomend.train.conditional import train

    with progress() as report:
        model = train(
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
            mpp=mpp,
            compiled=compiled,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend denoise ... --method conditional --model {model}")


def noise2noise(
    data: Data,
    out: RunFolder,
    arch: Arch = "small",
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
    mpp: TileMpp = 0.5,
    compiled: Compiled = False,
    shard_mb: ShardMb = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train Noise2Noise, a baseline of RSCD, on pairs of images with synthetic noise."""
    from histomend.train.noise2noise import train

    with progress() as report:
        model = train(
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
            mpp=mpp,
            compiled=compiled,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend denoise ... --method noise2noise --model {model}")
