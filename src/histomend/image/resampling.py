"""Images of another size, and how far an enlarged one is from its source."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from histomend.errors import SettingError
from histomend.image.pixels import Intensity

Pixels = npt.NDArray[Any]
Mode: TypeAlias = Literal["area", "bilinear", "bicubic"]
SMALLEST_SCALE, LARGEST_SCALE = 1.0, 8.0


def target_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return height and width of an image enlarged by `scale`.

    Raises
    ------
    SettingError
        The scale is out of range.
    """
    if not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        raise SettingError(
            f"The scale is {scale:g}, but must lie between {SMALLEST_SCALE:g} and "
            f"{LARGEST_SCALE:g}. To enlarge further, upscale the result once more."
        )
    return round(height * scale), round(width * scale)


def resized(image: Tensor, size: tuple[int, int], mode: Mode) -> Tensor:
    """Return an image (3, h, w) of another size, interpolated without antialiasing.

    The result of "bicubic" may leave [0, 1].
    """
    if mode == "area":
        return F.interpolate(image[None], size, mode="area")[0]
    return F.interpolate(image[None], size, mode=mode, align_corners=False)[0]


def resized_to(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Enlarge by bicubic interpolation, as what restoration modules were trained on.

    Parameters
    ----------
    pixels : (H, W, C) uint8 or uint16
    size : (height, width)

    Returns
    -------
    (height, width, C) of the same type
    """
    intensity = Intensity.for_dtype(pixels.dtype)
    out = np.empty((*size, pixels.shape[2]), pixels.dtype)
    for channel in range(pixels.shape[2]):
        plane = torch.from_numpy(intensity.encode(pixels[..., channel]))
        larger = resized(plane[None], size, "bicubic")[0].clamp_(-1, 1)
        out[..., channel] = intensity.decode(larger.numpy(), pixels.dtype)
    return out


def deviation(source: Pixels, enlarged: Pixels) -> float:
    """Return by how much an enlarged image contradicts its source.

    The enlarged image is averaged over each pixel of the source, as a scanner with such pixels
    would have seen it.

    Parameters
    ----------
    source, enlarged : (h, w, C) and (H, W, C) uint8 or uint16

    Returns
    -------
    float
        Mean absolute difference, in levels of 8 bits.
    """
    total = 0.0
    for channel in range(source.shape[2]):
        plane = torch.from_numpy(enlarged[..., channel].astype(np.float32))
        seen = resized(plane[None], source.shape[:2], "area")[0].numpy()
        total += float(np.abs(seen - source[..., channel]).mean(dtype=np.float64))
    return total / source.shape[2] * 255 / np.iinfo(source.dtype).max
