"""Noise2Noise (Lehtinen et al. 2018): one call of a network that has never seen a clean image.

It learns to tell one noisy image from another of the same scene. As the noise of the second cannot
be foreseen and its mean is zero, the best that it can tell is the scene.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def without_noise(network: nn.Module, x: Tensor) -> Tensor:
    """Return x (B, C, H, W) less the noise that the network tells.

    The networks are those of diffusion, and are told a time. Here it is always 1.
    """
    noise: Tensor = network(x, torch.ones(len(x), dtype=torch.int64, device=x.device))
    return x - noise.to(x.dtype)
