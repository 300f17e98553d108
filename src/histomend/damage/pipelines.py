"""Pipelines of degradations: what they draw from, and in which order.

`CodeFormer` and `RealEsrgan` are what Histo-Diffusion was trained on (its Table 6 compares the
two): blur, resizing, noise and compression, as Zhou et al. (2022) and Wang et al. (2021) chose
them for faces and photographs. `Scanner` is what a lower magnification is: nothing but larger
pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, get_args

import numpy as np

from histomend.damage.capture import FACTORS
from histomend.damage.kernels import KernelRange, sinc
from histomend.damage.steps import (
    GaussianNoise,
    Jpeg,
    Plan,
    PoissonNoise,
    Resize,
    Scan,
    Sharpen,
    Step,
)
from histomend.errors import SettingError
from histomend.image.resampling import Mode

MODES: tuple[Mode, ...] = get_args(Mode)
_SIZES_PX = tuple(range(7, 22, 2))


class Pipeline(Protocol):
    """Draws how an image is degraded."""

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""


@dataclass(frozen=True)
class CodeFormer:
    """CodeFormer's pipeline: blur, downsample, noise, JPEG, and back to the size before.

    Parameters
    ----------
    kernels : KernelRange
        Gaussians of one width and of two, as often.
    downscale : (float, float)
    sigma : (float, float)
        Of the Gaussian noise, of 255.
    quality : (int, int)
        Of the JPEG.
    """

    kernels: KernelRange = field(
        default_factory=lambda: KernelRange(
            (41,), (0.1, 12.0), (0.5, 0.5), (0.0, 0.0), (0.0, 0.0), sinc=0.0
        )
    )
    downscale: tuple[float, float] = (1.0, 12.0)
    sigma: tuple[float, float] = (0.0, 15.0)
    quality: tuple[int, int] = (30, 100)

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        kernel = self.kernels.draw(rng)
        scale = rng.uniform(*self.downscale)
        return (
            kernel,
            Resize((int(height / scale), int(width / scale)), "bilinear"),
            GaussianNoise(float(rng.uniform(*self.sigma)), grey=False),
            Jpeg(int(rng.integers(self.quality[0], self.quality[1] + 1))),
            Resize((height, width), "bilinear"),
        )


@dataclass(frozen=True)
class Round:
    """One of the two rounds of Real-ESRGAN's pipeline.

    Parameters
    ----------
    kernels : KernelRange
    blurred : float in [0, 1]
        How often there is a blur.
    up_down_keep : (float, float, float)
        How often the image is enlarged, made smaller, or kept.
    scale : (float, float)
        Smallest and largest factor of that.
    sigma : (float, float)
        Of Gaussian noise, of 255.
    poisson : (float, float)
        Scale of Poisson noise.
    gaussian, grey : float in [0, 1]
        How often the noise is Gaussian, and how often it is grey.
    quality : (int, int)
        Of the JPEG.
    """

    kernels: KernelRange
    blurred: float
    up_down_keep: tuple[float, float, float]
    scale: tuple[float, float]
    sigma: tuple[float, float]
    poisson: tuple[float, float]
    gaussian: float = 0.5
    grey: float = 0.4
    quality: tuple[int, int] = (30, 95)

    def drawn_blur(self, rng: np.random.Generator) -> list[Step]:
        """Return the blur, if there is one."""
        kernel = self.kernels.draw(rng)
        return [kernel] if rng.random() < self.blurred else []

    def drawn_resize(self, rng: np.random.Generator, height: float, width: float) -> Resize:
        """Return a resize of an image of this size."""
        low, high = self.scale
        kind = rng.choice(3, p=self.up_down_keep)
        scale = (rng.uniform(1, high), rng.uniform(low, 1), 1.0)[kind]
        return Resize(_whole(height * scale, width * scale), _mode(rng))

    def drawn_noise(self, rng: np.random.Generator) -> Step:
        """Return noise of one kind or the other."""
        grey = bool(rng.random() < self.grey)
        if rng.random() < self.gaussian:
            return GaussianNoise(float(rng.uniform(*self.sigma)), grey)
        return PoissonNoise(float(rng.uniform(*self.poisson)), grey)

    def drawn_jpeg(self, rng: np.random.Generator) -> Jpeg:
        """Return a compression."""
        return Jpeg(int(rng.integers(self.quality[0], self.quality[1] + 1)))


FIRST = Round(
    KernelRange(_SIZES_PX, (0.2, 3.0)),
    blurred=1.0,
    up_down_keep=(0.2, 0.7, 0.1),
    scale=(0.15, 1.5),
    sigma=(1.0, 30.0),
    poisson=(0.05, 3.0),
)
SECOND = Round(
    KernelRange(_SIZES_PX, (0.2, 1.5)),
    blurred=0.8,
    up_down_keep=(0.3, 0.4, 0.3),
    scale=(0.3, 1.2),
    sigma=(1.0, 25.0),
    poisson=(0.05, 2.5),
)


@dataclass(frozen=True)
class RealEsrgan:
    """Real-ESRGAN's second-order pipeline: sharpening, then twice blur, resize, noise and JPEG.

    In the second round the image comes to its final size through a sinc filter, before the JPEG
    or after it.

    Parameters
    ----------
    first, second : Round
    scale : float
        How many times smaller the final image is.
    sharpened : bool
        Whether an unsharp mask comes first; so the pipeline's authors made detail easier to learn.
    last_sinc : float in [0, 1]
        How often there is the last filter.
    back : bool
        Whether the image is enlarged to the size before (bicubic), as the restoration module
        takes it; networks that upscale take it small.

    Raises
    ------
    SettingError
        The scale is below 1.
    """

    first: Round = FIRST
    second: Round = SECOND
    scale: float = 4.0
    sharpened: bool = True
    last_sinc: float = 0.8
    back: bool = True

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise SettingError(f"The final image is {self.scale} times smaller; 1 is the least.")

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        small = _whole(height / self.scale, width / self.scale)
        steps: list[Step] = [Sharpen()] if self.sharpened else []
        steps += self.first.drawn_blur(rng)
        steps += [self.first.drawn_resize(rng, height, width)]
        steps += [self.first.drawn_noise(rng), self.first.drawn_jpeg(rng)]
        steps += self.second.drawn_blur(rng)
        # This factor is one of the final size, not of the present one.
        steps += [self.second.drawn_resize(rng, *small), self.second.drawn_noise(rng)]
        final: list[Step] = [Resize(small, _mode(rng))]
        if rng.random() < self.last_sinc:
            final += [sinc(int(rng.choice(_SIZES_PX)), rng)]
        jpeg = self.second.drawn_jpeg(rng)
        steps += [*final, jpeg] if rng.random() < 0.5 else [jpeg, *final]
        if self.back:
            steps += [Resize((height, width), "bicubic")]
        return tuple(steps)


@dataclass(frozen=True)
class Scanner:
    """A scan with larger pixels, and nothing else, enlarged to the size before (bicubic).

    Parameters
    ----------
    factor : (float, float)
        Smallest and largest; their logarithm is drawn evenly.
    """

    factor: tuple[float, float] = FACTORS

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        low, high = self.factor
        factor = low * (high / low) ** float(rng.random())
        return (Scan(factor), Resize((height, width), "bicubic"))


@dataclass(frozen=True)
class AnyOf:
    """One of several pipelines for each image, each as often."""

    pipelines: tuple[Pipeline, ...]

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        return self.pipelines[rng.integers(len(self.pipelines))].draw(rng, height, width)


def _whole(height: float, width: float) -> tuple[int, int]:
    return max(1, int(height)), max(1, int(width))


def _mode(rng: np.random.Generator) -> Mode:
    return MODES[rng.integers(len(MODES))]
