"""Clean fields, damaged on purpose, so that the truth under the damage is known."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from histomend.damage.artifacts import KINDS, simulate
from histomend.errors import ImageSizeError, InputError
from histomend.image import read_image

# Fraction of a crop that is damaged.
AREA = (0.12, 0.15)


@dataclass(frozen=True)
class Crop:
    """A clean field, the same damaged, and where.

    Attributes
    ----------
    name : str
        File, position and kind of damage: unique within a set of crops.
    tile, slide, kind : str
        The file and the slide it comes from; the kind of damage.
    seed : int
        Seed of the damage, and handed to restorers.
    mpp : float
        Micrometres per pixel.
    truth, damaged : (S, S, 3) uint8
    mask : (S, S) bool
    """

    name: str
    tile: str
    slide: str
    kind: str
    seed: int
    mpp: float
    truth: np.ndarray = field(repr=False)
    damaged: np.ndarray = field(repr=False)
    mask: np.ndarray = field(repr=False)

    def sha256(self) -> str:
        """Identify truth, damage and mask by their bytes."""
        digest = hashlib.sha256()
        for part in (self.truth, self.damaged, self.mask):
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class CleanCrop:
    """A clean field.

    Attributes
    ----------
    name : str
        File and position: unique within a set of crops.
    tile, slide : str
        The file and the slide it comes from.
    index, turn : int
        Number of the tile in the manifest, sorted by file, and of the crop within it.
    mpp : float
        Micrometres per pixel.
    pixels : (S, S, 3) uint8
    """

    name: str
    tile: str
    slide: str
    index: int
    turn: int
    mpp: float
    pixels: np.ndarray = field(repr=False)


def clean_crops(
    data: Path, *, size: int = 256, per_tile: int = 2, seed: int = 0, limit: int | None = None
) -> list[CleanCrop]:
    """Cut the crops of an experiment.

    Crops of a tile do not overlap. The tiles' order is drawn with the seed, and all first crops
    come before all second ones: so the first N crops, which is what ``limit`` gives, are a fair
    sample of all.

    Parameters
    ----------
    data : Path
        Folder with clean tiles and their ``manifest.csv`` (file, slide, mpp).
    size : int
        Side of a crop in pixels.
    per_tile : int
        Crops of each tile, at most as many as fit side by side.
    seed : int
    limit : int, optional
        Stop after this many.

    Raises
    ------
    InputError
        There is no manifest, or it names no tiles.
    ImageSizeError
        A tile is too small for ``per_tile`` crops of that size.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise InputError(f"There is no {manifest}: name a folder of clean tiles with a manifest.")
    with manifest.open(newline="", encoding="utf-8") as lines:
        tiles = sorted(csv.DictReader(lines), key=lambda tile: tile["file"])
    if not tiles:
        raise InputError(f"{manifest} names no tiles, so there is nothing to cut crops from.")
    order = np.random.default_rng(seed).permutation(len(tiles))
    planned = [(turn, int(index)) for turn in range(per_tile) for index in order][:limit]
    made = []
    for turn, index in planned:
        tile = tiles[index]
        pixels = read_image(data / tile["file"]).pixels
        x, y = _cell(pixels.shape, size, turn, np.random.default_rng([seed, index]), tile["file"])
        made.append(
            CleanCrop(
                name=f"{Path(tile['file']).stem}+{x}+{y}",
                tile=tile["file"],
                slide=tile["slide"],
                index=index,
                turn=turn,
                mpp=float(tile["mpp"].split()[0]),
                pixels=np.ascontiguousarray(pixels[y : y + size, x : x + size]),
            )
        )
    return made


def crops(
    data: Path, *, size: int = 256, per_tile: int = 2, seed: int = 0, limit: int | None = None
) -> list[Crop]:
    """Cut the crops of an experiment and damage them.

    The kinds of damage take turns over the crops, in the order of :func:`clean_crops`, which says
    what the parameters are and what is raised.
    """
    made = []
    cut = clean_crops(data, size=size, per_tile=per_tile, seed=seed, limit=limit)
    for number, clean in enumerate(cut):
        rng = np.random.default_rng([seed, clean.index, clean.turn])
        kind, damage_seed = KINDS[number % len(KINDS)], int(rng.integers(2**31))
        damage = simulate(
            clean.pixels, kind, seed=damage_seed, area=rng.uniform(*AREA), mpp=clean.mpp
        )
        made.append(
            Crop(
                name=f"{clean.name}-{kind}",
                tile=clean.tile,
                slide=clean.slide,
                kind=kind,
                seed=damage_seed,
                mpp=clean.mpp,
                truth=clean.pixels,
                damaged=damage.pixels,
                mask=damage.mask,
            )
        )
    return made


def _cell(
    shape: tuple[int, ...], size: int, turn: int, rng: np.random.Generator, file: str
) -> tuple[int, int]:
    """Choose where a crop lies: another cell of a grid at each turn, drawn without repetition."""
    down, across = shape[0] // size, shape[1] // size
    if turn >= down * across:
        raise ImageSizeError(
            f"{file} is {shape[1]}x{shape[0]} px, room for {down * across} crops of {size} px, and "
            f"{turn + 1} were asked for: ask for fewer or smaller ones."
        )
    # The grid as a whole lies anywhere in what is left over.
    y0, x0 = (int(rng.integers(side % size + 1)) for side in shape[:2])
    row, column = divmod(int(rng.permutation(down * across)[turn]), across)
    return x0 + column * size, y0 + row * size
