"""Verbs that train what judges images: encoder, iqa."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.training_options import (
    Data,
    Extra,
    ExtraShare,
    RunFolder,
    trains,
)
from histomend.train import settings


class Blur(str, Enum):
    """What a quality model learns to see."""

    box = "box"
    gaussian = "gaussian"
    both = "both"


@trains(settings.ENCODER)
def encoder(
    data: Data,
    out: RunFolder,
    features: Annotated[int, typer.Option(min=1, help="Length of its output, at most 64.")] = 64,
    batch: Annotated[
        int, typer.Option(min=2, help="Fields per step and process.")
    ] = settings.ENCODER.batch,
    crop: Annotated[
        int, typer.Option(min=32, help="Side of a view of a field in pixels.")
    ] = settings.ENCODER.crop,
    **options: Any,
) -> str:
    """Train a small encoder, whose features compare images and sets of images."""
    from histomend.train.encoder import train_encoder

    model = train_encoder(data, out, features=features, batch=batch, crop=crop, **options)
    return f'The encoder is in {model}: features("histology", ...) opens it.'


@trains(settings.IQA)
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
    extra: Extra = None,
    extra_share: ExtraShare = 0.08,
    init: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Start from this model (RUN/model).")
    ] = None,
    **options: Any,
) -> str:
    """Train a model that tells how blurred a histology image is, from 1 (sharp) to 0."""
    from histomend.train.iqa import train_iqa

    model = train_iqa(
        data,
        out,
        blur=blur.value,
        features=features,
        weights=weights,
        extra=extra,
        extra_share=extra_share,
        init=init,
        **options,
    )
    return f"Measure it: python benchmarks/iqa.py --iqa {model}"
