"""Verbs that train RSCD: calibrator, rscd."""

from __future__ import annotations

from pathlib import Path
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

HighestT = Annotated[int, typer.Option(min=1, help="Largest t that images are noised to.")]
Stabilised = Annotated[
    bool,
    typer.Option(
        "--stabilised",
        help="Train on a camera's stabilised values (one channel); --extra holds RGB tissue.",
    ),
]
DrawnShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of stabilised crops that are drawn specimens.")
]


@trains(settings.CALIBRATOR)
def calibrator(
    data: Data,
    out: RunFolder,
    arch: Annotated[str, typer.Option(help="small, or paper: ResNet-50.")] = "small",
    channels: Channels = 3,
    init: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Start from this calibrator.")
    ] = None,
    schedule: Noise = "cosine",
    highest_t: HighestT = 300,
    augmented: Annotated[
        bool, typer.Option(help="Noise two regions differently, and tell the larger t.")
    ] = True,
    stabilised: Stabilised = False,
    drawn_share: DrawnShare = 0.3,
    **options: Any,
) -> str:
    """Train RSCD's step calibrator: how noisy is an image, in steps of diffusion?"""
    from histomend.train.calibrator import train_calibrator

    model = train_calibrator(
        data,
        out,
        arch=arch,
        channels=channels,
        init=init,
        schedule=schedule,
        highest_t=highest_t,
        augmented=augmented,
        stabilised=stabilised,
        drawn_share=drawn_share,
        **options,
    )
    return f"Use it: histomend train rscd ... --calibrator {model}"


@trains(settings.RSCD)
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
    init: Init = None,
    schedule: Noise = "cosine",
    highest_t: HighestT = 200,
    best_after: Annotated[
        int | None, typer.Option(min=0, help="From this step on use only the best tiles.")
    ] = None,
    best_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the tiles that counts as the best.")
    ] = 0.25,
    mpp: TileMpp = 0.5,
    stabilised: Stabilised = False,
    drawn_share: DrawnShare = 0.3,
    squared: Annotated[
        bool, typer.Option("--squared", help="Squared error in place of the paper's L1.")
    ] = False,
    shard_mb: ShardMb = None,
    **options: Any,
) -> str:
    """Train RSCD's denoiser of whole fields; OUT/model holds it, and the calibrator."""
    from histomend.train.rscd import train

    model = train(
        data,
        out,
        calibrator=calibrator,
        arch=arch,
        channels=channels,
        init=init,
        schedule=schedule,
        highest_t=highest_t,
        best_after=best_after,
        best_share=best_share,
        mpp=mpp,
        stabilised=stabilised,
        drawn_share=drawn_share,
        squared=squared,
        shard_mb=shard_mb,
        **options,
    )
    return f"The model is in {model}"
