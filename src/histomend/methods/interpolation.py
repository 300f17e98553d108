"""Enlarging without learning: bicubic and Lanczos."""

from __future__ import annotations

from typing import Any

import torch

from histomend.baselines.upscaling import bicubic, lanczos
from histomend.errors import SettingError
from histomend.jobs.job import Job, Mask, Options, Outcome, Pixels, Tick, UpscaleOptions
from histomend.methods.enlarging import WholeStage, decide_enlarged
from histomend.slides.source import ArraySource

WAYS = {"bicubic": bicubic, "lanczos": lanczos}


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Interpolate the whole image."""
    if not isinstance(options, UpscaleOptions):
        raise SettingError(f"{options.method} enlarges: name a scale.")
    scale = options.scale

    def interpolate(pixels: Pixels, tick: Tick) -> tuple[Pixels, Outcome]:
        tick()
        return WAYS[options.method](pixels, scale), Outcome()

    return decide_enlarged(
        source,
        options,
        (lambda _: WholeStage(source, interpolate),),
        parts=1,
        units=1,
        device=torch.device("cpu"),
    )
