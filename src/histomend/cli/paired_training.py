"""Verbs that train what RSCD is compared with, on pairs made from clean images."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from histomend.cli.training_options import (
    Channels,
    Data,
    Init,
    Noise,
    RunFolder,
    ShardMb,
    TileMpp,
    trains,
)
from histomend.train import settings

Arch = Annotated[str, typer.Option(help="Size of the network; see `histomend presets`.")]


@trains(settings.CONDITIONAL)
def conditional(
    data: Data,
    out: RunFolder,
    arch: Arch = "small",
    channels: Channels = 3,
    init: Init = None,
    schedule: Noise = "cosine",
    mpp: TileMpp = 0.5,
    shard_mb: ShardMb = None,
    **options: Any,
) -> str:
    """Train conditional diffusion, a baseline of RSCD, on images with simulated tissue above."""
    from histomend.train.conditional import train

    model = train(
        data,
        out,
        arch=arch,
        channels=channels,
        init=init,
        schedule=schedule,
        mpp=mpp,
        shard_mb=shard_mb,
        **options,
    )
    return f"Use it: histomend denoise ... --method conditional --model {model}"


@trains(settings.NOISE2NOISE)
def noise2noise(
    data: Data,
    out: RunFolder,
    arch: Arch = "small",
    channels: Channels = 3,
    init: Init = None,
    mpp: TileMpp = 0.5,
    shard_mb: ShardMb = None,
    **options: Any,
) -> str:
    """Train Noise2Noise, a baseline of RSCD, on pairs of images with synthetic noise."""
    from histomend.train.noise2noise import train

    model = train(
        data, out, arch=arch, channels=channels, init=init, mpp=mpp, shard_mb=shard_mb, **options
    )
    return f"Use it: histomend denoise ... --method noise2noise --model {model}"
