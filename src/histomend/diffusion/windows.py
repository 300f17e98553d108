"""Windows that overlap along a side, and how much each of them counts where."""

from __future__ import annotations

import torch
from torch import Tensor


def window_origins(length: int, window: int, overlap: int) -> list[int]:
    """Return where windows begin along a side of `length` pixels; the last one is flush."""
    if length <= window:
        return [0]
    stride = window - overlap
    count = -(-(length - window) // stride)
    return [*(i * stride for i in range(count)), length - window]


def ramp(window: int) -> Tensor:
    """Return the weights (window,) across a window: a raised cosine, positive everywhere."""
    return torch.hann_window(window + 2, periodic=False)[1:-1]
