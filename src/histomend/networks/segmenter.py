"""A small segmentation network: each place of an image gets a class.

A U-Net of plain convolutions that first puts 2×2 pixels into one place: what an artifact is shows
at micrometres, and a quarter of the places is a quarter of the work. Nothing in it looks further
than `reach_px`, so an image cut into parts with that much around each gives the same as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from histomend.errors import SettingError
from histomend.networks.padding import padded


class ConvBlock(nn.Sequential):
    """Two 3×3 convolutions, each with a batch norm (Ioffe and Szegedy 2015) and a ReLU.

    In evaluation the norms use averages of the training, and so no place depends on far ones.
    """

    def __init__(self, channels: int, out: int):
        super().__init__(
            nn.Conv2d(channels, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        )


class SegmentationUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with padded convolutions, for images of any size.

    Parameters
    ----------
    classes : int
    widths : channels of each level, from fine to coarse; each next one halves the map
    patch : int
        Pixels per place of the first level along a side, and of what comes out.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 48, 96, 160), patch: int = 2):
        super().__init__()
        self.patch = patch
        self.unit = patch << (len(widths) - 1)
        # Twice two convolutions at each level but the coarsest, which has two; and upsampling by
        # interpolation, which looks one place further. Rounded up to whole units.
        cells = sum((5 if level < len(widths) - 1 else 2) << level for level in range(len(widths)))
        self.reach_px = -(-cells * patch // self.unit) * self.unit
        here = 3 * patch**2
        self.down = nn.ModuleList()
        for width in widths:
            self.down.append(ConvBlock(here, width))
            here = width
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(ConvBlock(here + width, width))
            here = width
        self.head = nn.Conv2d(here, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores of each class at each place for x (B, 3, H, W) in [-1, 1].

        They are (B, classes, ceil(H / patch), ceil(W / patch)). Their softmax
        is the probability of each class. H and W are free.
        """
        height, width = (-(-side // self.patch) for side in x.shape[-2:])
        h = F.pixel_unshuffle(padded(x, self.unit), self.patch)
        if h.device.type == "cpu":
            # Convolutions on CPU run on channels-last data without reordering.
            h = h.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            h = block(h if level == 0 else F.max_pool2d(h, 2))
            skips.append(h)
        skips.pop()
        for block in self.up:
            skip = skips.pop()
            h = block(torch.cat([F.interpolate(h, scale_factor=2.0), skip], 1))
        return self.head(h)[..., :height, :width]

    def fused(self) -> SegmentationUNet:
        """Return the network with its norms in the convolutions: faster, for inference only."""
        fused = copy.deepcopy(self).eval()
        for block in (*fused.down, *fused.up):
            for at in (3, 0):
                block[at] = fuse_conv_bn_eval(block[at], block[at + 1])
                del block[at + 1]
        return fused


SEGMENTER_ARCHS: dict[str, Callable[[int], SegmentationUNet]] = {"small": SegmentationUNet}


def build_segmenter(arch: str, classes: int) -> nn.Module:
    """Return a segmentation network with fresh weights.

    Raises
    ------
    SettingError
        If there is no such arch.
    """
    if arch not in SEGMENTER_ARCHS:
        names = ", ".join(SEGMENTER_ARCHS)
        raise SettingError(f"No arch of the detector is called {arch!r}. There are {names}.")
    return SEGMENTER_ARCHS[arch](classes)
