"""Swin blocks shared by the Swin denoiser and SwinIR (Liu et al. 2021)."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TimeMode = Literal["token", "add", "none"]


def to_windows(x: Tensor, window: int) -> Tensor:
    """Cut (B, H, W, C) into (B * windows, window², C); H and W are multiples of `window`."""
    b, h, w, c = x.shape
    x = x.view(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def from_windows(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Put (B * windows, window², C) together again to (B, height, width, C)."""
    c = x.shape[-1]
    x = x.view(-1, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


@lru_cache(maxsize=64)
def window_mask(
    height: int, width: int, window: int, shift: int, true_h: int, true_w: int
) -> Tensor:
    """Return which pairs of tokens of each window may not see each other.

    Parameters
    ----------
    height, width : int
        Size of the map, padded to multiples of the window.
    shift : int
        Cyclic shift of the map.
    true_h, true_w : int
        Size before padding; padding is seen by nobody.

    Returns
    -------
    (windows, window², window²) float32, 0 where seen and -100 where not
    """
    region = torch.zeros(1, height, width, 1, device="cpu")
    if shift:
        for i, rows in enumerate((slice(0, -window), slice(-window, -shift), slice(-shift, None))):
            for j, cols in enumerate(
                (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            ):
                region[:, rows, cols] = 3 * i + j
    padded = torch.ones(1, height, width, 1, device="cpu")
    padded[:, :true_h, :true_w] = 0
    if shift:
        padded = padded.roll((-shift, -shift), (1, 2))
    region = to_windows(region, window)[..., 0]
    hidden = to_windows(padded, window)[..., 0]
    apart = (region[:, :, None] != region[:, None, :]) | (hidden[:, None, :] > 0)
    return torch.where(apart, -100.0, 0.0)


def relative_index(window: int) -> Tensor:
    """Return (window², window²) indices into a table of (2 window - 1)² relative positions."""
    grid = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
    places = grid.flatten(1)
    offset = places[:, :, None] - places[:, None, :] + window - 1
    return offset[0] * (2 * window - 1) + offset[1]


class WindowAttention(nn.Module):
    """Self-attention inside windows with relative position bias, and optionally a time token.

    The token (ArtiFusion, section 2) is one more key and value in every window; as its own
    output is dropped after the layer, it needs no query. Bias and shift mask do not touch it.
    """

    def __init__(self, channels: int, heads: int, window: int):
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        self.register_buffer("index", relative_index(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None, token: Tensor | None) -> Tensor:
        """Return (N, window², C) for N windows; mask (N / B, window², window²); token (B, C)."""
        n, length, c = x.shape
        depth = c // self.heads
        q, k, v = self.qkv(x).view(n, length, 3, self.heads, depth).permute(2, 0, 3, 1, 4)
        index: Tensor = self.index  # type: ignore[assignment]
        bias = (
            self.bias_table[index.flatten()].view(length, length, self.heads).permute(2, 0, 1)[None]
        )
        if mask is not None:
            bias = bias + mask[:, None].to(bias)
        if token is not None:
            b = len(token)
            extra = F.linear(token, self.qkv.weight[c:], self.qkv.bias[c:])
            k_t, v_t = extra.view(b, 1, 2, self.heads, 1, depth).unbind(2)
            shape = (b, n // b, self.heads, 1, depth)
            k = torch.cat([k, k_t.expand(shape).reshape(n, self.heads, 1, depth)], 2)
            v = torch.cat([v, v_t.expand(shape).reshape(n, self.heads, 1, depth)], 2)
            bias = F.pad(bias, (0, 1))
        if len(bias) > 1:
            bias = bias.repeat(n // len(bias), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(out.transpose(1, 2).reshape(n, length, c))


class DropPath(nn.Module):
    """Stochastic depth: drops the whole branch for a share of the samples while training."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return x, or zero for some samples."""
        if not self.training or self.rate == 0:
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class SwinBlock(nn.Module):
    """LayerNorm, (shifted) window attention, LayerNorm, MLP, each with a residual.

    Parameters
    ----------
    time_channels : int
        Width of the shared time embedding; each block maps it to its own width (SiLU, Linear).
    time : "token", "add" or "none"
        Token: appended to every window after the first norm. Add: added to the features at the
        same place, one value per row of the map; so the authors have it, and only so does their
        "Add" network have the paper's number of parameters.
    rows : int
        Rows that "add" has values for; a taller map repeats them.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        window: int = 8,
        shift: int = 0,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        time: TimeMode = "none",
        time_channels: int = 512,
        rows: int = 64,
    ):
        super().__init__()
        self.window = window
        self.shift = shift
        self.time = time
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window)
        self.norm2 = nn.LayerNorm(channels)
        hidden = int(channels * mlp_ratio)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels)
        )
        self.drop_path = DropPath(drop_path)
        self.embed_time = (
            nn.Sequential(
                nn.SiLU(), nn.Linear(time_channels, channels if time == "token" else rows)
            )
            if time != "none"
            else None
        )

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        """Return (B, H, W, C) for x of the same shape and the time embedding (B, D)."""
        _, height, width, _ = x.shape
        token = None
        h = self.norm1(x)
        if self.embed_time is not None and embedding is not None:
            own = self.embed_time(embedding)
            if self.time == "token":
                token = own
            else:
                h = h + own[:, torch.arange(height) % own.shape[1], None, None]
        window = self.window
        pad_h, pad_w = -height % window, -width % window
        # One window along a side leaves nothing to shift to.
        shift = self.shift if min(height + pad_h, width + pad_w) > window else 0
        h = F.pad(h, (0, 0, 0, pad_w, 0, pad_h))
        if shift:
            h = h.roll((-shift, -shift), (1, 2))
        mask = None
        if shift or pad_h or pad_w:
            mask = window_mask(height + pad_h, width + pad_w, window, shift, height, width)
        h = self.attention(to_windows(h, window), None if mask is None else mask.to(x), token)
        h = from_windows(h, window, height + pad_h, width + pad_w)
        if shift:
            h = h.roll((shift, shift), (1, 2))
        x = x + self.drop_path(h[:, :height, :width])
        return x + self.drop_path(self.mlp(self.norm2(x)))
