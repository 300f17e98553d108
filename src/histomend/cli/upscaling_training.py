"""Verbs that train what upscales: swinir, control, rrdb-gan, swinir-gan."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.training_options import (
    Data,
    RunFolder,
    TileMpp,
    trains,
)
from histomend.train import settings


class Degradation(str, Enum):
    """What a restoration module learns to clean."""

    codeformer = "codeformer"
    real_esrgan = "real-esrgan"
    scanner = "scanner"
    mixed = "mixed"


SwinirArch = Annotated[
    str, typer.Option(help="small, small-coarse (faster), or paper: 15.8 million parameters.")
]
Degrades = Annotated[
    Degradation,
    typer.Option(
        help="Pipeline that degrades the crops; scanner: larger pixels and nothing else; "
        "mixed: a third of each."
    ),
]
ModuleInit = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Start from this module (RUN/model).")
]
Adversarial = Annotated[
    float, typer.Option(min=0, help="How strongly a critic asks for fine grain; 0: no critic.")
]


@trains(settings.SWINIR)
def swinir(
    data: Data,
    out: RunFolder,
    arch: SwinirArch = "small",
    degradation: Degrades = Degradation.mixed,
    init: ModuleInit = None,
    mpp: TileMpp = 0.5,
    **options: Any,
) -> str:
    """Train Histo-Diffusion's first stage, which cleans an image that was enlarged."""
    from histomend.train.restoration_module import train_restoration

    model = train_restoration(
        data, out, arch=arch, degradation=degradation.value, init=init, mpp=mpp, **options
    )
    return f"The restoration module is in {model}"


@trains(settings.CONTROL_BRANCH)
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
    init: Annotated[
        str | None,
        typer.Option(metavar="NAME|FOLDER", help="Start from this upscaler's branch (RUN/model)."),
    ] = None,
    mpp: TileMpp = 0.5,
    versions: Annotated[
        int, typer.Option(min=1, help="Of each tile, degraded differently; encoded once.")
    ] = 2,
    **options: Any,
) -> str:
    """Train Histo-Diffusion's second stage: a branch that steers a latent model by an image."""
    from histomend.train.control import train_control

    model = train_control(
        data,
        out,
        prior=prior,
        restoration=restoration,
        degradation=degradation.value,
        init=init,
        mpp=mpp,
        versions=versions,
        **options,
    )
    return f"The upscaler is in {model}"


@trains(settings.RESTORING_GAN)
def rrdb_gan(
    data: Data,
    out: RunFolder,
    arch: Annotated[
        str, typer.Option(help="small, or paper: as wide and deep as the published networks.")
    ] = "small",
    degradation: Degrades = Degradation.mixed,
    adversarial: Adversarial = 0.5,
    init: ModuleInit = None,
    mpp: TileMpp = 0.5,
    **options: Any,
) -> str:
    """Train RRDBNet with a critic: what stands for BSRGAN and Real-ESRGAN in comparisons."""
    from histomend.train.restoring_gan import train_restoring_gan

    model = train_restoring_gan(
        data,
        out,
        method="rrdb-gan",
        arch=arch,
        degradation=degradation.value,
        adversarial=adversarial,
        init=init,
        mpp=mpp,
        **options,
    )
    return f"Use it: histomend upscale ... --method rrdb-gan --model {model}"


@trains(settings.RESTORING_GAN)
def swinir_gan(
    data: Data,
    out: RunFolder,
    arch: SwinirArch = "small",
    degradation: Degrades = Degradation.mixed,
    adversarial: Adversarial = 0.5,
    init: ModuleInit = None,
    mpp: TileMpp = 0.5,
    **options: Any,
) -> str:
    """Train SwinIR with a critic: what stands for SwinIR-GAN in comparisons."""
    from histomend.train.restoring_gan import train_restoring_gan

    model = train_restoring_gan(
        data,
        out,
        method="swinir-gan",
        arch=arch,
        degradation=degradation.value,
        adversarial=adversarial,
        init=init,
        mpp=mpp,
        **options,
    )
    return f"Use it: histomend upscale ... --method swinir-gan --model {model}"
