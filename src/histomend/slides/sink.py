"""Where pixels go: an array, from which a picture or a stack is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from histomend.image import Image, write_image
from histomend.image.pixels import Region
from histomend.image.stack_files import check_picture, write_stack
from histomend.image.stacks import Stack
from histomend.image.writing import check_jpeg

Pixels = npt.NDArray[Any]


class Sink(Protocol):
    """Takes finished pixels, in the order of the units of a job."""

    def write(self, plane: int, region: Region, pixels: Pixels) -> None:
        """Put the values (h, w, C) of a region (x, y, w, h) of a plane in their place."""


class ArraySink:
    """Keeps all pixels in memory.

    Parameters
    ----------
    values : (Z, H, W, C)
        Written to in place: empty, or a copy of the source where most of it stays as it is.
    """

    def __init__(self, values: Pixels):
        self.values = values

    @classmethod
    def empty(cls, planes: int, height: int, width: int, channels: int, dtype: Any) -> ArraySink:
        """Return a sink of which every pixel has to be written."""
        return cls(np.empty((planes, height, width, channels), dtype))

    def write(self, plane: int, region: Region, pixels: Pixels) -> None:
        """Put the values (h, w, C) of a region (x, y, w, h) of a plane in their place."""
        x, y, w, h = region
        self.values[plane, y : y + h, x : x + w] = pixels


def write_output(
    path: Path, image: Image | Stack, *, note: str, lossy: bool = False, force: bool = False
) -> None:
    """Write an image or a stack with its profile, transparency, pixel size and a note.

    Raises
    ------
    SettingError, OutputError
    """
    if isinstance(image, Stack):
        write_stack(path, image, note=note, lossy=lossy, force=force)
        return
    write_image(
        path,
        image.pixels,
        alpha=image.alpha,
        icc=image.icc,
        mpp=image.mpp,
        note=note,
        lossy=lossy,
        force=force,
    )


def check_holds(
    path: Path, about: Image | Stack, shape: tuple[int, int, int, int], dtype: np.dtype[Any]
) -> None:
    """Fail early if a file of this suffix cannot hold a result.

    Parameters
    ----------
    about : what the result is made of.
    shape, dtype : of the result, (Z, H, W, C).

    Raises
    ------
    SettingError
    """
    picture = path.suffix.lower() not in (".tif", ".tiff")
    if isinstance(about, Stack) and picture:
        check_picture(path, about)
    if picture and path.suffix.lower() != ".png":
        check_jpeg(path, shape[1:], dtype, alpha=about.alpha is not None)
