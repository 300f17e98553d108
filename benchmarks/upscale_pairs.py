"""Clean tiles of H&E, and what a coarser scan shows of them.

Used by the other ``upscale_*.py``; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from histomend.damage.degradations import degrade_batch
from histomend.damage.pipelines import CodeFormer, Pipeline, RealEsrgan, Scanner
from histomend.damage.steps import Plan
from histomend.evaluate.crops import clean_crops

CLEAN = Path("../shared/data/he_clean_val")
SIZE = 512
# What makes an image coarser by a factor, and what is said of it.
DEGRADATIONS: dict[str, tuple[Callable[[float], Pipeline], str]] = {
    "scanner": (
        lambda factor: Scanner((factor, factor)),
        "as a scanner with larger pixels would have taken them (area average, no noise)",
    ),
    "codeformer": (
        lambda factor: CodeFormer(downscale=(factor, factor)),
        "degraded by CodeFormer's pipeline (blur, larger pixels, noise, JPEG)",
    ),
    "real-esrgan": (
        lambda factor: RealEsrgan(scale=factor),
        "degraded by Real-ESRGAN's second-order pipeline",
    ),
}


@dataclass(frozen=True)
class Pair:
    """A clean tile, and a coarse image of it.

    Attributes
    ----------
    name : str
        Of the tile: unique, and what intervals draw.
    seed : int
        Of the degradation, and handed to upscalers.
    scale : int
        How many times larger the pixels of the coarse image are.
    mpp : float
        Pixel size of the clean tile in um.
    small : (S / scale, S / scale, 3) uint8
    truth : (S, S, 3) uint8
    """

    name: str
    seed: int
    scale: int
    mpp: float
    small: np.ndarray = field(repr=False)
    truth: np.ndarray = field(repr=False)

    @property
    def group(self) -> str:
        """What intervals draw."""
        return self.name

    @property
    def reference(self) -> np.ndarray:
        """The truth, (S, S, 3) uint8."""
        return self.truth

    def compared(self, restored: np.ndarray) -> np.ndarray:
        """Return an enlarged image as it is compared, (S, S, 3) uint8: as it is."""
        return restored


@dataclass(frozen=True)
class Coarse:
    """A pipeline without its last step, which would enlarge the image to the size before."""

    pipeline: Pipeline

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        return self.pipeline.draw(rng, height, width)[:-1]


def section(name: str, degradation: str) -> str:
    """Return the name of a section: one of its own for what is not the scanner's."""
    return name if degradation == "scanner" else f"{name}-{degradation}"


def coarse_pairs(
    data: Path = CLEAN,
    count: int | None = None,
    *,
    scale: int = 4,
    degradation: str = "scanner",
    size: int = SIZE,
) -> list[Pair]:
    """Make clean tiles coarser.

    Parameters
    ----------
    data : Path
        Clean tiles with a manifest.
    count : int, optional
        First tiles only, in an order that is drawn once: the same whatever the count.
    scale : int
    degradation : str
        Of `DEGRADATIONS`.
    size : int
        Side in px of what is taken of a tile, a multiple of the scale.

    Raises
    ------
    InputError, ImageSizeError
        See `histomend.evaluate.crops.clean_crops`.
    """
    pipeline = Coarse(DEGRADATIONS[degradation][0](scale))
    pairs = []
    for crop in clean_crops(data, size=size, per_tile=1, limit=count):
        clean = torch.from_numpy(crop.pixels).permute(2, 0, 1)[None].float() / 255
        seen = degrade_batch(clean, [crop.index], pipeline).images[0]
        small = (seen.permute(1, 2, 0) * 255).round().byte().numpy()
        pairs.append(Pair(crop.tile, crop.index, scale, crop.mpp, small, crop.pixels))
    return pairs
