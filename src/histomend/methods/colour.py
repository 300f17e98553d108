"""Colour fixes: a decoded sample gets the colours of the image that steered it.

Samples drift in colour, and autoencoders shift it and lose detail. The fixes work on bands of rows,
so that no more than a band of a large image is held twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from histomend.errors import SettingError

COLOUR_FIXES = {
    "difference": "the cleaned image, plus what the diffusion drew between the source's pixels; "
    "`fast`'s",
    "wavelet": "coarse colours of the cleaned image, details of the sample; `paper`'s",
    "adain": "each channel gets the cleaned image's mean and standard deviation",
    "none": "as it was decoded",
}
LEVELS = 5
HALO = (1 << LEVELS) - 1
"""Rows beyond a band that its wavelet fix looks at."""
# Each leaves less than half of the means that were there before.
PASSES = 3


def check_colour_fix(name: str) -> None:
    """Raise a SettingError if there is no such colour fix."""
    if name not in COLOUR_FIXES:
        raise SettingError(
            f"No colour fix is called {name!r}. There are {', '.join(COLOUR_FIXES)}."
        )


def wavelet_fixed(x: Tensor, reference: Tensor) -> Tensor:
    """Return x with the coarse part of a reference, in place of its own.

    As in DiffBIR: coarse is what five levels of a wavelet without decimation leave, each a 3×3
    binomial filter whose holes double. It is linear, so that one pass over the difference does.

    Parameters
    ----------
    x, reference : (B, C, H, W)
    """
    return x + coarse(reference - x)


def coarse(x: Tensor) -> Tensor:
    """Return what of x (B, C, H, W) is left after five levels; borders are continued."""
    for level in range(LEVELS):
        step = 1 << level
        for dim, pad in ((-2, (0, 0, step, step)), (-1, (step, step, 0, 0))):
            wide = F.pad(x, pad, mode="replicate")
            before, same, after = (wide.narrow(dim, k * step, x.shape[dim]) for k in range(3))
            x = 0.25 * before + 0.5 * same + 0.25 * after
    return x


def keep_between_pixels(change: Tensor, grid: tuple[int, int]) -> None:
    """Take out of a change what an image with larger pixels would show of it, in place.

    Of each of the larger pixels the mean is taken (as a scanner does), and the interpolated means
    are subtracted; again and again, as interpolated they are not quite those means. A plane at a
    time, as the change may be large.

    Parameters
    ----------
    change : (C, H, W)
    grid : (h, w)
        How many larger pixels there are along each side. Fewer than two px of the change to one
        of them would leave nothing, so that there are at most half as many.
    """
    height, width = change.shape[1:]
    coarse_size = min(grid[0], max(1, height // 2)), min(grid[1], max(1, width // 2))
    for plane in change:
        fine = plane[None, None].float()
        for _ in range(PASSES):
            means = F.interpolate(fine, coarse_size, mode="area")
            fine -= F.interpolate(means, (height, width), mode="bicubic", align_corners=False)
        plane.copy_(fine[0, 0])


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of each channel, (C, 1, 1) float32."""

    mean: Tensor
    std: Tensor


def moments(bands: Iterable[Tensor]) -> Moments:
    """Return the moments over all bands (C, h, W) of an image together."""
    count, total, square = 0, torch.zeros(()), torch.zeros(())
    for band in bands:
        values = band.double().flatten(1)
        count += values.shape[1]
        total, square = total + values.sum(1), square + values.square().sum(1)
    mean = total / count
    std = (square / count - mean.square()).clamp(min=0).sqrt()
    return Moments(mean.float()[:, None, None], std.float()[:, None, None])


def adain_fixed(x: Tensor, own: Moments, wanted: Moments) -> Tensor:
    """Return x (B, C, H, W) with the mean and spread of another image.

    Adaptive instance normalisation (Huang and Belongie 2017) on pixels.
    """
    return (x - own.mean) / own.std.clamp(min=1e-5) * wanted.std + wanted.mean
