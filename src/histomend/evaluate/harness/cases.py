"""Degraded images whose truth is known: damaged, as under tissue, coarser, or really noisy."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from histomend.damage.degradations import degrade_batch
from histomend.damage.optical import OPTICS, degrade
from histomend.damage.pipelines import CodeFormer, Pipeline, RealEsrgan, Scanner
from histomend.damage.steps import Plan
from histomend.errors import ImageSizeError, InputError
from histomend.evaluate.crops import CleanCrop, clean_crops, crops
from histomend.image.stack_files import read_stack

Pixels = npt.NDArray[np.uint8]
# Tissue above a crop, in um: each crop has a depth of its own, evenly distributed. At the deepest
# more than half of the light is scattered, and the haze hides more than the noise does.
DEPTHS_UM = (0.0, 40.0)
# Percentiles of a whole clean image that become black and white.
DARKEST, BRIGHTEST = 0.1, 99.9
# Photons at which shot noise is far below one step of 8 bits.
NO_NOISE = 1e9
# The stimulated-Raman fields are cropped from published figures: to look at, not to measure on.
NOT_MEASURED = "srh/"


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
class Case:
    """A degraded image, and the same one as it truly is.

    Attributes
    ----------
    name : str
        Unique within a set.
    group : str
        The tile or the field of view that it was cut from: what intervals draw.
    seed : int
        Of the degradation, and handed to methods.
    given : (h, w, C) uint8
        What methods get; C is 1 or 3.
    truth : (H, W, C) uint8
        Of the same size, or `scale` times as large.
    fitted : bool
        The two have scales of their own, so that a restoration is compared as :meth:`compared`
        scales it.
    without_noise : (h, w, C) uint8, optional
        The degraded image as it would be without noise, where it was simulated.
    mask : (H, W) bool, optional
        Where it is damaged; everywhere unless given.
    mpp : float
        Pixel size of the truth in um.
    scale : int
        How many times larger the pixels of what is given are.
    """

    name: str
    group: str
    seed: int
    given: Pixels = field(repr=False)
    truth: Pixels = field(repr=False)
    fitted: bool = False
    without_noise: Pixels | None = field(default=None, repr=False)
    mask: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    mpp: float = 0.5
    scale: int = 1

    @property
    def reference(self) -> Pixels:
        """The truth in RGB, (H, W, 3) uint8."""
        return as_rgb(self.truth)

    def compared(self, restored: Pixels) -> Pixels:
        """Return a restoration (H, W, C) uint8 as it is compared with the truth, in RGB."""
        if self.fitted:
            slope, offset = fitted_scale(restored, self.truth)
            restored = scaled(restored, slope, offset)
        return as_rgb(restored)


def damaged_cases(
    data: Path, count: int | None = None, size: int = 256, per_tile: int = 1
) -> list[Case]:
    """Damage clean crops in places, by the kinds of artifacts in turn.

    Parameters are those of `histomend.evaluate.crops.crops`.
    """
    return [
        Case(
            crop.name,
            crop.tile,
            crop.seed,
            crop.damaged,
            crop.truth,
            mask=crop.mask,
            mpp=crop.mpp,
        )
        for crop in crops(data, size=size, per_tile=per_tile, limit=count)
    ]


def clean_fields(data: Path, count: int | None, size: int = 256) -> list[CleanCrop]:
    """Cut the first `count` clean crops, two of each tile at most."""
    return clean_crops(data, size=size, per_tile=2, limit=count)


def optical_cases(
    data: Path,
    count: int | None = None,
    size: int = 256,
    depths_um: tuple[float, float] = DEPTHS_UM,
    light: float = 1.0,
) -> list[Case]:
    """Degrade clean H&E crops, each at a depth of its own, unevenly.

    Parameters
    ----------
    data : Path
        Clean tiles with a manifest.
    count : int, optional
        First crops only; they are the same whatever the count.
    size : int
        Side in px.
    depths_um : (least, most)
        Length of tissue above, in um.
    light : float
        Share of the photons that the camera usually counts.
    """
    optics = replace(OPTICS[3], photons=light * OPTICS[3].photons)
    made = []
    for crop in clean_fields(data, count, size):
        seed = seed_of(crop)
        depth_um = float(np.random.default_rng([seed, 1]).uniform(*depths_um))
        seen, still = (
            np.asarray(
                degrade(crop.pixels, seed=seed, depth_um=depth_um, mpp=crop.mpp, optics=o).pixels
            )
            for o in (optics, replace(optics, photons=NO_NOISE, read_noise=0.0))
        )
        made.append(
            Case(crop.name, crop.tile, seed, seen, crop.pixels, without_noise=still, mpp=crop.mpp)
        )
    return made


def seed_of(crop: CleanCrop) -> int:
    """Return the seed of a crop's degradation."""
    return int(np.random.default_rng([0, crop.index, crop.turn]).integers(2**31))


def real_cases(data: Path, count: int | None = None, size: int = 256) -> list[Case]:
    """Cut crops of real noisy images of one channel, and of the clean images of the same fields.

    All first crops of the images come before all second ones. The clean image is stretched so
    that its own range fills 8 bits: the files are scaled in ways of their own, and PSNR means
    little for an image that uses a third of the range.

    Parameters
    ----------
    data : Path
        Folder with a manifest of pairs (noisy, clean).
    count : int, optional
        First crops only.
    size : int
        Side in px.

    Raises
    ------
    InputError
        There is no manifest, or an image and its clean version do not fit together.
    ImageSizeError
        An image is smaller than a crop.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"There is no {manifest}: name a folder of noisy and clean images.")
    with manifest.open(newline="", encoding="utf-8") as lines:
        listed = [row for row in csv.DictReader(lines) if not row["noisy"].startswith(NOT_MEASURED)]
    cut: list[list[Case]] = []
    for number, row in enumerate(listed):
        noisy, clean = (
            read_stack(data / row[key], channels=1).values[0] for key in ("noisy", "clean")
        )
        if noisy.shape != clean.shape or noisy.dtype != np.uint8 or clean.dtype != np.uint8:
            raise InputError(
                f"{data / row['noisy']} is {noisy.dtype} of shape {noisy.shape} and "
                f"{row['clean']} {clean.dtype} of shape {clean.shape}: pairs of 8-bit images of "
                "one size are needed. Leave this one out of the manifest."
            )
        low, high = np.percentile(clean, (DARKEST, BRIGHTEST))
        slope = 255 / max(high - low, 1)
        truth = scaled(clean, slope, -slope * low)
        cut.append(
            [
                Case(
                    f"{Path(row['noisy']).stem}+{x}+{y}",
                    field_of_view(row["noisy"]),
                    1000 * number + turn,
                    np.ascontiguousarray(noisy[y : y + size, x : x + size]),
                    np.ascontiguousarray(truth[y : y + size, x : x + size]),
                    fitted=True,
                )
                for turn, (x, y) in enumerate(_corners(noisy.shape, size, row["noisy"]))
            ]
        )
    most = max(map(len, cut), default=0)
    turns = [image[turn] for turn in range(most) for image in cut if turn < len(image)]
    return turns[:count]


def field_of_view(file: str) -> str:
    """Name what an image shows: channels and repetitions of one field are not independent."""
    stem = Path(file).stem
    return re.sub(r"(?<=^w2s_\d{3})_\d$|-noise\d$", "", stem)


@dataclass(frozen=True)
class _Coarse:
    """A pipeline without its last step, which would enlarge the image to the size before."""

    pipeline: Pipeline

    def draw(self, rng: np.random.Generator, height: int, width: int) -> Plan:
        """Return the steps for an image of this size."""
        return self.pipeline.draw(rng, height, width)[:-1]


def coarse_cases(
    data: Path,
    count: int | None = None,
    *,
    scale: int = 4,
    degradation: str = "scanner",
    size: int = 512,
) -> list[Case]:
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
    pipeline = _Coarse(DEGRADATIONS[degradation][0](scale))
    made = []
    for crop in clean_crops(data, size=size, per_tile=1, limit=count):
        clean = torch.from_numpy(crop.pixels).permute(2, 0, 1)[None].float() / 255
        seen = degrade_batch(clean, [crop.index], pipeline).images[0]
        small = (seen.permute(1, 2, 0) * 255).round().byte().numpy()
        made.append(
            Case(crop.tile, crop.tile, crop.index, small, crop.pixels, mpp=crop.mpp, scale=scale)
        )
    return made


def fitted_scale(restored: npt.NDArray[Any], truth: npt.NDArray[Any]) -> tuple[float, float]:
    """Return slope and offset that bring a restoration nearest to the truth (least squares).

    Noise flattens the slope: the noisier an image, the greyer it is compared, and the better its
    PSNR. Rows that leave noise are so rather flattered.
    """
    x, y = (values.astype(np.float64).ravel() for values in (restored, truth))
    spread = float(x.var())
    slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 0.0
    return slope, float(y.mean() - slope * x.mean())


def scaled(pixels: npt.NDArray[Any], slope: float, offset: float) -> npt.NDArray[Any]:
    """Return slope · pixels + offset in 8 bits."""
    return np.clip(np.rint(slope * pixels.astype(np.float64) + offset), 0, 255).astype(np.uint8)


def as_rgb(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (S, S, 1) or (S, S, 3) as (S, S, 3)."""
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _corners(shape: tuple[int, ...], size: int, name: str) -> list[tuple[int, int]]:
    down, across = shape[0] // size, shape[1] // size
    if not down * across:
        raise ImageSizeError(
            f"{name} is {shape[1]}x{shape[0]} px, smaller than a crop of {size} px: ask for "
            "smaller crops."
        )
    return [(size * column, size * row) for row in range(down) for column in range(across)]
