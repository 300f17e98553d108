"""Enlarging by published weight files, which know one factor and 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError, UnsupportedImageError
from histomend.image import Intensity
from histomend.jobs.job import Job, Mask, Options, Pixels, UpscaleOptions
from histomend.methods.enlarging import TileStage, decide_enlarged
from histomend.slides.source import ArraySource
from histomend.tiles.overlap import make_tiles

# Side of the tiles that published upscalers see, in px of the source.
TILE = 128


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Let the network enlarge the image in tiles.

    Raises
    ------
    SettingError, UnsupportedImageError
    """
    if not isinstance(options, UpscaleOptions) or options.scale != model.scale:
        raise SettingError(
            f"These published weights enlarge {model.scale} times and not otherwise; the scale "
            f"is {getattr(options, 'scale', 1):g}. Use --scale {model.scale}, or another method."
        )
    if source.dtype != np.uint8:
        raise UnsupportedImageError(
            f"{source.where}: published upscalers take 8 bits per channel, the image has 16."
        )
    intensity = Intensity.for_dtype(source.dtype)

    def work(tile: Pixels) -> npt.NDArray[np.float32]:
        return intensity.encode(model(tile))

    tiles = len(make_tiles(source.height, source.width, TILE))
    return decide_enlarged(
        source,
        options,
        (lambda _: TileStage(source, work, TILE, model.scale),),
        parts=tiles,
        units=tiles,
        device=next(model.network.parameters()).device,
        model=model.record(),
    )
