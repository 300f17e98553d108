"""Encoders that see the middle square of an image, resized to the side they were trained at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PilImage
from torch import Tensor

from histomend.evaluate.encoder import checked_rgb, in_parts


@dataclass(frozen=True)
class SquareEncoder:
    """A network with what is done to an image before it; called as `Describes`.

    Parameters
    ----------
    described : callable
        From (B, 3, side, side), on the device, to features (B, dimensions).
    side : int
        Of the square in px. The middle square of an image is resized to it in 8 bits, bicubic,
        as CMMD's code does it.
    mean, spread : three floats each
        Taken off values in [0, 1], and divided by.
    dimensions : int
    device : torch.device
    name : str
        What tables call it.
    """

    described: Callable[[Tensor], Tensor]
    side: int
    mean: Sequence[float]
    spread: Sequence[float]
    dimensions: int
    device: torch.device
    name: str

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return features (N, dimensions) of images (N, H, W, 3) uint8, of whatever length."""
        mean, spread = (torch.tensor(v).view(3, 1, 1) for v in (self.mean, self.spread))

        def described(part: npt.NDArray[np.uint8]) -> Tensor:
            squares = np.stack([_square(image, self.side) for image in part])
            pixels = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
            return self.described(((pixels - mean) / spread).to(self.device))

        return in_parts(described, checked_rgb(images), self.dimensions)


def _square(image: npt.NDArray[np.uint8], side: int) -> npt.NDArray[np.uint8]:
    """Return the middle square of (H, W, 3), resized."""
    height, width = image.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    middle = PilImage.fromarray(image[top : top + short, left : left + short])
    return np.asarray(middle.resize((side, side), PilImage.Resampling.BICUBIC))
