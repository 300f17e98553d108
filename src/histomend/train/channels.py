"""Crops of one, two or three channels for the trainings that restore whole fields."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError
from histomend.image.simulated_srh import simulated_srh
from histomend.train.camera import camera_crops
from histomend.train.data import Crops, Mixed, Tiles, open_sources
from histomend.train.options import CalibratorOptions, RscdOptions
from histomend.train.shared_options import TrainingOptions

FULL_16_BIT = 65535


class SimulatedSrh:
    """Crops of H&E, turned into two-channel 16-bit images (`simulated_srh`)."""

    def __init__(self, source: Crops):
        self.source = source

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random (size, size, 2) uint16 crop."""
        channels = simulated_srh(self.source.crop(rng, size))
        return np.rint(channels * FULL_16_BIT).astype(np.uint16)


@dataclass(frozen=True)
class ChannelCrops:
    """Where the crops of a training come from.

    Parameters
    ----------
    every, best, held_out : Crops
        Of all tiles, of the best ones, and of those that only figures are made on.
    """

    every: Crops
    best: Crops
    held_out: Crops


def open_channels(
    options: TrainingOptions, channels: int, *, best_share: float = 1.0
) -> ChannelCrops:
    """Return crops with `channels` channels of the images of a training.

    One channel is read from grey images of 8 or 16 bits, three from RGB; two are simulated from
    RGB. Without `validation` the manifest's split "val" is held out, if it names one.

    Parameters
    ----------
    best_share : float in (0, 1]
        Share of the tiles of `data` that counts as the best (`sharpest`).

    Raises
    ------
    TrainingError
        If a folder holds no usable tiles, or crops do not fit into them.
    """
    tiles = open_sources(options, grey=channels == 1)
    best = sharpest(tiles.main, best_share) if best_share < 1 else tiles.main
    sources: list[Crops] = [
        tiles.mixed,
        Mixed(best, tiles.further, tiles.share),
        tiles.held_out,
    ]
    if channels == 2:
        sources = [SimulatedSrh(source) for source in sources]
    return ChannelCrops(*sources)


def open_fields(
    options: RscdOptions | CalibratorOptions, schedule: Schedule, *, best_share: float = 1.0
) -> ChannelCrops:
    """Return the crops of RSCD's trainings: as `open_channels` does, or a camera's.

    Stabilised crops are exposures of grey images, of the optical densities of the RGB images in
    `extra`, and of drawn specimens (`CameraCrops`).

    Parameters
    ----------
    schedule : Schedule
        Noise is at most as strong as at its `highest_t`.

    Raises
    ------
    SettingError
        Stabilised images of more than one channel, or shares that are more than all.
    TrainingError
        See `open_channels`.
    """
    if not options.stabilised:
        return open_channels(options, options.channels, best_share=best_share)
    if options.channels != 1:
        raise SettingError(
            f"--stabilised is for one channel, and --channels is {options.channels}. Other images "
            "are stabilised channel by channel, with a model of one."
        )
    most_sigma = float(schedule.sigma[options.highest_t] / schedule.alpha[options.highest_t])
    tiles, cache = open_sources(options, grey=True, grey_extra=False), options.cache_folder
    tissue = tiles.further if tiles.further is not tiles.main else None
    best = sharpest(tiles.main, best_share) if best_share < 1 else tiles.main
    every, chosen = (
        camera_crops(
            main,
            tissue,
            cache,
            tissue_share=tiles.share,
            drawn_share=options.drawn_share,
            most_sigma=most_sigma,
        )
        for main in (tiles.main, best)
    )
    held_out = camera_crops(
        tiles.held_out,
        None,
        cache,
        tissue_share=0,
        drawn_share=min(0.5, options.drawn_share),
        most_sigma=most_sigma,
        held_out=True,
    )
    return ChannelCrops(every, chosen, held_out)


def crops(source: Crops, rng: np.random.Generator, count: int, size: int) -> Tensor:
    """Return random crops, (count, C, size, size) float32 in [-1, 1], of the files' whole range."""
    return as_tensor(np.stack([source.crop(rng, size) for _ in range(count)]))


def as_tensor(images: np.ndarray) -> Tensor:
    """Return images (B, H, W, C) uint8 or uint16 as (B, C, H, W) float32 in [-1, 1].

    Those that are floating-point already are in the model's range, and stay as they are.
    """
    if images.dtype.kind == "f":
        return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32))
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(pixels * (2 / np.iinfo(images.dtype).max) - 1)


def sharpest(tiles: Tiles, share: float) -> Tiles:
    """Return the sharpest tiles with the most signal, as many of each slide.

    A tile counts as good as its rank in sharpness (energy of the Laplacian at half resolution,
    where compression adds little) and its rank in signal (standard deviation) together. Where
    each slide has one tile, as with unrelated images, all are ranked together.

    Parameters
    ----------
    share : float in (0, 1]
        Of a slide's tiles, rounded up.
    """

    def best(group: np.ndarray) -> np.ndarray:
        figures = np.array([_sharpness_and_signal(tiles.pixels[k]) for k in group])
        ranks = figures.argsort(0).argsort(0).sum(1)
        most = np.argsort(-ranks, kind="stable")[: int(np.ceil(share * len(group)))]
        return group[np.sort(most)]

    return picked(tiles, best)


def picked(tiles: Tiles, pick: Callable[[np.ndarray], np.ndarray]) -> Tiles:
    """Return those tiles that `pick` takes of each slide's.

    Where each slide has one tile, as with unrelated images, it picks among all together. A slide
    of which it takes none is left out.
    """
    apart = any(len(slide) > 1 for slide in tiles.slides)
    groups = tiles.slides if apart else [np.concatenate(tiles.slides)]
    kept = [pick(group) for group in groups]
    chosen = copy.copy(tiles)
    chosen.slides = [k for k in kept if len(k)] if apart else [np.array([k]) for k in kept[0]]
    return chosen


def _sharpness_and_signal(tile: np.ndarray) -> tuple[float, float]:
    grey = tile.astype(np.float32).mean(-1)
    half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(half, cv2.CV_32F).var()), float(grey.std())
