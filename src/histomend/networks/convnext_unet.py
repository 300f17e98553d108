"""The denoiser of RSCD: a U-Net of ConvNeXt blocks with linear attention."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.networks.padding import padded
from histomend.networks.swin_unet import sinusoid


class ConvNextBlock(nn.Module):
    """Depthwise 7×7, norm, 3×3 to twice the width, GELU, norm, 3×3 back; with a residual.

    The time embedding, where there is one, is added after the depthwise convolution. Unlike
    ConvNeXt's own blocks these have dense 3×3 convolutions and norms over the whole map.

    Parameters
    ----------
    time_channels : int
        Width of the embedding; 0 for a block that is not told the time.
    """

    def __init__(self, channels: int, out: int, time_channels: int):
        super().__init__()
        self.embed_time = (
            nn.Sequential(nn.GELU(), nn.Linear(time_channels, channels)) if time_channels else None
        )
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.GroupNorm(1, channels)
        self.widen = nn.Conv2d(channels, 2 * out, 3, padding=1)
        self.wide_norm = nn.GroupNorm(1, 2 * out)
        self.narrow = nn.Conv2d(2 * out, out, 3, padding=1)
        self.skip = nn.Conv2d(channels, out, 1) if channels != out else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Return (B, out, H, W) for x (B, channels, H, W) and the embedding (B, D)."""
        h = self.depthwise(x)
        if self.embed_time is not None and embedding is not None:
            h = h + self.embed_time(embedding)[:, :, None, None]
        h = F.gelu(self.widen(self.norm(h)))
        return self.narrow(self.wide_norm(h)) + self.skip(x)


class LinearAttention(nn.Module):
    """Attention whose cost grows with the number of places, not its square; with a residual."""

    def __init__(self, channels: int, heads: int = 4, depth: int = 32):
        super().__init__()
        self.heads, self.depth = heads, depth
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * depth, 1, bias=False)
        self.proj = nn.Conv2d(heads * depth, channels, 1)
        self.proj_norm = nn.GroupNorm(1, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) with what each place gathers from all others."""
        b, _, h, w = x.shape
        q, k, v = (
            part.reshape(b, self.heads, self.depth, h * w)
            for part in self.qkv(self.norm(x)).chunk(3, 1)
        )
        q = q.softmax(-2) * self.depth**-0.5
        gathered = k.softmax(-1) @ v.transpose(-1, -2)
        out = gathered.transpose(-1, -2) @ q
        return x + self.proj_norm(self.proj(out.reshape(b, -1, h, w)))


class FullAttention(nn.Module):
    """Attention between all pairs of places, with a residual."""

    def __init__(self, channels: int, heads: int = 4, depth: int = 32):
        super().__init__()
        self.heads, self.depth = heads, depth
        self.norm = nn.GroupNorm(1, channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * depth, 1, bias=False)
        self.proj = nn.Conv2d(heads * depth, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, H, W) with what each place gathers from all others."""
        b, _, h, w = x.shape
        q, k, v = (
            part.reshape(b, self.heads, self.depth, h * w).transpose(-1, -2)
            for part in self.qkv(self.norm(x)).chunk(3, 1)
        )
        out = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj(out.transpose(-1, -2).reshape(b, -1, h, w))


class Level(nn.Module):
    """Two blocks and linear attention."""

    def __init__(self, channels: int, out: int, time_channels: int):
        super().__init__()
        self.first = ConvNextBlock(channels, out, time_channels)
        self.second = ConvNextBlock(out, out, time_channels)
        self.attention = LinearAttention(out)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (B, out, H, W) for x (B, channels, H, W) and the embedding (B, D)."""
        return self.attention(self.second(self.first(x, embedding), embedding))


class ConvNextUNet(nn.Module):
    """U-Net of ConvNeXt blocks, at full resolution, with attention at every level.

    Parameters
    ----------
    in_channels, out_channels : int
    channels : int
        Unit of the levels' widths, and width of the time's sinusoid.
    initial : int
        Width after the first convolution.
    multipliers : width of each level, in units of `channels`
    """

    def __init__(
        self,
        in_channels: int = 2,
        out_channels: int = 2,
        channels: int = 256,
        initial: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 2, 4),
    ):
        super().__init__()
        self.channels = channels
        self.unit = 1 << (len(multipliers) - 1)
        time = 4 * channels
        self.embed_time = nn.Sequential(nn.Linear(channels, time), nn.GELU(), nn.Linear(time, time))
        self.entry = nn.Conv2d(in_channels, initial, 7, padding=3)
        widths = [channels * m for m in multipliers]
        self.down = nn.ModuleList(
            Level(here, out, time) for here, out in pairwise([initial, *widths])
        )
        self.halve = nn.ModuleList(nn.Conv2d(w, w, 4, 2, 1) for w in widths[:-1])
        deepest = widths[-1]
        self.middle1 = ConvNextBlock(deepest, deepest, time)
        self.attention = FullAttention(deepest)
        self.middle2 = ConvNextBlock(deepest, deepest, time)
        self.up = nn.ModuleList(
            Level(2 * here, out, time) for here, out in pairwise(reversed(widths))
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(w, w, 4, 2, 1) for w in reversed(widths[:-1])
        )
        self.last = ConvNextBlock(widths[0], widths[0], 0)
        self.head = nn.Conv2d(widths[0], out_channels, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) for x (B, in_channels, H, W) at times t (B,).

        H and W are free: x is padded by reflection to what the levels need, and cropped after.
        """
        height, width = x.shape[-2:]
        x = padded(x, self.unit)
        if x.device.type == "cpu":
            # Convolutions on CPU run on channels-last data without reordering.
            x = x.contiguous(memory_format=torch.channels_last)
        # Its authors count the times from 0, where ours is the clean image.
        embedding = self.embed_time(sinusoid(t - 1, self.channels).to(x.dtype))
        h = self.entry(x)
        skips = []
        for k, level in enumerate(self.down):
            h = level(h, embedding)
            skips.append(h)
            if k < len(self.halve):
                h = self.halve[k](h)
        h = self.middle2(self.attention(self.middle1(h, embedding)), embedding)
        for level, enlarge in zip(self.up, self.enlarge, strict=True):
            h = enlarge(level(torch.cat([h, skips.pop()], 1), embedding))
        return self.head(self.last(h))[..., :height, :width]
