"""Single steps of a degradation, as they were drawn, and how a batch goes through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from histomend.damage import capture
from histomend.damage.kernels import Kernel, computed, convolved
from histomend.image.resampling import Mode, resized


@dataclass(frozen=True)
class Sharpen:
    """An unsharp mask."""

    def __str__(self) -> str:
        return "sharpened"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return capture.sharpened(image)


@dataclass(frozen=True)
class Scan:
    """Larger pixels, each the mean of its area."""

    factor: float

    def __str__(self) -> str:
        return f"scanned with pixels {self.factor:.2f} times larger"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return capture.scanned(image, self.factor)


@dataclass(frozen=True)
class Resize:
    """Interpolation to another size, without antialiasing."""

    size: tuple[int, int]
    mode: Mode

    def __str__(self) -> str:
        height, width = self.size
        return f"{self.mode} to {width}x{height}"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return resized(image, self.size, self.mode)


@dataclass(frozen=True)
class GaussianNoise:
    """Noise of a standard deviation in parts of 255, in colour or grey."""

    sigma: float
    grey: bool

    def __str__(self) -> str:
        return f"{'grey ' if self.grey else ''}Gaussian noise of {self.sigma:.1f}/255"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return capture.with_gaussian_noise(image, self.sigma, self.grey, rng)


@dataclass(frozen=True)
class PoissonNoise:
    """Noise of counted light, times a scale, in colour or grey."""

    scale: float
    grey: bool

    def __str__(self) -> str:
        return f"{'grey ' if self.grey else ''}Poisson noise times {self.scale:.2f}"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return capture.with_poisson_noise(image, self.scale, self.grey, rng)


@dataclass(frozen=True)
class Jpeg:
    """Compression."""

    quality: int

    def __str__(self) -> str:
        return f"JPEG {self.quality}"

    def __call__(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the image (3, h, w) after the step."""
        return capture.compressed(image, self.quality)


Step: TypeAlias = Kernel | Sharpen | Scan | Resize | GaussianNoise | PoissonNoise | Jpeg
Plan: TypeAlias = tuple[Step, ...]


def carried_out(
    images: Sequence[Tensor], plans: Sequence[Plan], rngs: Sequence[np.random.Generator]
) -> list[Tensor]:
    """Return each image after the steps of its plan.

    Images that are blurred at the same place of their plans are blurred together, where they have
    the same size; the other steps give images of all sizes, one by one.

    Parameters
    ----------
    images : each (3, h, w) in [0, 1]
    plans : one per image
    rngs : one per image
        For the noise.
    """
    done = list(images)
    for row in zip_longest(*plans):
        blurs: dict[tuple[torch.Size, int], dict[int, Kernel]] = {}
        for k, step in enumerate(row):
            if isinstance(step, Kernel):
                blurs.setdefault((done[k].shape, step.size_px), {})[k] = step
            elif step is not None:
                done[k] = step(done[k], rngs[k])
        for kernels in blurs.values():
            together = torch.stack([done[k] for k in kernels])
            blurred = convolved(together, computed(list(kernels.values())))
            for k, image in zip(kernels, blurred, strict=True):
                done[k] = image
    return done
