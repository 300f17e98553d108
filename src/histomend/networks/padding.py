"""Padding that lets networks and filters take any height and width."""

from __future__ import annotations

import torch
from torch import Tensor


def padded(x: Tensor, unit: int) -> Tensor:
    """Return x (B, C, H, W) extended by reflection to multiples of `unit`, to the right and below.

    See `reflected`.
    """
    height, width = x.shape[-2:]
    return reflected(x, (0, -height % unit), (0, -width % unit))


def reflected(x: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Return x (B, C, H, W) extended by reflection.

    Unlike PyTorch's reflection it goes on where x is smaller than what is to be added, as the
    latents of small images are: it reflects at both ends in turn.

    Parameters
    ----------
    rows, columns : (before, after)
        How many are added at either end.
    """
    for dim, (before, after) in ((-2, rows), (-1, columns)):
        if before or after:
            length = x.shape[dim]
            place = torch.arange(-before, length + after, device=x.device)
            place = place % max(1, 2 * (length - 1))
            x = x.index_select(dim, torch.minimum(place, 2 * (length - 1) - place))
    return x
