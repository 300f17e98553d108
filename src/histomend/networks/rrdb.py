"""RRDBNet (Wang et al. 2018, "ESRGAN"), the network of BSRGAN and Real-ESRGAN."""

from __future__ import annotations

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.errors import SettingError
from histomend.networks.padding import padded

# How much of a block's change is added: more makes the deep network unstable (section 3.1).
RESIDUAL = 0.2
SLOPE = 0.2
SCALE = 4

# Networks that restore an image in its own size: 4×4 pixels are joined first. "paper" is as wide
# and deep as the published ones. They start as the identity (`skip`), as those of SwinIR do.
RRDB_ARCHS: dict[str, dict[str, Any]] = {
    "small": {"channels": 48, "blocks": 6, "growth": 24, "unshuffle": 4, "skip": True},
    "paper": {"unshuffle": 4, "skip": True},
}

# BSRGAN's files keep the names of ESRGAN's first release; Real-ESRGAN's have those we use.
_RENAMED = (
    (r"^RRDB_trunk\.(\d+)\.RDB(\d)\.", r"body.\1.rdb\2."),
    (r"^trunk_conv\.", "conv_body."),
    (r"^upconv(\d)\.", r"conv_up\1."),
    (r"^HRconv\.", "conv_hr."),
)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the outputs of all before it, with a residual."""

    def __init__(self, channels: int, growth: int, slope: float = SLOPE):
        super().__init__()
        self.slope = slope
        for number in range(5):
            out = growth if number < 4 else channels
            conv = nn.Conv2d(channels + number * growth, out, 3, padding=1)
            self.add_module(f"conv{number + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W) for x of the same shape."""
        seen = x
        for number in range(1, 5):
            h = F.leaky_relu(self.get_submodule(f"conv{number}")(seen), self.slope)
            seen = torch.cat([seen, h], 1)
        return x + RESIDUAL * self.get_submodule("conv5")(seen)


class ResidualInResidual(nn.Module):
    """Three dense blocks in a row, with a residual around them."""

    def __init__(self, channels: int, growth: int, slope: float = SLOPE):
        super().__init__()
        self.rdb1 = DenseBlock(channels, growth, slope)
        self.rdb2 = DenseBlock(channels, growth, slope)
        self.rdb3 = DenseBlock(channels, growth, slope)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels, H, W) for x of the same shape."""
        return x + RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x)))


class RRDBNet(nn.Module):
    """Upscales by 4, or by less where pixels of the input are joined first.

    The defaults are the published ×4 networks, with 16,697,987 parameters.

    Parameters
    ----------
    channels : int
    blocks : int
    growth : int
        Channels that each convolution of a dense block adds.
    unshuffle : 1, 2 or 4
        Pixels of the input that are joined along a side; the scale is 4 / unshuffle.
    skip : bool
        Whether the output is a change of the input, none at first; only at scale 1.

    Raises
    ------
    SettingError
        A change of the input was asked for at another scale than 1.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 23,
        growth: int = 32,
        unshuffle: int = 1,
        skip: bool = False,
    ):
        super().__init__()
        self.unshuffle, self.scale, self.skip = unshuffle, SCALE // unshuffle, skip
        if skip and self.scale != 1:
            raise SettingError(f"An image {self.scale} times larger is not a change of the input.")
        self.conv_first = nn.Conv2d(3 * unshuffle**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualInResidual(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)
        _start(self.body)
        if skip:
            nn.init.zeros_(self.conv_last.weight)
            nn.init.zeros_(self.conv_last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return the image (B, 3, scale H, scale W) for x (B, 3, H, W), both in [0, 1].

        The output is not clipped. H and W are free.
        """
        height, width = x.shape[-2:]
        x = padded(x, self.unshuffle)
        h = self.conv_first(F.pixel_unshuffle(x, self.unshuffle))
        h = h + self.conv_body(self.body(h))
        for conv in (self.conv_up1, self.conv_up2):
            h = F.leaky_relu(conv(F.interpolate(h, scale_factor=2.0, mode="nearest")), SLOPE)
        h = self.conv_last(F.leaky_relu(self.conv_hr(h), SLOPE))
        if self.skip:
            h = h + x
        return h[..., : self.scale * height, : self.scale * width]


def rrdb_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of BSRGAN's or Real-ESRGAN's files by our names."""
    renamed = {}
    for name, value in published.items():
        for theirs, ours in _RENAMED:
            name = re.sub(theirs, ours, name)
        renamed[name] = value
    return renamed


def rrdb_settings(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the network that tensors (by our names) belong to.

    Raises
    ------
    KeyError
        A tensor is missing without which the size cannot be told.
    """
    first = tensors["conv_first.weight"]
    blocks = {name.split(".")[1] for name in tensors if name.startswith("body.")}
    return {
        "channels": first.shape[0],
        "blocks": len(blocks),
        "growth": tensors["body.0.rdb1.conv1.weight"].shape[0],
        "unshuffle": round((first.shape[1] / 3) ** 0.5),
    }


@torch.no_grad()
def _start(body: nn.Module) -> None:
    """Draw a tenth of He's weights, so that a deep network starts near the identity."""
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
            module.weight.mul_(0.1)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
