"""Padding that lets networks take any height and width."""

from __future__ import annotations

import torch
from torch import Tensor


def padded(x: Tensor, unit: int) -> Tensor:
    """Return x (B, C, H, W) extended by reflection to multiples of `unit`, to the right and below.

    Unlike PyTorch's reflection it goes on where x is smaller than what is to be added, as the
    latents of small images are: it reflects at both ends in turn.
    """
    for dim in (-2, -1):
        length = x.shape[dim]
        if extra := -length % unit:
            place = torch.arange(length + extra, device=x.device) % max(1, 2 * (length - 1))
            x = x.index_select(dim, torch.minimum(place, 2 * (length - 1) - place))
    return x
