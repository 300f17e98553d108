"""Spaces: where diffusion happens, in pixels or in a latent."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Space(Protocol):
    """Encodes pixels into the space x lives in, and back.

    Attributes
    ----------
    factor : int
        Pixels per cell along a side; window origins are multiples of it.
    halo : int
        Pixels around a region that its encoding depends on.
    """

    factor: int
    halo: int

    def encode(self, pixels: Tensor) -> Tensor:
        """Return x (B, C, h, w) for pixels (B, 3, H, W) in [-1, 1]."""

    def decode(self, x: Tensor) -> Tensor:
        """Return pixels (B, 3, H, W) for x."""

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask (B, 1, h, w): a cell is masked when any of its pixels is."""


class PixelSpace:
    """The pixels themselves."""

    factor = 1
    halo = 0

    def encode(self, pixels: Tensor) -> Tensor:
        """Return `pixels` as they are."""
        return pixels

    def decode(self, x: Tensor) -> Tensor:
        """Return `x` as it is."""
        return x

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask as it is."""
        return pixels
