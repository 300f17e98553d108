"""Spaces: where diffusion happens, in pixels or in a latent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from torch import Tensor
from torch.nn import functional as F

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


class LatentSpace:
    """The latent of an autoencoder, scaled to about unit spread.

    Parameters
    ----------
    vae : AutoencoderKL
    """

    def __init__(self, vae: AutoencoderKL):
        self.vae = vae
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.scaling = float(vae.config.scaling_factor)
        self.shift = float(vae.config.shift_factor or 0.0)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return x (B, C, h, w) for pixels (B, 3, H, W); h and w round up."""
        latent = self.vae.encode(padded(pixels, self.factor)).latent_dist.mode()
        return (latent - self.shift) * self.scaling

    def decode(self, x: Tensor) -> Tensor:
        """Return pixels (B, 3, factor h, factor w) for x (B, C, h, w)."""
        return self.vae.decode(x / self.scaling + self.shift).sample

    def mask(self, pixels: Tensor) -> Tensor:
        """Return the mask (B, 1, h, w): a cell is masked when any of its pixels is."""
        return F.max_pool2d(pixels, self.factor, ceil_mode=True)
