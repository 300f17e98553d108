"""Crops for trainings without pairs: damaged ones, and clean ones of other tissue."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from histomend.damage.artifacts import KINDS, simulate
from histomend.errors import SettingError, TrainingError
from histomend.train.channels import SimulatedSrh, as_tensor, picked
from histomend.train.comparison_options import CycleGanOptions
from histomend.train.data import Crops, Tiles, open_sources
from histomend.train.simulated_pairs import under_tissue
from histomend.train.validation import held_out_rng

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
    return as_tensor(np.stack(damaged))


def degraded(images: np.ndarray, rng: np.random.Generator, mpp: float) -> Tensor:
    """Return crops of which all of the field is degraded."""
    return under_tissue(as_tensor(images), rng, mpp)


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
        return damaged, as_tensor(_drawn(self.halves[1 - turn], rng, count, size))

    def known(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        """Return always the same held-out crops, damaged and as they truly are."""
        truth = _drawn(self.held_out, held_out_rng(), count, size)
        return self.damage(truth, held_out_rng(2), self.mpp), as_tensor(truth)


def _drawn(source: Crops, rng: np.random.Generator, count: int, size: int) -> np.ndarray:
    return np.stack([source.crop(rng, size) for _ in range(count)])


def open_unpaired(options: CycleGanOptions) -> Unpaired:
    """Return crops of the tiles of a training, read as `open_channels` reads them.

    Raises
    ------
    SettingError
        Artifacts are asked for in images that are not RGB.
    TrainingError
        If a folder holds no usable tiles, or only one is left, or crops do not fit into them.
    """
    channels, share = options.channels, options.share
    if options.damage == "artifacts" and channels != 3:
        raise SettingError(
            f"Artifacts are simulated in RGB images, and --channels is {channels}. Use "
            "--channels 3, or --damage optical."
        )
    tiles = open_sources(options, grey=channels == 1)
    rng = np.random.default_rng([options.seed, 0])
    used = picked(tiles.main, lambda group: rng.permutation(group)[: math.ceil(share * len(group))])
    first, second = picked(used, lambda group: group[::2]), picked(used, lambda group: group[1::2])
    if not second.slides:
        raise TrainingError(
            f"Only one tile of {options.data} is used, and damaged and clean crops must be of "
            "different ones. Add tiles, or use a larger --share."
        )

    def read(source: Tiles) -> Crops:
        return SimulatedSrh(source) if channels == 2 else source

    damage = DAMAGES[options.damage]
    return Unpaired((read(first), read(second)), read(tiles.held_out), damage, options.mpp)
