"""Training data of latent denoisers: tiles encoded once, cropped at random in the latent."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor

from histomend.damage.shapes import random_mask
from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.diffusion.space import LatentSpace
from histomend.errors import TrainingError, display_name
from histomend.models import VaeFacts
from histomend.train.data import LIGHT_SHARE, Crops, Tiles, turned, vary_stain
from histomend.train.options import ControlOptions, LatentArtifusionOptions
from histomend.train.packed import packing

BATCH = 4
_log = logging.getLogger(__name__)
# A line in the log every so many seconds, as encoding takes minutes.
PATIENCE_S = 20


class Partner(Protocol):
    """Makes of each image another one of the same size, which is encoded beside it."""

    @property
    def key(self) -> str:
        """Its name in the cache; another way of making has another."""

    def __call__(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Return the other images for pixels (B, 3, H, W) in [-1, 1], each from its own seed."""


class Latents:
    """Tiles as an autoencoder sees them, each encoded whole in several versions.

    In the latent a crop can be neither turned nor stained otherwise, as these do not commute
    with the autoencoder. So each version is turned, mirrored and varied in stain at random
    before it is encoded, and a crop is a window of its cells. The latents are kept in one flat
    file (`cache`), which is mapped into memory, so several trainings share it.

    Parameters
    ----------
    tiles : Tiles
    space : LatentSpace
    facts : VaeFacts
        Of the space's autoencoder.
    cache : Path
        Folder for the latents.
    versions : int
        Of each tile; more are more varied, and take longer and more room.
    partner : Partner, optional
        Whose images' latents follow those of the tiles, as further channels of a crop.

    Attributes
    ----------
    cells : (N, versions, C + 1, h, w) float16
        Scaled latents, and behind them the mean level of each cell's pixels in [0, 1]. With a
        partner 2 C + 1 channels.
    """

    def __init__(
        self,
        tiles: Tiles,
        space: LatentSpace,
        facts: VaeFacts,
        cache: Path,
        *,
        versions: int,
        partner: Partner | None = None,
    ):
        self.slides = tiles.slides
        beside = "" if partner is None else f"-{partner.key}"
        packed = cache / f"latents-{tiles.key}-{facts.sha256[:12]}-{versions}{beside}.npy"
        if not packed.exists():
            count = len(tiles.pixels)
            _log.info(
                "encoding %d tiles in %d versions into %s", count, versions, display_name(packed)
            )
            _encode(tiles, space, facts, packed, versions, partner)
        self.cells: np.ndarray = np.load(packed, mmap_mode="r")

    def crop(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """Return a random crop (C, size, size) float32 of a version, slides equally likely.

        One in `LIGHT_SHARE` is the lightest of a few, as in `Tiles.crop`.
        """
        crop = self._cut(rng, size)
        if rng.random() < LIGHT_SHARE:
            others = (self._cut(rng, size) for _ in range(3))
            crop = max([crop, *others], key=lambda cells: float(cells[-1].mean()))
        return crop[:-1]

    def _cut(self, rng: np.random.Generator, size: int) -> np.ndarray:
        slide = self.slides[rng.integers(len(self.slides))]
        versions = self.cells[slide[rng.integers(len(slide))]]
        cells = versions[rng.integers(len(versions))]
        y, x = (int(rng.integers(n - size + 1)) for n in cells.shape[1:])
        return cells[:, y : y + size, x : x + size].astype(np.float32)


def open_latents(
    tiles: Tiles,
    space: LatentSpace,
    facts: VaeFacts,
    options: LatentArtifusionOptions | ControlOptions,
    partner: Partner | None = None,
) -> Latents:
    """Return the latents of tiles; of several processes one encodes them."""
    on_cpu = torch_device(options.device).type == "cpu"
    with PartialState(cpu=on_cpu).local_main_process_first():
        return Latents(
            tiles, space, facts, options.cache_folder, versions=options.versions, partner=partner
        )


def latent_batch(
    source: Crops,
    rng: np.random.Generator,
    count: int,
    size: int,
    unconditional: float,
    factor: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return latents (count, C, size, size) float32 and masks (count, 1, size, size).

    Masks are drawn in pixels, as artifacts are; a cell is masked if any of its pixels is.

    Parameters
    ----------
    source : Latents or Mixed
    size : int
        Side in cells of `factor` pixels.
    unconditional : float in [0, 1]
        Share of samples whose mask covers everything.
    """
    latents = np.stack([source.crop(rng, size) for _ in range(count)])
    masks = np.ones((count, 1, size, size), np.float32)
    side = size * factor
    for mask in masks:
        if rng.random() >= unconditional:
            pixels = random_mask((side, side), rng, area=float(rng.uniform(0.1, 0.6)))
            mask[0] = pixels.reshape(size, factor, size, factor).any((1, 3))
    return latents, masks


def _encode(
    tiles: Tiles,
    space: LatentSpace,
    facts: VaeFacts,
    packed: Path,
    versions: int,
    partner: Partner | None,
) -> None:
    """Encode every version of every tile, cut to a square of whole cells, into one .npy."""
    cells = min(tiles.pixels.shape[1:3]) // facts.factor
    side = cells * facts.factor
    device = next(space.vae.parameters()).device
    bf16 = has_fast_bf16(device)
    channels = facts.channels * (1 if partner is None else 2)
    shape = (len(tiles.pixels), versions, channels + 1, cells, cells)
    jobs = [(tile, version) for tile in range(shape[0]) for version in range(versions)]
    began = told = time.monotonic()
    with packing(packed, shape, np.float16) as out:
        for first in range(0, len(jobs), BATCH):
            group = jobs[first : first + BATCH]
            images = np.stack([_version(tiles.pixels[tile], side, tile, v) for tile, v in group])
            pixels = torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(127.5) - 1)
            views = [pixels]
            if partner is not None:
                views.append(partner(pixels, [tile * versions + v for tile, v in group]))
            with (
                torch.inference_mode(),
                torch.autocast(device.type, torch.bfloat16, enabled=bf16),
            ):
                encoded = [space.encode(view.to(device)) for view in views]
            x = torch.cat(encoded, 1).float().cpu().numpy()
            if not np.isfinite(x).all() or np.abs(x).max() > np.finfo(np.float16).max:
                raise TrainingError(
                    "The autoencoder gives latents that are not finite or exceed fp16. Check it, "
                    "or train another one with `histomend train vae`."
                )
            grid = (len(group), cells, facts.factor, cells, facts.factor * 3)
            for (tile, v), latent, level in zip(
                group, x, images.reshape(grid).mean((2, 4)) / 255, strict=True
            ):
                out[tile, v, :-1], out[tile, v, -1] = latent, level
            if time.monotonic() - told > PATIENCE_S:
                told = time.monotonic()
                done = first + len(group)
                left = (told - began) / done * (len(jobs) - done) / 60
                _log.info("encoded %d of %d, %.0f minutes to go", done, len(jobs), left)


def _version(tile: np.ndarray, side: int, index: int, version: int) -> np.ndarray:
    """Return a (side, side, 3) uint8 version of a tile, always the same."""
    rng = np.random.default_rng([20, 3, index, version])
    y, x = (int(rng.integers(n - side + 1)) for n in tile.shape[:2])
    return vary_stain(turned(tile[y : y + side, x : x + side], rng), rng)
