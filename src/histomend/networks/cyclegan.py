"""The networks of CycleGAN (Zhu et al. 2017, appendix 7.2), the unpaired baseline of both papers.

Two generators translate damaged images into clean ones and back, and one discriminator judges
each side. A restoration is one call of one generator, without a mask.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from histomend.networks.padding import padded

# Levels of the generator below full resolution, each of half the side.
_HALVINGS = 2


class ResidualBlock(nn.Module):
    """Reflect, 3×3 convolution, instance norm, twice, with a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) for x (B, C, H, W)."""
        return x + self.body(x)


class Generator(nn.Module):
    """Translates an image of one kind into the other.

    A 7×7 convolution, two of stride 2, residual blocks at a quarter of the side, two transposed
    convolutions back up, and a 7×7 convolution with tanh. The instance norms have no weights of
    their own. The biases before them do nothing, since a norm takes every constant out again, but
    the published networks have them and the papers' parameters count them.

    Parameters
    ----------
    channels : int
        Of the images.
    width : int
        Channels at full resolution; doubled at each halving.
    blocks : int
        Residual blocks: 9 for images of 256×256, 6 for 128×128.
    """

    def __init__(self, channels: int = 3, width: int = 64, blocks: int = 9):
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(channels, width, 7)]
        layers += [nn.InstanceNorm2d(width), nn.ReLU()]
        widths = [width << level for level in range(_HALVINGS + 1)]
        for above, below in pairwise(widths):
            layers += [nn.Conv2d(above, below, 3, stride=2, padding=1)]
            layers += [nn.InstanceNorm2d(below), nn.ReLU()]
        layers += [ResidualBlock(widths[-1]) for _ in range(blocks)]
        for below, above in pairwise(reversed(widths)):
            # Output padding undoes exactly one halving of an even side.
            layers += [
                nn.ConvTranspose2d(below, above, 3, stride=2, padding=1, output_padding=1),
                nn.InstanceNorm2d(above),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        _start(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return the translated image, (B, channels, H, W) in [-1, 1], for x of the same kind.

        H and W are free from 8 on: x is padded by reflection to multiples of 4, and cropped
        after. The norms use the whole image, so a part of it is not translated as the whole is.
        """
        height, width = x.shape[-2:]
        return self.layers(padded(x, 1 << _HALVINGS))[..., :height, :width]


class PatchDiscriminator(nn.Module):
    """Judges whether each 70×70 patch of an image is of the wanted kind (PatchGAN).

    4×4 convolutions, three of stride 2 and two of stride 1, which together see 70 px; instance
    norm between all but the first and the last.

    Parameters
    ----------
    channels : int
        Of the images.
    width : int
        Channels after the first convolution; doubled three times.
    """

    def __init__(self, channels: int = 3, width: int = 64):
        super().__init__()
        slope = 0.2
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1)]
        layers += [nn.LeakyReLU(slope)]
        for level, stride in enumerate((2, 2, 1)):
            here = width << level
            layers += [nn.Conv2d(here, 2 * here, 4, stride=stride, padding=1)]
            layers += [nn.InstanceNorm2d(2 * here), nn.LeakyReLU(slope)]
        layers += [nn.Conv2d(8 * width, 1, 4, padding=1)]
        self.layers = nn.Sequential(*layers)
        _start(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a score per patch, (B, 1, H/8 - 2, W/8 - 2), for x (B, channels, H, W).

        Scores are unbounded; the least-squares loss (section 3.1) drives them to 1 for images of
        the wanted kind and to 0 for others. H and W are 32 or more, rounded down where they are
        no multiples of 8.
        """
        return self.layers(x)


@torch.no_grad()
def _start(network: nn.Module) -> None:
    """Draw the weights of all convolutions from N(0, 0.02²) (appendix 7.1); biases start at 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
