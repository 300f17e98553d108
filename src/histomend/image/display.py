"""Two-channel Raman images in colours that look like H&E: to look at, never to compute with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError, UnsupportedImageError
from histomend.image.pixels import Pixels
from histomend.image.signals import signal_range
from histomend.image.stacks import Stack

# Added to CH3 - CH2, in 16-bit values, so that little of it is negative.
OFFSET = 5000
_LEVELS = 1 << 16


def shown(stack: Stack, plane: int | None = None) -> tuple[npt.NDArray[np.uint8], int]:
    """Colour one plane of a stack, and say which.

    Parameters
    ----------
    stack : Stack
        Of the channels CH2 and CH3.
    plane : int, optional
        From 0; by default the middle one.

    Returns
    -------
    (H, W, 3) uint8, and the plane's number
        See `virtual_he`.

    Raises
    ------
    SettingError
        There is no such plane.
    UnsupportedImageError
        Another number of channels.
    """
    where = "the array" if stack.source is None else str(stack.source)
    planes = len(stack.values)
    chosen = planes // 2 if plane is None else plane
    if not 0 <= chosen < planes:
        raise SettingError(
            f"{where}: there is no plane {chosen}. Name one from 0 to {planes - 1} with --plane."
        )
    return virtual_he(stack.values[chosen], where), chosen


def virtual_he(channels: Pixels, where: str = "the array") -> npt.NDArray[np.uint8]:
    """Colour the channels CH2 and CH3 as RSCD's authors show them.

    A third channel CH3 - CH2 + 5000 (in 16-bit values) is put before the two, and each is
    equalised over its 16-bit histogram. Equalisation stretches noise and empty places too, so
    that two pictures cannot be compared by their brightness.

    Parameters
    ----------
    channels : (H, W, 2) uint8, uint16, or float in [0, 1]
        CH2 (2845 cm⁻¹, lipid) and CH3 (2930 cm⁻¹, protein and DNA).
    where : str
        What messages call it.

    Returns
    -------
    (H, W, 3) uint8
        CH3 - CH2, CH2 and CH3 as red, green and blue.

    Raises
    ------
    UnsupportedImageError
        Another number of channels, or a stack.
    ValueRangeError
        See `signal_range`.
    """
    full = signal_range(channels, where)
    if channels.ndim != 3 or channels.shape[2] != 2:
        raise UnsupportedImageError(
            f"{where}: virtual H&E is made of one image of two channels (H, W, 2), not of "
            f"{channels.shape}. Images of one or three channels need no such colours: open them "
            "in any viewer. If axes were taken wrongly, name them: --axes ZCYX, say."
        )
    scale = (_LEVELS - 1) / (full.high - full.low)
    lipid, protein = np.moveaxis(np.rint(channels * scale).astype(np.int64), -1, 0)
    difference = np.clip(protein - lipid + OFFSET, 0, _LEVELS - 1)
    return np.stack([_equalised(c) for c in (difference, lipid, protein)], axis=-1)


def _equalised(values: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Spread (H, W) values below 65536 so that each brightness is as frequent as any other."""
    below = np.cumsum(np.bincount(values.ravel(), minlength=_LEVELS))
    # The smallest value becomes 0; a uniform channel is black.
    first = below[values.min()]
    rank = (below - first) / max(values.size - first, 1)
    shown: npt.NDArray[np.uint8] = np.rint(255 * rank.clip(0, 1)).astype(np.uint8)[values]
    return shown
