"""Verbs that train what judges images: encoder, iqa."""

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
    Validation,
    progress,
)


class Blur(str, Enum):
    """What a quality model learns to see."""

    box = "box"
    gaussian = "gaussian"
    both = "both"


def encoder(
    data: Data,
    out: RunFolder,
    features: Annotated[int, typer.Option(min=1, help="Length of its output, at most 64.")] = 64,
    validation: Validation = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Annotated[int, typer.Option(min=2, help="Fields per step and process.")] = 32,
    crop: Annotated[int, typer.Option(min=32, help="Side of a view of a field in pixels.")] = 64,
    lr: Rate = 1e-3,
    ema: Average = 0.99,
    cooldown: Cooldown = 0.3,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a small encoder, whose features compare images and sets of images."""
    from histomend.train.encoder import train_encoder

    with progress() as report:
        model = train_encoder(
            data,
            out,
            features=features,
            validation=validation,
            resume=resume,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            lr=lr,
            ema=ema,
            cooldown=cooldown,
            seed=seed,
            device=device,
            report=report,
        )
    say(f'The encoder is in {model}: features("histology", ...) opens it.')


def iqa(
    data: Data,
    out: RunFolder,
    blur: Annotated[
        Blur, typer.Option(help="The data set: box blur, Gaussian blur, or both in one model.")
    ] = Blur.both,
    features: Annotated[
        str,
        typer.Option(help="Train a head on a frozen network: clip, timm, histology, inception."),
    ] = "",
    weights: Annotated[
        str, typer.Option(metavar="FOLDER|HUB NAME", help="Weights of that network.")
    ] = "",
    validation: Validation = None,
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Start from this model (RUN/model).")
    ] = None,
    resume: Resume = False,
    minutes: Minutes = None,
    steps: Steps = None,
    batch: Batch = 32,
    crop: Crop = 128,
    lr: Rate = 1e-3,
    ema: Average = 0.99,
    cooldown: Cooldown = 0.3,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train a model that tells how blurred a histology image is, from 1 (sharp) to 0."""
    from histomend.train.iqa import train_iqa

    with progress() as report:
        model = train_iqa(
            data,
            out,
            blur=blur.value,
            features=features,
            weights=weights,
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
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Measure it: python benchmarks/iqa.py --iqa {model}")
