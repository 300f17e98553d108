"""Histo-Diffusion's controllable diffusion on our latent prior: a branch that steers it.

As in ControlNet (Zhang et al. 2023) the prior stays as it is. A copy of its first half also sees
the control, and what it finds is added to the prior's skip connections and middle, through
convolutions that start at zero: a fresh branch changes nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from histomend.networks.latent_unet import decoded, encoded
from histomend.networks.padding import padded

# The parts of a U-Net that its first half consists of.
_HALF = ("time_proj", "time_embedding", "conv_in", "down_blocks", "mid_block")


class ControlBranch(nn.Module):
    """A copy of the first half of a latent U-Net, with more channels in.

    Parameters
    ----------
    prior : module that `latent_unet` made
        Its weights are where the branch starts.
    control_channels : int
        Of what the branch sees beside the prior's own input; their weights start at zero.
    """

    def __init__(self, prior: Any, control_channels: int):
        super().__init__()
        for part in _HALF:
            setattr(self, part, copy.deepcopy(getattr(prior, part)))
        self.conv_in = widened(prior.conv_in, control_channels)
        self.requires_grad_(True)
        widths = _skip_widths(prior)
        self.zero_convs = nn.ModuleList(zero_conv(width) for width in widths)
        self.zero_middle = zero_conv(prior.config.block_out_channels[-1])

    def forward(self, x: Tensor, t: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return what is added to the prior's middle, and to each of its skips."""
        middle, skips, _ = encoded(self, x, t)
        return self.zero_middle(middle), [
            conv(skip) for conv, skip in zip(self.zero_convs, skips, strict=True)
        ]


class ControlledUNet(nn.Module):
    """A frozen prior and its branch as one network, called as network(cat(z_t, control), t).

    Parameters
    ----------
    prior : module that `latent_unet` made
    branch : ControlBranch
    channels : int
        Of the latent z_t; the control has as many.
    context : bool
        Whether the prior also sees visible cells and a mask. It is told that everything is
        masked, so that it works as an unconditional one.
    """

    def __init__(self, prior: Any, branch: nn.Module, channels: int, *, context: bool):
        super().__init__()
        self.prior, self.branch = prior, branch
        self.channels, self.context = channels, context
        self.unit = 1 << (len(prior.config.block_out_channels) - 1)

    def forward(self, entry: Tensor, t: Tensor) -> Tensor:
        """Return the prior's prediction (B, channels, H, W) for (B, 2 channels, H, W)."""
        height, width = entry.shape[-2:]
        x, control = padded(entry, self.unit).split(self.channels, 1)
        if self.context:
            x = torch.cat([x, torch.zeros_like(x), torch.ones_like(x[:, :1])], 1)
        # No weight before the branch learns, so its gradients need none of this.
        with torch.no_grad():
            middle, skips, embedding = encoded(self.prior, x, t)
        change, changes = self.branch(torch.cat([x, control], 1), t)
        skips = [skip + more for skip, more in zip(skips, changes, strict=True)]
        found = decoded(self.prior, middle + change, skips, embedding)
        return found[..., :height, :width]


def widened(conv: nn.Conv2d, more: int) -> nn.Conv2d:
    """Return a copy of a convolution with `more` channels in, whose weights are zero."""
    wide = nn.Conv2d(
        conv.in_channels + more,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
    ).to(conv.weight)
    with torch.no_grad():
        wide.weight.zero_()
        wide.weight[:, : conv.in_channels] = conv.weight
        if conv.bias is not None and wide.bias is not None:
            wide.bias.copy_(conv.bias)
    return wide


def zero_conv(channels: int) -> nn.Conv2d:
    """Return a convolution of single cells whose weights are zero."""
    conv = nn.Conv2d(channels, channels, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _skip_widths(prior: Any) -> list[int]:
    """Return the channels of each skip, in the order in which `encoded` gives them."""
    widths = [prior.conv_in.out_channels]
    for block in prior.down_blocks:
        width = block.resnets[-1].out_channels
        widths += [width] * (len(block.resnets) + len(block.downsamplers or ()))
    return widths
