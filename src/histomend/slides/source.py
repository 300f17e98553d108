"""Where pixels come from: an array, a picture, a z-stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image as PilImage

from histomend.image import MIN_SIDE, Image, as_image
from histomend.image.pixels import Region
from histomend.image.stack_input import stack_of
from histomend.image.stacks import Stack

Pixels = npt.NDArray[Any]
ImageLike: TypeAlias = (
    "str | Path | Pixels | PilImage.Image | Image | Stack | list[Pixels] | tuple[Pixels, ...]"
)
"""Whatever a user has: a path, an array, a list of planes, a Pillow image, or what was read."""


class Source(Protocol):
    """Planes of pixels that are read part by part.

    Attributes
    ----------
    planes, height, width, channels : int
    dtype : np.dtype
        Of the stored values.
    mpp : float or None
        Micrometres per pixel.
    where : str
        What messages call it.
    """

    @property
    def planes(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def mpp(self) -> float | None: ...
    @property
    def where(self) -> str: ...

    def read(self, plane: int, region: Region) -> Pixels:
        """Return the values (h, w, C) of a region (x, y, w, h) of a plane; not to be written to."""


@dataclass(frozen=True)
class ArraySource:
    """An image or a stack in memory.

    Parameters
    ----------
    about : Image or Stack
        The pixels, and what must not be lost on the way: see there.
    """

    about: Image | Stack

    @property
    def values(self) -> Pixels:
        """All pixels, (Z, H, W, C)."""
        return self.about.values if isinstance(self.about, Stack) else self.about.pixels[None]

    @property
    def planes(self) -> int:
        """Planes of a stack; 1 for an image."""
        return int(self.values.shape[0])

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return int(self.values.shape[2])

    @property
    def channels(self) -> int:
        """Channels of a plane."""
        return int(self.values.shape[3])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return self.values.dtype

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel."""
        return self.about.mpp

    @property
    def where(self) -> str:
        """What messages call it."""
        return "the image" if self.about.source is None else str(self.about.source)

    def read(self, plane: int, region: Region) -> Pixels:
        """Return the values (h, w, C) of a region (x, y, w, h) of a plane."""
        x, y, w, h = region
        return self.values[plane, y : y + h, x : x + w]

    def like(self, values: Pixels, mpp: float | None) -> Image | Stack:
        """Return other pixels (Z, H, W, C) as an image or a stack of the same origin."""
        if isinstance(self.about, Stack):
            return replace(self.about, values=values, mpp=mpp)
        return replace(self.about, pixels=values[0], mpp=mpp, lossy=False)


def picture_source(
    image: ImageLike,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    least: int = MIN_SIDE,
) -> ArraySource:
    """Open an RGB image (`histomend.image.as_image`).

    Raises
    ------
    InputError
    """
    if isinstance(image, Image):
        return ArraySource(image)
    return ArraySource(as_image(image, mpp=mpp, region=region, least=least))  # type: ignore[arg-type]


def stack_source(
    image: ImageLike,
    *,
    channels: int | None = None,
    axes: str | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    per_channel: bool | None = False,
) -> ArraySource:
    """Open an image or a stack of one to three channels (`histomend.image.stack_input`).

    Raises
    ------
    InputError
    """
    about = stack_of(
        image, channels=channels, axes=axes, mpp=mpp, region=region, per_channel=per_channel
    )
    return ArraySource(about)
