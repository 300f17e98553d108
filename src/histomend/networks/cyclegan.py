"""The networks of CycleGAN (Zhu et al. 2017, appendix 7.2), the unpaired baseline of both papers.

Two generators translate damaged images into clean ones and back, and one discriminator judges
each side. A restoration is one call of one generator, without a mask.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from histomend.networks.critic import PatchDiscriminator, Verdict, judged, start
from histomend.networks.padding import padded

# Levels of the generator below full resolution, each of half the side.
_HALVINGS = 2
# Images that a critic's pool holds (section 4, "Training details").
POOL = 50


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
    in_channels, out_channels : int
        Of the images.
    width : int
        Channels at full resolution; doubled at each halving.
    blocks : int
        Residual blocks: 9 for images of 256×256, 6 for 128×128.
    """

    def __init__(
        self, in_channels: int = 3, out_channels: int = 3, width: int = 64, blocks: int = 9
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(in_channels, width, 7)]
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
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(width, out_channels, 7), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        start(self)

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        """Return the translated image, (B, out_channels, H, W) in [-1, 1].

        Parameters
        ----------
        x : (B, in_channels, H, W) in [-1, 1]
            H and W are free from 8 on: x is padded by reflection to multiples of 4, and cropped
            after. The norms use the whole image, so a part of it is not translated as the whole
            is.
        t : not used
            It is here because every network is called with a time.
        """
        height, width = x.shape[-2:]
        return self.layers(padded(x, 1 << _HALVINGS))[..., :height, :width]


class Pass(NamedTuple):
    """What one pass of training gives; images are (B, C, H, W) in fp32.

    Parameters
    ----------
    cycled_damaged, cycled_clean : images
        Restored and damaged again; damaged and restored again.
    kept_damaged, kept_clean : images
        Damaged and clean images after the generator that makes such ones: the identity.
    on_clean, on_damaged : Verdict
        On images that are clean or pass for it, and on damaged ones.
    """

    cycled_damaged: Tensor
    cycled_clean: Tensor
    kept_damaged: Tensor
    kept_clean: Tensor
    on_clean: Verdict
    on_damaged: Verdict


class CycleGan(nn.Module):
    """Both generators and both critics: one pass of training.

    Parameters
    ----------
    channels : int
        Of the images.
    side : int
        Of the crops in px, for the pools.
    width, blocks : int
        See `Generator`; the critics begin as wide.
    """

    def __init__(self, channels: int, side: int, width: int = 64, blocks: int = 9):
        super().__init__()
        self.restoring = Generator(channels, channels, width, blocks)
        self.damaging = Generator(channels, channels, width, blocks)
        self.clean_critic = PatchDiscriminator(channels, width)
        self.damaged_critic = PatchDiscriminator(channels, width)
        self.clean_pool = ImagePool(channels, side)
        self.damaged_pool = ImagePool(channels, side)

    def forward(self, damaged: Tensor, clean: Tensor, slots: Tensor) -> Pass:
        """Translate both ways and back, and judge.

        Parameters
        ----------
        damaged, clean : (B, C, side, side) in [-1, 1]
            Not of the same tissue.
        slots : (2, B) int64
            Places in the two pools; see `ImagePool`.
        """
        # Norms are those of each image, so that two batches are translated as one.
        made_clean, kept_clean = self.restoring(torch.cat([damaged, clean])).float().chunk(2)
        made_damaged, kept_damaged = self.damaging(torch.cat([clean, damaged])).float().chunk(2)
        return Pass(
            self.damaging(made_clean).float(),
            self.restoring(made_damaged).float(),
            kept_damaged,
            kept_clean,
            judged(self.clean_critic, clean, made_clean, self.clean_pool(made_clean, slots[0])),
            judged(
                self.damaged_critic,
                damaged,
                made_damaged,
                self.damaged_pool(made_damaged, slots[1]),
            ),
        )


class ImagePool(nn.Module):
    """Earlier images of a generator, so that its critic does not forget them.

    Of the images that a critic is shown, some are exchanged for older ones (Shrivastava et al.
    2017). The images are buffers, so that they are saved with the network and a run that was
    stopped goes on with the same ones.
    """

    images: Tensor
    filled: Tensor

    def __init__(self, channels: int, side: int):
        super().__init__()
        empty = torch.zeros(POOL, channels, side, side, dtype=torch.float16)
        self.register_buffer("images", empty)
        self.register_buffer("filled", torch.tensor(0))

    @torch.no_grad()
    def forward(self, fresh: Tensor, slots: Tensor) -> Tensor:
        """Return the images to show to the critic, and remember fresh ones.

        Parameters
        ----------
        fresh : (B, C, side, side)
        slots : (B,) int64
            Which older image to exchange for each fresh one; -1 shows the fresh one. As long as
            the pool is not full, fresh ones are shown and put into it.
        """
        shown = fresh.detach().clone()
        for row, slot in enumerate(slots.tolist()):
            place = slot
            if self.filled < POOL:
                place = int(self.filled)
                self.filled += 1
            elif slot >= 0:
                shown[row] = self.images[slot]
            if place >= 0:
                self.images[place] = fresh[row]
        return shown
