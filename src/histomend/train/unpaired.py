"""Crops for trainings without pairs: damaged ones, and clean ones of other tissue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histomend.damage.artifacts import KINDS, simulate
from histomend.errors import SettingError, TrainingError
from histomend.train.data import Crops, Tiles, open_sources
from histomend.train.pairs import under_tissue
from histomend.train.signals import SimulatedSrh, check_channels, picked, shown

# (crops (B, H, W, C) of 8 or 16 bits, generator, pixel size in um) -> damaged ones (B, C, H, W).
Damage = Callable[[np.ndarray, np.random.Generator, float], Tensor]
# Fraction of a crop under a simulated artifact.
AREA = (0.05, 0.25)


def with_artifacts(images: np.ndarray, rng: np.random.Generator, mpp: float) -> Tensor:
    """Return RGB crops with one simulated artifact each, of any kind."""
    damaged = [
        simulate(
            image,
            KINDS[rng.integers(len(KINDS))],
            seed=int(rng.integers(2**31)),
            area=rng.uniform(*AREA),
            mpp=mpp,
        ).pixels
        for image in images
    ]
    return shown(np.stack(damaged))


def degraded(images: np.ndarray, rng: np.random.Generator, mpp: float) -> Tensor:
    """Return crops of which all of the field is degraded."""
    return under_tissue(shown(images), rng, mpp)


DAMAGES: dict[str, Damage] = {"artifacts": with_artifacts, "optical": degraded}


@dataclass(frozen=True)
class Unpaired:
    """Where the crops of a training without pairs come from.

    Parameters
    ----------
    halves : two Crops
        Of different tiles. At each step one of them gives the damaged crops and the other the
        clean ones: over time both kinds are of all tiles, and none is ever seen beside itself.
    held_out : Crops
        Of tiles that only figures are made on.
    damage : Damage
    mpp : float
        Pixel size in um.
    """

    halves: tuple[Crops, Crops]
    held_out: Crops
    damage: Damage
    mpp: float

    def batch(self, rng: np.random.Generator, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Return damaged and clean crops, (count, C, size, size) each, in [-1, 1]."""
        turn = int(rng.integers(2))
        damaged = self.damage(_drawn(self.halves[turn], rng, count, size), rng, self.mpp)
        return damaged, shown(_drawn(self.halves[1 - turn], rng, count, size))

    def known(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Return always the same held-out crops, damaged and as they truly are."""
        truth = _drawn(self.held_out, np.random.default_rng([20, 1]), count, size)
        return self.damage(truth, np.random.default_rng([20, 2]), self.mpp), shown(truth)


def _drawn(source: Crops, rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return np.stack([source.crop(rng, size) for _ in range(count)])


def open_unpaired(
    data: Path,
    validation: Path | None,
    cache: Path,
    *,
    damage: str,
    channels: int,
    share: float,
    mpp: float,
    crop: int,
    seed: int,
    device: torch.device,
) -> Unpaired:
    """Return crops of the tiles in `data`, read as `open_signals` reads them.

    Parameters
    ----------
    damage : "artifacts" or "optical"
    share : float in (0, 1]
        Share of each slide's tiles that is used at all.
    seed : int
        Draws which.

    Raises
    ------
    SettingError
        A damage, a share or a number of channels that does not exist, or artifacts in images that
        are not RGB.
    TrainingError
        If a folder holds no usable tiles, or only one is left, or crops do not fit into them.
    """
    check_channels(channels)
    if damage not in DAMAGES:
        raise SettingError(f"No damage is called {damage!r}. There are {', '.join(DAMAGES)}.")
    if damage == "artifacts" and channels != 3:
        raise SettingError(
            f"Artifacts are simulated in RGB images, and --channels is {channels}. Use "
            "--channels 3, or --damage optical."
        )
    if not 0 < share <= 1:
        raise SettingError(f"--share is {share}, but must be above 0 and at most 1.")
    tiles = open_sources(
        data, validation, None, cache, crop=crop, device=device, grey=channels == 1
    )
    rng = np.random.default_rng([seed, 0])
    used = picked(tiles.main, lambda group: rng.permutation(group)[: math.ceil(share * len(group))])
    first, second = picked(used, lambda group: group[::2]), picked(used, lambda group: group[1::2])
    if not second.slides:
        raise TrainingError(
            f"Only one tile of {data} is used, and damaged and clean crops must be of different "
            "ones. Add tiles, or use a larger --share."
        )

    def read(source: Tiles) -> Crops:
        return SimulatedSrh(source) if channels == 2 else source

    return Unpaired((read(first), read(second)), read(tiles.held_out), DAMAGES[damage], mpp)
