"""Crops of one channel as a camera's stabilised values, for denoisers of counted light.

Clean light comes from three places: grey images, optical densities of H&E tiles (fibres, nuclei
and membranes, bright on dark), and drawn specimens. It is exposed at random, and what the network
sees is the result of the variance stabilisation that stands before it when it is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.damage.optics import density
from histomend.damage.photons import counted
from histomend.damage.specimens import draw_specimen
from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError
from histomend.image.stabilise import CameraNoise
from histomend.train.data import Tiles, turned
from histomend.train.packed import packing

Array = npt.NDArray[np.float32]
# Drawn fields for training and for the figures, and their side in px.
DRAWN, HELD_OUT_DRAWN, DRAWN_SIDE = 1000, 40, 256
# Photons at the brightest place of a crop.
DIMMEST, BRIGHTEST = 4.0, 1500.0
# Share of the samples whose noise is a camera's; the others' is exactly Gaussian, as diffusion
# needs it between its steps.
COUNTED_SHARE = 0.4


class LightSource(Protocol):
    """Where clean light comes from."""

    def light(self, rng: np.random.Generator, size: int) -> Array:
        """Return a random (size, size) crop of light in [0, 1]."""


@dataclass(frozen=True)
class GreyLight:
    """Grey tiles, as they are."""

    tiles: Tiles

    def light(self, rng: np.random.Generator, size: int) -> Array:
        """Return a crop of one of the tiles."""
        return np.asarray(self.tiles.cut(rng, size)[..., 0], np.float32) / np.float32(65535)


@dataclass(frozen=True)
class DensityLight:
    """Optical densities of RGB tiles, mixed over the colours at random: bright on dark."""

    tiles: Tiles

    def light(self, rng: np.random.Generator, size: int) -> Array:
        """Return the density of a crop, half of the time at half of the resolution."""
        side = self.tiles.pixels.shape[1]
        coarse = rng.random() < 0.5 and 2 * size <= side
        od = density(self.tiles.cut(rng, 2 * size if coarse else size))
        # Weights of both signs tell the stains apart, as their densities differ by colour.
        weights = rng.dirichlet(np.ones(3)) - rng.uniform(0, 0.7) * rng.dirichlet(np.ones(3))
        mixed = np.asarray(od @ weights.astype(np.float32), np.float32)
        if coarse:
            mixed = np.asarray(
                cv2.resize(mixed, (size, size), interpolation=cv2.INTER_AREA), np.float32
            )
        low, high = np.percentile(mixed, (rng.uniform(0, 10), 99.8))
        return np.clip((mixed - low) / max(high - low, 0.05), 0, 1).astype(np.float32)


class DrawnLight:
    """Specimens that are drawn once, always the same, and kept in the cache."""

    def __init__(self, cache: Path, count: int, seed: int):
        packed = cache / f"specimens-{seed}-{count}.npy"
        if not packed.exists():
            with packing(packed, (count, DRAWN_SIDE, DRAWN_SIDE), np.uint16) as out:
                for index in range(count):
                    drawn = draw_specimen(np.random.default_rng([seed, index]), DRAWN_SIDE)
                    out[index] = np.rint(65535 * drawn)
        self.fields: np.ndarray = np.load(packed, mmap_mode="r")

    def light(self, rng: np.random.Generator, size: int) -> Array:
        """Return a crop of one of the fields."""
        field = self.fields[rng.integers(len(self.fields))]
        y, x = (int(rng.integers(n - size + 1)) for n in field.shape)
        return np.asarray(field[y : y + size, x : x + size], np.float32) / np.float32(65535)


@dataclass(frozen=True)
class Exposure:
    """A crop as a camera sees it, in the model's range.

    Parameters
    ----------
    x0 : (H, W) float32, in about [-1, 1]
        The expectation of the stabilised values.
    noise : (H, W) float32
        What a single exposure adds to it, with a standard deviation of about `sigma`.
    sigma : float
    """

    x0: Array
    noise: Array
    sigma: float


@dataclass(frozen=True)
class CameraCrops:
    """Random exposures of light from several sources.

    Parameters
    ----------
    sources : sequence of LightSource
    shares : sequence of float
        How often each is taken; they add up to 1.
    most_sigma : float
        The range that the model sees is widened until the noise in it is at most this strong.
    """

    sources: Sequence[LightSource]
    shares: Sequence[float]
    most_sigma: float

    def crop(self, rng: np.random.Generator, size: int) -> Array:
        """Return the clean side of an exposure, (size, size, 1)."""
        return self.expose(rng, size).x0[..., None]

    def expose(self, rng: np.random.Generator, size: int) -> Exposure:
        """Return a random exposure of a random crop."""
        source = self.sources[rng.choice(len(self.sources), p=self.shares)]
        light = turned(source.light(rng, size)[..., None], rng)[..., 0]
        light = np.ascontiguousarray(light) ** np.float32(np.exp(rng.uniform(-0.7, 0.7)))
        peak = float(np.exp(rng.uniform(np.log(DIMMEST), np.log(BRIGHTEST))))
        background = peak * float(rng.uniform(0, 0.6)) ** 3
        read_noise = 0.0 if rng.random() < 0.3 else float(np.exp(rng.uniform(-0.7, 1.8)))
        noise = CameraNoise(1.0, 0.0, read_noise)
        photons = peak * light + background
        x0 = noise.expected(photons)
        seen = noise.stabilised(counted(photons, 1.0, read_noise, rng))
        # The crop fills a part of the whole image's range, which is known from a noisy image and
        # so not exactly.
        bottom, top = float(x0.min()), float(x0.max())
        filled = float(np.exp(rng.uniform(np.log(0.15), np.log(1.15))))
        reach = max((top - bottom) / filled, 2 / self.most_sigma)
        start = bottom - float(rng.uniform(0, 1)) ** 2 * max(reach - (top - bottom), 0)
        scale = np.float32(2 / reach)
        return Exposure((x0 - start) * scale - 1, (seen - x0) * scale, float(scale))


def exposures(
    source: CameraCrops, rng: np.random.Generator, count: int, size: int, schedule: Schedule
) -> tuple[Tensor, Tensor, Tensor]:
    """Return x0 and the noise in units of its strength, (count, 1, size, size), and t (count,).

    t is where the schedule's noise is as strong beside the signal as the camera's.
    """
    found = [source.expose(rng, size) for _ in range(count)]
    levels = (schedule.sigma / schedule.alpha).numpy()
    x0 = torch.from_numpy(np.stack([each.x0 for each in found])[:, None])
    t = np.array([max(1, int(np.abs(levels - each.sigma).argmin())) for each in found])
    # In units of the level of t, so that x_t holds the noise that was counted.
    noise = np.stack([each.noise / np.float32(levels[k]) for each, k in zip(found, t, strict=True)])
    return x0, torch.from_numpy(noise[:, None]), torch.from_numpy(t)


def camera_crops(
    grey: Tiles,
    tissue: Tiles | None,
    cache: Path,
    *,
    tissue_share: float,
    drawn_share: float,
    most_sigma: float,
    held_out: bool = False,
) -> CameraCrops:
    """Return exposures of grey tiles, of tissue's densities, and of drawn specimens.

    Parameters
    ----------
    held_out : bool
        Draw other specimens than those of a training.
    """
    tissue_share = 0.0 if tissue is None else tissue_share
    left = 1 - tissue_share - drawn_share
    if left < 0:
        raise SettingError(
            f"--extra-share and --drawn-share are {1 - left:g} together, but can be 1 at most: "
            "they are shares of the same crops."
        )
    sources: list[LightSource] = [GreyLight(grey)]
    shares = [left]
    if tissue is not None and tissue_share > 0:
        sources.append(DensityLight(tissue))
        shares.append(tissue_share)
    if drawn_share > 0:
        count, seed = (HELD_OUT_DRAWN, 32) if held_out else (DRAWN, 31)
        sources.append(DrawnLight(cache, count, seed))
        shares.append(drawn_share)
    return CameraCrops(sources, shares, most_sigma)
