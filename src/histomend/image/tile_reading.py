"""Tiles to train on, through the same reader as images: nothing is clipped on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histomend.errors import UnsupportedImageError
from histomend.image.pixels import Pixels, bands
from histomend.image.rasters import open_picture
from histomend.image.reading import content_kind
from histomend.image.signals import MOST_CHANNELS
from histomend.image.stack_reading import read_stack
from histomend.image.tiff_open import open_tiff

# Red, green and blue in luma, ITU-R BT.601.
_LUMA = (0.299, 0.587, 0.114)


def tile_size(path: Path | str) -> tuple[int, int]:
    """Return width and height of a tile, from its header.

    Raises
    ------
    InputError
        As `read_stack`.
    """
    path = Path(path)
    kind = content_kind(path)
    if kind != "TIFF":
        with open_picture(path, kind) as picture:
            return picture.size
    with open_tiff(path) as (file, _):
        page: Any = file.pages.first
        return int(page.imagewidth), int(page.imagelength)


def read_tile(path: Path | str, *, grey: bool = False) -> Pixels:
    """Read a tile as values over the full range of one type, whatever the type in the file.

    Parameters
    ----------
    path : Path
        8 or 16 bit, or float in [0, 1]; one channel, or red, green and blue.
    grey : bool
        Return one channel: of colours, their luma.

    Returns
    -------
    (H, W, 1) uint16 if `grey`, otherwise (H, W, 3) uint8
        8-bit values are spread over 16 bits, and 16-bit values rounded to 8.

    Raises
    ------
    UnsupportedImageError
        Several planes, two channels, or a grey tile where colours are asked for.
    ValueRangeError
        Values whose range cannot be known: 32-bit integers, floats outside [0, 1], NaN.
    InputError
        As `read_stack`.
    """
    stack = read_stack(path, channels=None if grey else MOST_CHANNELS, flat=True)
    planes, channels = len(stack.values), stack.channels
    if planes != 1 or channels == 2:
        raise UnsupportedImageError(
            f"{path}: holds {planes} planes of {channels} channels. A tile is one plane of one "
            "channel, or of red, green and blue: save each plane to a file of its own."
        )
    values = stack.values[0]
    luma = grey and channels == MOST_CHANNELS
    share = np.float32((65_535 if grey else 255) / stack.intensity.high)
    if share == 1 and not luma and values.dtype.kind == "u":
        return values
    out = np.empty((*values.shape[:2], 1 if grey else 3), np.uint16 if grey else np.uint8)
    for start, stop in bands(values.shape[0], values[:1].size):
        part = values[start:stop]
        if luma:
            part = (part @ np.asarray(_LUMA, np.float32))[..., None]
        out[start:stop] = np.rint(part * share)
    return out
