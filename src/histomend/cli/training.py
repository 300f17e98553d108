"""Verbs that train: artifusion, vae, latent-artifusion."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.training_options import (
    Data,
    Init,
    Noise,
    RunFolder,
    ShardMb,
    TileMpp,
    trains,
)
from histomend.train import settings


class Prediction(str, Enum):
    """What a network tells from x_t."""

    epsilon = "epsilon"
    x0 = "x0"
    v = "v"


Predicts = Annotated[Prediction, typer.Option(help="What the network learns to tell.")]
Context = Annotated[bool, typer.Option(help="Show the network the visible part and the mask.")]
Unconditional = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the crops without context.")
]


@trains(settings.ARTIFUSION)
def artifusion(
    data: Data,
    out: RunFolder,
    arch: Annotated[
        str, typer.Option(help="Size of the network; see `histomend presets artifusion`.")
    ] = "small-unet",
    init: Init = None,
    prediction: Predicts = Prediction.x0,
    schedule: Noise = "cosine",
    context: Context = True,
    mpp: TileMpp = 0.5,
    unconditional: Unconditional = 0.2,
    shard_mb: ShardMb = None,
    **options: Any,
) -> str:
    """Train ArtiFusion's denoiser; the folder OUT/model is then a model for --model.

    Start several processes or GPUs with `accelerate launch -m histomend train artifusion ...`.
    """
    from histomend.train.artifusion import train

    model = train(
        data,
        out,
        arch=arch,
        init=init,
        prediction=prediction.value,
        schedule=schedule,
        context=context,
        unconditional=unconditional,
        mpp=mpp,
        shard_mb=shard_mb,
        **options,
    )
    return f"Use it: histomend restore ... --model {model}"


@trains(settings.VAE)
def vae(
    data: Data,
    out: RunFolder,
    arch: Annotated[str, typer.Option(help="small, or paper: Stable Diffusion's.")] = "small",
    channels: Annotated[
        int, typer.Option(min=1, help="Of the latent: more keep more detail.")
    ] = 16,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Start from this autoencoder, in diffusers' format."),
    ] = None,
    decoder_only: Annotated[
        bool, typer.Option(help="Keep the encoder of --init, for the denoisers trained on it.")
    ] = False,
    adversarial: Annotated[
        float,
        typer.Option(min=0, help="How strongly a critic asks for grain: 0.5 gently, 2 strongly."),
    ] = 0.0,
    **options: Any,
) -> str:
    """Train the autoencoder of a latent system; OUT/model is then in diffusers' format."""
    from histomend.train.autoencoder import train_vae

    model = train_vae(
        data,
        out,
        arch=arch,
        channels=channels,
        init=init,
        decoder_only=decoder_only,
        adversarial=adversarial,
        **options,
    )
    return f"Use it: histomend train latent-artifusion ... --vae {model}"


@trains(settings.LATENT_ARTIFUSION)
def latent_artifusion(
    data: Data,
    vae: Annotated[
        str,
        typer.Option(
            metavar="FOLDER|HUB NAME",
            help="Autoencoder in diffusers' format; see `histomend train vae`.",
        ),
    ],
    out: RunFolder,
    arch: Annotated[
        str, typer.Option(help="Size of the network; see `histomend presets latent-artifusion`.")
    ] = "small",
    init: Init = None,
    prediction: Predicts = Prediction.v,
    schedule: Noise = "scaled_linear",
    context: Context = True,
    mpp: TileMpp = 0.5,
    unconditional: Unconditional = 0.2,
    versions: Annotated[
        int, typer.Option(min=1, help="Of each tile, turned and stained differently.")
    ] = 4,
    shard_mb: ShardMb = None,
    **options: Any,
) -> str:
    """Train LatentArtiFusion's denoiser on an autoencoder's latents; OUT/model holds both."""
    from histomend.train.latent_artifusion import train

    model = train(
        data,
        out,
        vae=vae,
        arch=arch,
        init=init,
        prediction=prediction.value,
        schedule=schedule,
        context=context,
        unconditional=unconditional,
        versions=versions,
        mpp=mpp,
        shard_mb=shard_mb,
        **options,
    )
    return f"Use it: histomend restore ... --method latent-artifusion --model {model}"
