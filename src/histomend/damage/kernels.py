"""Blur kernels of the blind degradations: drawn per image, computed for a batch at once.

The families are those of Real-ESRGAN (Wang et al. 2021, section 3.1 and appendix): Gaussian,
generalised Gaussian and plateau, of one width or of two along turned axes, and the sinc filter,
which rings as overshooting sharpening does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from histomend.errors import SettingError
from histomend.networks.padding import reflected

Family = Literal["gaussian", "generalised", "plateau", "sinc"]
# From this size on a kernel of a sinc may cut off at lower frequencies (Real-ESRGAN's code).
_WIDE_PX = 13


@dataclass(frozen=True)
class Kernel:
    """One drawn kernel.

    Parameters
    ----------
    family : "gaussian", "generalised", "plateau" or "sinc"
    size_px : odd int
        Side of the square that it fills.
    sigma_px : (float, float)
        Widths along its two axes; not used by a sinc.
    angle : float
        From the horizontal to the first axis, in radians.
    beta : float
        Exponent of the squared distance: 1 for the plain Gaussian.
    cutoff : float
        Of a sinc, in radians per pixel.
    """

    family: Family
    size_px: int
    sigma_px: tuple[float, float] = (1.0, 1.0)
    angle: float = 0.0
    beta: float = 1.0
    cutoff: float = math.pi

    def __str__(self) -> str:
        if self.family == "sinc":
            return f"sinc filter {self.size_px} px, cutoff {self.cutoff:.2f} rad/px"
        wide, high = self.sigma_px
        text = f"{self.family} blur {self.size_px} px, sigma {wide:.2f}"
        if wide != high:
            text += f"x{high:.2f} at {math.degrees(self.angle):.0f} degrees"
        return text if self.family == "gaussian" else f"{text}, beta {self.beta:.2f}"


@dataclass(frozen=True)
class KernelRange:
    """What kernels are drawn from.

    Parameters
    ----------
    sizes_px : odd numbers
    sigma_px : (float, float)
        Range of the widths, drawn evenly.
    gaussian, generalised, plateau : (float, float)
        Shares of the family's kernels of one width, and of two, among those that are no sinc; the
        six add up to 1.
    sinc : float in [0, 1]
        Share of sincs among all.
    beta_generalised, beta_plateau : (float, float)
        Ranges of the exponents, with 1 inside or at an end. One half of the kernels is drawn
        evenly from the part up to 1, the other from the part above.

    Raises
    ------
    SettingError
        A size is even, or the shares do not add up to 1.
    """

    sizes_px: tuple[int, ...]
    sigma_px: tuple[float, float]
    gaussian: tuple[float, float] = (0.45, 0.25)
    generalised: tuple[float, float] = (0.12, 0.03)
    plateau: tuple[float, float] = (0.12, 0.03)
    sinc: float = 0.1
    beta_generalised: tuple[float, float] = (0.5, 4.0)
    beta_plateau: tuple[float, float] = (1.0, 2.0)

    def __post_init__(self) -> None:
        if not all(size % 2 for size in self.sizes_px):
            raise SettingError(f"Kernels have a middle: their sizes are odd, not {self.sizes_px}.")
        if not math.isclose(sum((*self.gaussian, *self.generalised, *self.plateau)), 1):
            raise SettingError(
                "The six shares of Gaussian, generalised and plateau kernels must add up to 1."
            )

    def draw(self, rng: np.random.Generator) -> Kernel:
        """Return a random kernel."""
        size = int(rng.choice(self.sizes_px))
        if rng.random() < self.sinc:
            return sinc(size, rng, wider=True)
        shares = (*self.gaussian, *self.generalised, *self.plateau)
        kind = int(rng.choice(len(shares), p=shares))
        family: Family = ("gaussian", "generalised", "plateau")[kind // 2]
        wide = float(rng.uniform(*self.sigma_px))
        high, angle, beta = wide, 0.0, 1.0
        if kind % 2:
            high = float(rng.uniform(*self.sigma_px))
            angle = float(rng.uniform(-math.pi, math.pi))
        if family != "gaussian":
            low, top = self.beta_plateau if family == "plateau" else self.beta_generalised
            beta = float(rng.uniform(low, 1) if rng.random() < 0.5 else rng.uniform(1, top))
        return Kernel(family, size, (wide, high), angle, beta)


def sinc(size_px: int, rng: np.random.Generator, *, wider: bool = False) -> Kernel:
    """Return a sinc whose cutoff is drawn evenly from pi/3 to pi, or from pi/5 if it may be wider.

    Parameters
    ----------
    wider : bool
        Whether kernels of 13 px and more may cut off at lower frequencies.
    """
    lowest = math.pi / (5 if wider and size_px >= _WIDE_PX else 3)
    return Kernel("sinc", size_px, cutoff=float(rng.uniform(lowest, math.pi)))


def computed(kernels: Sequence[Kernel]) -> Tensor:
    """Return kernels as weights that sum to 1, (B, K, K) float32, all at once.

    K is the largest of their sizes; smaller kernels lie in the middle, with zeros around.
    """
    reach = max(kernel.size_px for kernel in kernels) // 2
    place = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = torch.meshgrid(place, place, indexing="ij")

    def each(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1)

    angle = each([kernel.angle for kernel in kernels])
    along = (x * angle.cos() + y * angle.sin()) / each([k.sigma_px[0] for k in kernels])
    across = (y * angle.cos() - x * angle.sin()) / each([k.sigma_px[1] for k in kernels])
    power = (along.square() + across.square()) ** each([kernel.beta for kernel in kernels])
    families = [kernel.family for kernel in kernels]
    weights = torch.exp(-power / 2)
    plateaus = each([family == "plateau" for family in families]) > 0
    weights = torch.where(plateaus, 1 / (1 + power), weights)
    if "sinc" in families:
        # The ideal circular low-pass filter, w J1(w r) / (2 pi r), and its limit in the middle.
        cutoff, r = each([kernel.cutoff for kernel in kernels]), torch.hypot(x, y)
        rings = cutoff * torch.special.bessel_j1(cutoff * r) / (2 * math.pi * r)
        rings = torch.where(r == 0, cutoff.square() / (4 * math.pi), rings)
        weights = torch.where(each([f == "sinc" for f in families]) > 0, rings, weights)
    half = each([kernel.size_px // 2 for kernel in kernels])
    weights = weights * (torch.maximum(x.abs(), y.abs()) <= half)
    return (weights / weights.sum((1, 2), keepdim=True)).float()


def convolved(images: Tensor, weights: Tensor) -> Tensor:
    """Return images, each filtered with a kernel of its own; beyond the border they are mirrored.

    By Fourier transforms, which on a CPU are faster than a grouped convolution from about 21 px on
    (`benchmarks/degradations.py`).

    Parameters
    ----------
    images : (B, C, H, W)
    weights : (B, K, K)
        K odd.

    Returns
    -------
    (B, C, H, W)
        That of an image does not depend on the others, to the bit.
    """
    reach = weights.shape[-1] // 2
    wider = reflected(images, (reach, reach), (reach, reach))
    size = wider.shape[-2:]
    # Turned by 180 degrees, as networks' convolutions do not turn their kernels.
    turned = weights.flip((1, 2)).to(images)
    # One by one: several threads round a batch of transforms otherwise than a single one.
    filtered = [
        torch.fft.irfft2(torch.fft.rfft2(image) * torch.fft.rfft2(kernel, s=size), s=size)
        for image, kernel in zip(wider, turned, strict=True)
    ]
    return torch.stack(filtered)[..., 2 * reach :, 2 * reach :]
