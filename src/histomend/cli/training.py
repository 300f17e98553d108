"""Verbs that train: artifusion, vae, latent-artifusion."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import Device, Seed
from histomend.cli.screen import say


class Prediction(str, Enum):
    """What a network tells from x_t."""

    epsilon = "epsilon"
    x0 = "x0"
    v = "v"


Data = Annotated[
    Path, typer.Option(help="Folder of artifact-free images, with manifest.csv naming slides.")
]
RunFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")]
Validation = Annotated[
    Path | None, typer.Option(help="Folder of images from other slides, for the figures.")
]
Extra = Annotated[Path | None, typer.Option(help="Folder of further images: another stain, say.")]
ExtraShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the crops that are taken from --extra.")
]
Init = Annotated[str | None, typer.Option(metavar="NAME|FOLDER", help="Start from these weights.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]
Minutes = Annotated[float | None, typer.Option(min=0, help="Stop after this time.")]
Steps = Annotated[int | None, typer.Option(min=1, help="Stop at this step.")]
Batch = Annotated[int, typer.Option(min=1, help="Crops per step and process.")]
Crop = Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")]
Rate = Annotated[float, typer.Option(min=0, help="Learning rate.")]
Average = Annotated[
    float, typer.Option(min=0, max=1, help="How long the average of the weights is.")
]
Cooldown = Annotated[
    float, typer.Option(min=0, max=1, help="Last share of the budget, the rate falling to zero.")
]
Predicts = Annotated[Prediction, typer.Option(help="What the network learns to tell.")]
Noise = Annotated[str, typer.Option(help="linear, scaled_linear or cosine.")]
Context = Annotated[bool, typer.Option(help="Show the network the visible part and the mask.")]
TileMpp = Annotated[float, typer.Option(min=0, help="Pixel size of the images in um.")]
Unconditional = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the crops without context.")
]
Compiled = Annotated[
    bool, typer.Option("--compiled", help="Compile the network first: slow to start, faster.")
]
ShardMb = Annotated[float | None, typer.Option(min=1, help="Largest size of one weight file.")]


def artifusion(
    data: Data,
    out: RunFolder,
    arch: Annotated[
        str, typer.Option(help="Size of the network; see `histomend presets artifusion`.")
    ] = "small-unet",
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Init = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 128,
    lr: Rate = 1e-4,
    ema: Average = 0.9999,
    cooldown: Cooldown = 0.0,
    prediction: Predicts = Prediction.x0,
    schedule: Noise = "cosine",
    context: Context = True,
    mpp: TileMpp = 0.5,
    unconditional: Unconditional = 0.2,
    compiled: Compiled = False,
    shard_mb: ShardMb = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train ArtiFusion's denoiser; the folder OUT/model is then a model for --model.

    Start several processes or GPUs with `accelerate launch -m histomend train artifusion ...`.
    """
    from histomend.train.artifusion import train

    with progress() as report:
        model = train(
            data,
            out,
            arch=arch,
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
            prediction=prediction.value,
            schedule=schedule,
            context=context,
            unconditional=unconditional,
            compiled=compiled,
            mpp=mpp,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend restore ... --model {model}")


def vae(
    data: Data,
    out: RunFolder,
    arch: Annotated[str, typer.Option(help="small, or paper: Stable Diffusion's.")] = "small",
    channels: Annotated[
        int, typer.Option(min=1, help="Of the latent: more keep more detail.")
    ] = 16,
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Start from this autoencoder, in diffusers' format."),
    ] = None,
    decoder_only: Annotated[
        bool, typer.Option(help="Keep the encoder of --init, for the denoisers trained on it.")
    ] = False,
    adversarial: Annotated[
        float,
        typer.Option(min=0, help="How strongly a critic asks for fine grain; 0.5 is usual."),
    ] = 0.0,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 128,
    lr: Rate = 5e-4,
    ema: Average = 0.999,
    cooldown: Cooldown = 0.0,
    compiled: Compiled = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train the autoencoder of a latent system; OUT/model is then in diffusers' format."""
    from histomend.train.autoencoder import train_vae

    with progress() as report:
        model = train_vae(
            data,
            out,
            arch=arch,
            channels=channels,
            validation=validation,
            extra=extra,
            extra_share=extra_share,
            init=init,
            decoder_only=decoder_only,
            adversarial=adversarial,
            resume=resume,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            lr=lr,
            ema=ema,
            cooldown=cooldown,
            compiled=compiled,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend train latent-artifusion ... --vae {model}")


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
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Init = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 256,
    lr: Rate = 2e-4,
    ema: Average = 0.9999,
    cooldown: Cooldown = 0.0,
    prediction: Predicts = Prediction.v,
    schedule: Noise = "scaled_linear",
    context: Context = True,
    mpp: TileMpp = 0.5,
    unconditional: Unconditional = 0.2,
    versions: Annotated[
        int, typer.Option(min=1, help="Of each tile, turned and stained differently.")
    ] = 4,
    compiled: Compiled = False,
    shard_mb: ShardMb = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train LatentArtiFusion's denoiser on an autoencoder's latents; OUT/model holds both."""
    from histomend.train.latent_artifusion import train

    with progress() as report:
        model = train(
            data,
            out,
            vae=vae,
            arch=arch,
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
            prediction=prediction.value,
            schedule=schedule,
            context=context,
            unconditional=unconditional,
            versions=versions,
            compiled=compiled,
            mpp=mpp,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend restore ... --method latent-artifusion --model {model}")


@contextmanager
def progress() -> Iterator[Callable[[int, float, float, float], None]]:
    """Show step, loss and images per second as a training reports them."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("step {task.fields[step]}  loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        # Of several processes only the first one reports.
        disable=os.environ.get("RANK", "0") != "0",
    )
    with bar:
        task = bar.add_task("", total=1.0, step=0, loss=float("nan"), rate=0.0)

        def report(step: int, loss: float, rate: float, share: float) -> None:
            bar.update(task, completed=share, step=step, loss=loss, rate=rate)

        yield report
