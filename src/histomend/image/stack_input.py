"""Whatever a user has, as a stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage

from histomend.errors import ImageSizeError, UnsupportedImageError
from histomend.image.pixels import Pixels, Region, check_mpp
from histomend.image.rasters import unsupported_mode
from histomend.image.signals import MOST_CHANNELS
from histomend.image.stack_files import read_stack
from histomend.image.stack_reading import is_of_a_scanner
from histomend.image.stacks import Stack, as_stack


def stack_of(
    image: Any,
    *,
    channels: int | None = None,
    axes: str | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    per_channel: bool | None = False,
) -> Stack:
    """Return an array, a list of planes, a Pillow image, a path or a stack as a stack.

    Parameters
    ----------
    image : (H, W), (H, W, C) or (Z, H, W, C) array; list of planes; PIL image; path; Stack
    channels : int, optional
        As many as the image must have.
    axes : str, optional
        The order of the axes, where it cannot be known.
    mpp : float, optional
        Micrometres per pixel, in place of what a file says.
    region : (x, y, w, h), optional
        Only this part of all planes.
    per_channel : bool, optional
        See `as_stack`.

    Raises
    ------
    InputError
        Of the kind that says what is wrong: see `as_stack` and `read_stack`.
    """
    if isinstance(image, str | Path):
        settings: dict[str, Any] = {"axes": axes, "mpp": mpp, "per_channel": per_channel}
        if region is not None and is_of_a_scanner(Path(image)):
            return read_stack(image, channels=channels, region=region, **settings)
        # What an image is, whether it is grey say, its whole tells and not a part.
        whole = read_stack(image, channels=channels, **settings)
    elif isinstance(image, Stack):
        whole = image
    else:
        given = None if mpp is None else check_mpp(mpp, "mpp")
        whole = replace(_from_memory(image, channels, axes, per_channel), mpp=given)
    return whole if region is None else whole.cut(region)


def _from_memory(
    image: Any, channels: int | None, axes: str | None, per_channel: bool | None
) -> Stack:
    if isinstance(image, PilImage.Image):
        if image.mode not in ("L", "RGB", "I;16"):
            raise unsupported_mode("the Pillow image", image.mode)
        image = np.asarray(image)
    elif isinstance(image, Sequence) and image and all(isinstance(p, np.ndarray) for p in image):
        image = _stacked(image)
    if not isinstance(image, np.ndarray):
        raise UnsupportedImageError(
            f"expected a path, a NumPy array, a list of planes or a Pillow image, got "
            f"{type(image).__name__}"
        )
    if image.ndim == 4 and axes is None and image.shape[-1] <= MOST_CHANNELS:
        axes = "ZYXC"
    return as_stack(image, channels=channels, axes=axes, per_channel=per_channel)


def _stacked(planes: Sequence[Pixels]) -> Pixels:
    kinds = [(plane.shape, plane.dtype) for plane in planes]
    other = next((k for k, kind in enumerate(kinds) if kind != kinds[0]), None)
    if other is not None:
        raise ImageSizeError(
            f"the stack: plane 0 is {kinds[0][0]} {kinds[0][1]}, and plane {other} is "
            f"{kinds[other][0]} {kinds[other][1]}. All planes of a stack need one shape and type: "
            "restore those of another shape by themselves."
        )
    whole = np.stack(planes)
    return whole[..., None] if whole.ndim == 3 else whole
