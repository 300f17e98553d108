"""The Swin denoiser of ArtiFusion: a U of Swin blocks with a time token."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from histomend.networks.padding import padded
from histomend.networks.swin import SwinBlock, TimeMode


def sinusoid(t: Tensor, channels: int) -> Tensor:
    """Return the (B, channels) sinusoidal embedding of times (B,) (Vaswani et al. 2017)."""
    half = channels // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angles = t.float()[:, None] * rates
    return torch.cat([angles.cos(), angles.sin()], 1)


class PatchMerging(nn.Module):
    """Halves the map: four neighbours joined, LayerNorm, Linear 4C -> 2C."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, H/2, W/2, 2C) for (B, H, W, C) with even H and W."""
        parts = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.reduce(self.norm(torch.cat(parts, -1)))


class PatchExpanding(nn.Module):
    """Enlarges the map by `factor`: Linear, rearrange to `out` channels a pixel, LayerNorm."""

    def __init__(self, channels: int, factor: int, out: int):
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(channels, factor * factor * out, bias=False)
        self.norm = nn.LayerNorm(out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, factor H, factor W, out) for (B, H, W, C)."""
        b, h, w, _ = x.shape
        f = self.factor
        x = self.expand(x).view(b, h, w, f, f, -1).transpose(2, 3)
        return self.norm(x.reshape(b, f * h, f * w, -1))


class SwinUNet(nn.Module):
    """Swin denoiser of ArtiFusion (section 2, Fig. 3).

    Parameters
    ----------
    in_channels, out_channels : int
        3 and 6 for the paper's unconditional epsilon and variance; context adds 4 to the input.
    channels : int
        Width of the first stage; each further stage doubles it.
    depths : blocks per stage
    heads : attention heads per stage
    patch : int
        Pixels per token along a side.
    time : "token" (the paper's) or "add" (its ablation)
    drop_path : float
        Stochastic depth of the deepest block; it grows linearly from 0.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 6,
        channels: int = 96,
        depths: tuple[int, ...] = (2, 2, 2, 2),
        heads: tuple[int, ...] = (3, 6, 12, 24),
        patch: int = 4,
        window: int = 8,
        time: TimeMode = "token",
        drop_path: float = 0.1,
    ):
        super().__init__()
        self.patch = patch
        self.stages = len(depths)
        width = 512
        self.embed_time = nn.Sequential(nn.Linear(128, width), nn.SiLU(), nn.Linear(width, width))
        self.embed = nn.Conv2d(in_channels, channels, patch, patch)
        self.embed_norm = nn.LayerNorm(channels)
        rates = [drop_path * k / max(1, sum(depths) - 1) for k in range(sum(depths))]

        def stage(level: int) -> nn.ModuleList:
            first = sum(depths[:level])
            return nn.ModuleList(
                SwinBlock(
                    channels << level,
                    heads[level],
                    window,
                    shift=window // 2 if block % 2 else 0,
                    drop_path=rates[first + block],
                    time=time,
                    time_channels=width,
                    rows=(256 // patch) >> level,
                )
                for block in range(depths[level])
            )

        self.encoder = nn.ModuleList(stage(level) for level in range(self.stages))
        self.merge = nn.ModuleList(PatchMerging(channels << k) for k in range(self.stages - 1))
        self.norm = nn.LayerNorm(channels << (self.stages - 1))
        up = range(self.stages - 2, -1, -1)
        self.expand = nn.ModuleList(
            PatchExpanding(channels << (k + 1), 2, channels << k) for k in up
        )
        self.join = nn.ModuleList(nn.Linear(2 * (channels << k), channels << k) for k in up)
        self.decoder = nn.ModuleList(stage(k) for k in up)
        self.head_norm = nn.LayerNorm(channels)
        self.head_expand = PatchExpanding(channels, patch, channels)
        self.head = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.apply(_init)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Return (B, out_channels, H, W) for x (B, in_channels, H, W) at times t (B,).

        H and W are free: x is padded by reflection to what the stages need, and cropped after.
        """
        height, width = x.shape[-2:]
        x = padded(x, self.patch << (self.stages - 1))
        embedding = self.embed_time(sinusoid(t, 128).to(x.dtype))
        h = self.embed_norm(self.embed(x).permute(0, 2, 3, 1))
        skips = []
        for level, blocks in enumerate(self.encoder):
            skips.append(h)
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
            if level < self.stages - 1:
                h = self.merge[level](h)
        h = self.norm(h)
        for k, blocks in enumerate(self.decoder):
            h = self.expand[k](h)
            h = self.join[k](torch.cat([h, skips[self.stages - 2 - k]], -1))
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, embedding)
        h = self.head_expand(self.head_norm(h))
        return self.head(h.permute(0, 3, 1, 2))[..., :height, :width]


def _init(module: nn.Module) -> None:
    """Initialise as Swin does: truncated normals of 0.02, no bias."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
