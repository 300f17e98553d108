"""A small encoder of H&E histology: features for distances between sets of images.

Inception and CLIP were trained on photographs, and their weights are not always at hand. This
encoder is a network of some 130,000 weights, trained without labels (`histomend.train.encoder`):
two crops of one field, seen through the same microscope, are to have the same features, and the
features of different fields, or of a field sharp and noisy, are to differ. Figures that are made
with it are named after it, and compare with no published ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.errors import ImageSizeError, UnsupportedImageError
from histomend.models.part import Part

FEATURES = 64
SMALLEST_PX = 32
_WIDTHS = (32, 48, 64, 96)
_AT_ONCE = 16


class Describes(Protocol):
    """Turns images into features, by whatever network."""

    @property
    def name(self) -> str:
        """What tables call it."""

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return features (N, D) of images (N, H, W, 3)."""


class PooledScales(nn.Module):
    """Strided convolutions, pooled by mean and spread at each scale.

    Noise and blur live at fine scales, nuclei at coarser ones: pooling at each keeps both. The
    convolutions have no norms, which would take away how strong detail is.
    """

    POOLED = 2 * sum(_WIDTHS)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList()
        for here, there in pairwise((3, *_WIDTHS)):
            layer = nn.Conv2d(here, there, 4 if here == 3 else 3, 2, 1)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="leaky_relu")
            self.layers.append(layer)

    def pooled(self, x: Tensor) -> Tensor:
        """Return (B, POOLED) for x (B, 3, H, W) in [-1, 1]."""
        found = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            # The root is steep at 0, where a uniform field is.
            spread = (x.var((2, 3), unbiased=False) + 1e-4).sqrt()
            found += [x.mean((2, 3)), spread]
        return torch.cat(found, 1)


class EncoderNetwork(PooledScales):
    """Pooled scales and a linear layer.

    Parameters
    ----------
    features : int
        1 to 64.
    """

    def __init__(self, features: int = FEATURES):
        super().__init__()
        self.head = nn.Linear(self.POOLED, features)
        # Centred and of one spread over what it was trained on: a large mean would drown all
        # differences in kernels of products.
        self.norm = nn.BatchNorm1d(features, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, features) for x (B, 3, H, W) in [-1, 1]."""
        return self.norm(self.head(self.pooled(x)))


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder was trained for.

    Parameters
    ----------
    features : int
        Length of its output, 1 to 64.
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command and time.
    """

    features: int = FEATURES
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return EncoderNetwork(self.features)

    def wrong(self) -> list[str]:
        """Return the fields whose values no encoder can have."""
        return [] if 1 <= self.features <= FEATURES else ["features"]


ENCODER = Part(EncoderConfig, "an encoder", "`histomend train encoder`")


@dataclass(frozen=True)
class Encoder:
    """A loaded encoder."""

    config: EncoderConfig
    network: nn.Module

    @property
    def name(self) -> str:
        """What tables call it."""
        return f"histology encoder, {self.config.features} features"

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Describe images.

        Parameters
        ----------
        images : (N, H, W, 3) uint8, at least 32 px a side
            One grey channel is repeated three times by the caller.

        Returns
        -------
        (N, features) float64

        Raises
        ------
        UnsupportedImageError, ImageSizeError
        """
        device = next(self.network.parameters()).device
        return in_parts(
            lambda part: self.network(as_input(part).to(device)),
            checked_rgb(images, SMALLEST_PX),
            self.config.features,
        )


def checked_rgb(images: npt.NDArray[np.uint8], smallest_px: int = 1) -> npt.NDArray[np.uint8]:
    """Return images as they are, if a network for 8-bit RGB can see them.

    Raises
    ------
    UnsupportedImageError, ImageSizeError
    """
    if images.ndim != 4 or images.shape[-1] != 3 or images.dtype != np.uint8:
        raise UnsupportedImageError(
            f"The encoder sees 8-bit RGB images (N, H, W, 3), not {images.dtype} of shape "
            f"{images.shape}. Repeat a grey channel three times, and scale 16 bits to 8."
        )
    if min(images.shape[1:3]) < smallest_px:
        raise ImageSizeError(
            f"The images are {images.shape[2]}x{images.shape[1]} px; the encoder needs at "
            f"least {smallest_px} px a side."
        )
    return images


@torch.no_grad()
def in_parts(
    described: Callable[[npt.NDArray[np.uint8]], Tensor],
    images: npt.NDArray[np.uint8],
    features: int,
) -> npt.NDArray[np.float64]:
    """Return the features (N, D) of images (N, H, W, 3), of which a few are seen at once.

    Parameters
    ----------
    described : function of (n, H, W, 3) to (n, D)
    features : int
        D, for no images at all.
    """
    parts = [
        described(images[k : k + _AT_ONCE]).double().cpu().numpy()
        for k in range(0, len(images), _AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, features))


def parts_of(images: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Cut images (N, H, W, 3) into squares (N * P, side, side, 3), image by image.

    What is left over at the right and below is not seen. Where an image is smaller than a part
    along either side, the parts are as large as its shorter side.
    """
    count, height, width = images.shape[:3]
    side = min(side, height, width)
    rows, columns = height // side, width // side
    grid = images[:, : rows * side, : columns * side]
    cut = grid.reshape(count, rows, side, columns, side, 3).swapaxes(2, 3)
    return cut.reshape(count * rows * columns, side, side, 3)


def as_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return (N, 3, H, W) float32 in [-1, 1] for images (N, H, W, 3)."""
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(pixels / 127.5 - 1)


def save_encoder(folder: Path, state: dict[str, Tensor], config: EncoderConfig) -> EncoderConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    return ENCODER.save(folder, state, config)


def load_encoder(folder: Path, device: str | torch.device = "cpu") -> Encoder:
    """Load an encoder; see `Part.load`."""
    return Encoder(*ENCODER.load(folder, device))
