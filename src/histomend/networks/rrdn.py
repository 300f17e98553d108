"""RRDN: ESRGAN's body with plain ReLUs and one shuffle of pixels, as the package ISR trained it.

The packages `@upscalerjs/esrgan-*` are these networks.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from histomend.networks.rrdb import ResidualInResidual


class RRDN(nn.Module):
    """Upscales by a whole number. The defaults are those of `@upscalerjs/esrgan-thick`.

    Parameters
    ----------
    scale : int
    channels : int
    blocks : int
    growth : int
        Channels that each convolution of a dense block adds.
    """

    def __init__(self, scale: int = 4, channels: int = 64, blocks: int = 10, growth: int = 32):
        super().__init__()
        self.scale = scale
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        made = (ResidualInResidual(channels, growth, slope=0.0) for _ in range(blocks))
        self.body = nn.Sequential(*made)
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shuffle = nn.Conv2d(channels, 3 * scale**2, 3, padding=1)
        self.conv_last = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image (B, 3, scale H, scale W) for x (B, 3, H, W), both in [0, 1].

        The output is not clipped. H and W are free.
        """
        h = self.conv_first(x)
        h = h + self.conv_body(self.body(h))
        return self.conv_last(F.pixel_shuffle(self.conv_shuffle(h), self.scale))


def rrdn_settings(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the network that tensors belong to.

    Raises
    ------
    KeyError
        A tensor is missing without which the size cannot be told.
    """
    return {
        "scale": round((tensors["conv_shuffle.weight"].shape[0] / 3) ** 0.5),
        "channels": tensors["conv_first.weight"].shape[0],
        "blocks": len({name.split(".")[1] for name in tensors if name.startswith("body.")}),
        "growth": tensors["body.0.rdb1.conv1.weight"].shape[0],
    }
