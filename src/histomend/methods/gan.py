"""Enlarging by networks trained with a critic: one call for each tile of the enlarged image."""

from __future__ import annotations

from typing import Any

from histomend.errors import SettingError
from histomend.jobs.job import Job, Mask, Options, UpscaleOptions
from histomend.methods.enlarging import (
    TileStage,
    cleaned_tiles,
    cleaning,
    decide_enlarged,
    enlarged,
    size_notices,
)
from histomend.slides.source import ArraySource


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Enlarge by bicubic interpolation, and clean the result in tiles."""
    if not isinstance(options, UpscaleOptions):
        raise SettingError(f"{options.method} enlarges: name a scale.")
    mpp = None if source.mpp is None else source.mpp / options.scale

    def clean(_: Any) -> TileStage:
        return cleaning(enlarged(source, options.size), model, model.device, last=True)

    return decide_enlarged(
        source,
        options,
        (clean,),
        parts=cleaned_tiles(options.size),
        units=cleaned_tiles(options.size),
        device=model.device,
        model=model.record(),
        notices=size_notices(mpp, model.config.mpp),
    )
