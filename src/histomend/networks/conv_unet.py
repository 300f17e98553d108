"""The conventional denoiser: a U-Net of residual convolutions (Ho et al. 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.networks.padding import padded
from histomend.networks.swin_unet import sinusoid


def group_norm(channels: int, local: bool) -> nn.Module:
    """Return GroupNorm, or nothing where each place is to depend on its surroundings alone."""
    return nn.Identity() if local else nn.GroupNorm(32, channels)


class ResidualBlock(nn.Module):
    """GroupNorm, SiLU, 3×3 convolution, twice; the time embedding is added in between.

    Parameters
    ----------
    local : bool
        Do without the norms.
    """

    def __init__(self, channels: int, out: int, time_channels: int, local: bool = False):
        super().__init__()
        self.norm1 = group_norm(channels, local)
        self.conv1 = nn.Conv2d(channels, out, 3, padding=1)
        self.embed_time = nn.Sequential(nn.SiLU(), nn.Linear(time_channels, out))
        self.norm2 = group_norm(out, local)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        # A block begins as the identity, so that deep networks start to learn at once.
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (B, out, H, W) for x (B, channels, H, W) and the embedding (B, D)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.embed_time(embedding)[:, :, None, None]
        return self.skip(x) + self.conv2(F.silu(self.norm2(h)))


class SelfAttention(nn.Module):
    """Attention over all places of the map, with a residual."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) with what each place gathers from all others."""
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.norm(x)).flatten(2).transpose(1, 2).chunk(3, -1)
        out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.proj(out.transpose(1, 2).reshape(b, c, h, w))


class ConvUNet(nn.Module):
    """U-Net with residual blocks and attention in the middle only.

    Parameters
    ----------
    in_channels, out_channels : int
    channels : int
        Width of the first level.
    multipliers : width of each level, in units of `channels`
        Widths are multiples of 32, the groups of the norms, and more than 32: a group of one
        channel would take the time embedding out again.
    blocks : int
        Residual blocks per level of the encoder; the decoder has one more.
    patch : int
        Pixels per place of the first level along a side; 1 works at full resolution.
    local : bool
        Do without norms and attention, whose statistics are those of the whole field. What
        comes out at a place then depends on its surroundings alone, not on how a field is cut.
    tail : int
        Width of two convolutions at full resolution that end the network, and see the input once
        more; 0 for none. Without them each patch is put together by itself, which leaves a grid
        in what comes out.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        channels: int = 128,
        multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4),
        blocks: int = 2,
        patch: int = 1,
        local: bool = False,
        tail: int = 0,
    ):
        super().__init__()
        self.patch = patch
        self.unit = patch << (len(multipliers) - 1)
        self.channels = channels
        width = 4 * channels
        self.embed_time = nn.Sequential(
            nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.entry = nn.Conv2d(in_channels * patch**2, channels, 3, padding=1)
        widths = [channels * m for m in multipliers]
        skips = [channels]
        here = channels
        self.down = nn.ModuleList()
        for level, out in enumerate(widths):
            for _ in range(blocks):
                self.down.append(ResidualBlock(here, out, width, local))
                here = out
                skips.append(here)
            if level < len(widths) - 1:
                self.down.append(nn.Conv2d(here, here, 3, stride=2, padding=1))
                skips.append(here)
        self.middle1 = ResidualBlock(here, here, width, local)
        self.attention = nn.Identity() if local else SelfAttention(here)
        self.middle2 = ResidualBlock(here, here, width, local)
        self.up = nn.ModuleList()
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(ResidualBlock(here + skips.pop(), out, width, local))
                here = out
            if level:
                self.up.append(nn.Conv2d(here, here, 3, padding=1))
        self.norm = group_norm(here, local)
        self.head = nn.Conv2d(here, (tail or out_channels) * patch**2, 3, padding=1)
        last = self.head
        self.tail: nn.Sequential | None = None
        if tail:
            last = nn.Conv2d(tail, out_channels, 3, padding=1)
            entry = nn.Conv2d(tail + in_channels, tail, 3, padding=1)
            self.tail = nn.Sequential(entry, nn.SiLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) for x (B, in_channels, H, W) at times t (B,).

        H and W are free: x is padded by reflection to what the levels need, and cropped after.
        """
        height, width = x.shape[-2:]
        x = padded(x, self.unit)
        if x.device.type == "cpu":
            # Convolutions on CPU run on channels-last data without reordering.
            x = x.contiguous(memory_format=torch.channels_last)
        embedding = self.embed_time(sinusoid(t, self.channels).to(x.dtype))
        h = self.entry(F.pixel_unshuffle(x, self.patch))
        skips = [h]
        for layer in self.down:
            h = layer(h, embedding) if isinstance(layer, ResidualBlock) else layer(h)
            skips.append(h)
        h = self.middle2(self.attention(self.middle1(h, embedding)), embedding)
        for layer in self.up:
            if isinstance(layer, ResidualBlock):
                h = layer(torch.cat([h, skips.pop()], 1), embedding)
            else:
                h = layer(F.interpolate(h, scale_factor=2.0))
        h = F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)
        if self.tail is not None:
            h = self.tail(torch.cat([h, x], 1))
        return h[..., :height, :width]
