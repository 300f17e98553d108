"""Verbs that train what upscales: swinir, control."""

from __future__ import annotations

from enum import Enum
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
    Minutes,
    Rate,
    Resume,
    RunFolder,
    Steps,
    TileMpp,
    Validation,
    progress,
)


class Degradation(str, Enum):
    """What a restoration module learns to clean."""

    codeformer = "codeformer"
    real_esrgan = "real-esrgan"
    scanner = "scanner"
    mixed = "mixed"


def swinir(
    data: Data,
    out: RunFolder,
    arch: Annotated[
        str, typer.Option(help="small, small-coarse (faster), or paper: 15.8 million parameters.")
    ] = "small",
    degradation: Annotated[
        Degradation,
        typer.Option(
            help="Pipeline that degrades the crops; scanner: larger pixels and nothing else; "
            "mixed: a third of each."
        ),
    ] = Degradation.mixed,
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Start from this module (RUN/model).")
    ] = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 128,
    lr: Rate = 5e-4,
    ema: Average = 0.999,
    cooldown: Cooldown = 0.0,
    mpp: TileMpp = 0.5,
    compiled: Compiled = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train Histo-Diffusion's first stage, which cleans an image that was enlarged."""
    from histomend.train.restoration_module import train_restoration

    with progress() as report:
        model = train_restoration(
            data,
            out,
            arch=arch,
            degradation=degradation.value,
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
            seed=seed,
            device=device,
            report=report,
        )
    say(f"The restoration module is in {model}")


def control(
    data: Data,
    out: RunFolder,
    prior: Annotated[
        str,
        typer.Option(
            metavar="NAME|FOLDER",
            help="Latent model to be steered: of latent-artifusion, or Stable Diffusion in "
            "diffusers' format (a folder, or OWNER/NAME on the hub).",
        ),
    ],
    restoration: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Stage 1 (RUN/model of `histomend train swinir`)."),
    ],
    degradation: Annotated[
        Degradation, typer.Option(help="Pipeline that degrades the tiles, as of `train swinir`.")
    ] = Degradation.mixed,
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|FOLDER", help="Start from this upscaler's branch (RUN/model)."),
    ] = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 8,
    crop: Crop = 256,
    lr: Rate = 1e-4,
    ema: Average = 0.999,
    cooldown: Cooldown = 0.0,
    mpp: TileMpp = 0.5,
    versions: Annotated[
        int, typer.Option(min=1, help="Of each tile, degraded differently; encoded once.")
    ] = 2,
    compiled: Compiled = False,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train Histo-Diffusion's second stage: a branch that steers a latent model by an image."""
    from histomend.train.control import train_control

    with progress() as report:
        model = train_control(
            data,
            out,
            prior=prior,
            restoration=restoration,
            degradation=degradation.value,
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
            versions=versions,
            compiled=compiled,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"The upscaler is in {model}")
