"""The verb that trains against critics: cyclegan."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from histomend.cli.calibrated_training import Channels
from histomend.cli.options import Device, Seed
from histomend.cli.screen import say
from histomend.cli.training import (
    Average,
    Batch,
    Cooldown,
    Crop,
    Data,
    Init,
    Minutes,
    Rate,
    Resume,
    RunFolder,
    Steps,
    TileMpp,
    Validation,
    progress,
)


class Damage(str, Enum):
    """What the damaged images of a training without pairs have."""

    artifacts = "artifacts"
    optical = "optical"


def cyclegan(
    data: Data,
    out: RunFolder,
    damage: Annotated[
        Damage,
        typer.Option(help="What is simulated: artifacts (RGB only), or the whole field degraded."),
    ] = Damage.artifacts,
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of each slide's tiles that is used.")
    ] = 1.0,
    arch: Annotated[
        str, typer.Option(help="small, or paper, for a GPU; see `histomend presets cyclegan`.")
    ] = "small",
    channels: Channels = 3,
    validation: Validation = None,
    init: Init = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 1,
    crop: Crop = 128,
    lr: Rate = 2e-4,
    ema: Average = 0.999,
    cooldown: Cooldown = 0.5,
    mpp: TileMpp = 0.5,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train CycleGAN between damaged and clean images, without pairs; a baseline."""
    from histomend.train.cyclegan import train

    with progress() as report:
        model = train(
            data,
            out,
            damage=damage.value,
            share=share,
            arch=arch,
            channels=channels,
            validation=validation,
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
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend denoise ... --method cyclegan --model {model}")
