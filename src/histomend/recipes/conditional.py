"""Conditional diffusion: x starts from noise, and the network sees the image beside it.

As in SR3 (Saharia et al. 2023, "Image super-resolution via iterative refinement"). The network is
one of its own, trained on pairs of degraded and clean images.
"""

from __future__ import annotations

from torch import Tensor

from histomend.diffusion.denoiser import Condition
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream


class Conditional(Recipe):
    """Start from pure noise; the image is known to the network alone.

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    """

    def __init__(self, image: Tensor):
        self.image = image
        self.condition = Condition(image)

    def start(self, noise: NoiseStream) -> Tensor:
        """Return pure noise."""
        return noise.draw(self.image)
