"""The verb that trains without pairs: cyclegan."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from histomend.cli.training_options import (
    Channels,
    Data,
    Init,
    RunFolder,
    TileMpp,
    trains,
)
from histomend.train import settings


class Damage(str, Enum):
    """What the damaged images of a training without pairs have."""

    artifacts = "artifacts"
    optical = "optical"


@trains(settings.CYCLEGAN)
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
    init: Init = None,
    mpp: TileMpp = 0.5,
    **options: Any,
) -> str:
    """Train CycleGAN between damaged and clean images, without pairs; a baseline."""
    from histomend.train.cyclegan import train

    model = train(
        data,
        out,
        damage=damage.value,
        share=share,
        arch=arch,
        channels=channels,
        init=init,
        mpp=mpp,
        **options,
    )
    return f"Use it: histomend denoise ... --method cyclegan --model {model}"
