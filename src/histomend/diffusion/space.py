"""Spaces: where diffusion happens, in pixels or in a latent."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from histomend.diffusion.pooled import pool_norms, run_tiles
from histomend.networks.padding import padded

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class Space(Protocol):
    """Encodes pixels into the space x lives in, and back.

    Attributes
    ----------
    factor : int
        Pixels per cell along a side; window origins are multiples of it.
    """

    factor: int

    def encode(self, pixels: Tensor) -> Tensor:
        """Return x (B, C, h, w) for pixels (B, 3, H, W) in [-1, 1]."""

    def decode(self, x: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) for x."""

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask (B, 1, h, w): a cell is masked when any of its pixels is."""


class PixelSpace:
    """The pixels themselves."""

    factor = 1

    def encode(self, pixels: Tensor) -> Tensor:
        """Return `pixels` as they are."""
        return pixels

    def decode(self, x: Tensor) -> Tensor:
        """Return `x` as it is."""
        return x

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask as it is."""
        return pixels


# What was made of a tile's own part, and where it lies: its rows and columns.
Part: TypeAlias = tuple[tuple[slice, slice], Tensor]
# Largest map of an autoencoder at once, in values: it bounds memory. Fields up to it are not cut.
LARGEST_MAP = 1 << 22
# What a tile sees beyond its own part, in px.
HALO = 64


class LatentSpace:
    """The latent of an autoencoder, shifted and scaled to about unit spread.

    Fields beyond a tile are encoded and decoded in tiles, which bounds memory; the norms then use
    the statistics of the whole field. Attention in the middle of an autoencoder, as Stable
    Diffusion's has, sees a tile and its halo only, so such a field differs from the undivided one.

    Parameters
    ----------
    vae : AutoencoderKL
    tile : int, optional
        Largest side of a tile in px; by default as much as `LARGEST_MAP` lets the autoencoder's
        first level have: 512 for our small one.
    halo : int
        What a tile sees beyond its own part on each side, in px.
    """

    def __init__(self, vae: AutoencoderKL, tile: int | None = None, halo: int = HALO):
        self.vae = vae
        if tile is None:
            tile = math.isqrt(LARGEST_MAP // vae.config.block_out_channels[0])
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.scaling = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)
        self.tile = max(1, tile // self.factor)
        self.halo = halo // self.factor
        pool_norms(vae)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return x (B, C, h, w) for pixels (B, 3, H, W); h and w round up.

        x is the posterior's mode: no noise is drawn.
        """
        whole = padded(pixels, self.factor)
        latent = self._tiled(self._encoded, whole, self.factor, 1)
        return (latent - self.shift) * self.scaling

    def decode(self, x: Tensor) -> Tensor:
        """Return pixels (B, 3, factor h, factor w) for x (B, C, h, w)."""
        return self._tiled(self._decoded, self._unscaled(x), 1, self.factor)

    def decode_difference(self, x: Tensor, y: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return by how much the pixels of x differ from those of y, (B, 3, factor h, factor w).

        What the autoencoder itself loses and invents is in both, and goes. Tile by tile, so that
        no more than the difference is held of a large field.

        Parameters
        ----------
        x, y : (B, C, h, w)
        dtype : torch.dtype
            In which the difference is held.
        """
        # One after the other: both in one call are slower.
        changed, same = (
            self._parts(self._decoded, self._unscaled(v), 1, self.factor) for v in (x, y)
        )
        parts = (
            (place, (one - other).to(dtype))
            for (place, one), (_, other) in zip(changed, same, strict=True)
        )
        return _joined(parts, x.shape[-2] * self.factor, x.shape[-1] * self.factor)

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask (B, 1, h, w): a cell is masked when any of its pixels is."""
        return F.max_pool2d(pixels, self.factor, ceil_mode=True)

    def _encoded(self, pixels: Tensor) -> Tensor:
        return self.vae.encode(pixels).latent_dist.mode()

    def _unscaled(self, x: Tensor) -> Tensor:
        return x / self.scaling + self.shift

    def _decoded(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent).sample

    def _tiled(
        self, network: Callable[[Tensor], Tensor], field: Tensor, unit: int, out: int
    ) -> Tensor:
        """Run `network` over a field, a cell of which is `unit` wide, and of the result `out`."""
        height, width = (side // unit * out for side in field.shape[-2:])
        return _joined(self._parts(network, field, unit, out), height, width)

    def _parts(
        self, network: Callable[[Tensor], Tensor], field: Tensor, unit: int, out: int
    ) -> Iterator[Part]:
        """Yield what `network` makes of a field, tile by tile."""
        height, width = (side // unit for side in field.shape[-2:])
        tall, wide = _cuts(height, self.tile), _cuts(width, self.tile)
        if len(tall) == len(wide) == 1:
            yield (slice(None), slice(None)), network(field)
            return
        tiles = [
            (_Extent(*rows, height, self.halo), _Extent(*columns, width, self.halo))
            for rows in tall
            for columns in wide
        ]
        seen = [
            partial(_cropped, field, rows.seen(unit), columns.seen(unit)) for rows, columns in tiles
        ]
        for (rows, columns), part in zip(tiles, run_tiles(network, seen), strict=True):
            own = part[..., rows.inner(out), columns.inner(out)]
            yield (rows.own(out), columns.own(out)), own


def _joined(parts: Iterable[Part], height: int, width: int) -> Tensor:
    """Return the field that parts make up."""
    result: Tensor | None = None
    for (rows, columns), part in parts:
        if result is None:
            if part.shape[-2:] == (height, width):
                return part
            result = part.new_empty(*part.shape[:-2], height, width)
        result[..., rows, columns] = part
    if result is None:
        raise ValueError("a field has no parts")
    return result


@dataclass(frozen=True)
class _Extent:
    """A tile along one side of a field, in cells: its own part from `start` to `end`."""

    start: int
    end: int
    length: int
    halo: int

    @property
    def _first(self) -> int:
        return max(0, self.start - self.halo)

    def seen(self, unit: int) -> slice:
        """Return what the network sees of the field."""
        return slice(self._first * unit, min(self.length, self.end + self.halo) * unit)

    def own(self, unit: int) -> slice:
        """Return the tile's own part within the field."""
        return slice(self.start * unit, self.end * unit)

    def inner(self, unit: int) -> slice:
        """Return the tile's own part within what the network saw."""
        return slice((self.start - self._first) * unit, (self.end - self._first) * unit)


def _cuts(length: int, tile: int) -> list[tuple[int, int]]:
    """Return (start, end) of parts of about the same length, at most `tile`."""
    count = -(-length // tile)
    return [(length * k // count, length * (k + 1) // count) for k in range(count)]


def _cropped(field: Tensor, rows: slice, columns: slice) -> Tensor:
    return field[..., rows, columns]
