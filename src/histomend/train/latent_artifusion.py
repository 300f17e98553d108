"""Training of LatentArtiFusion's denoiser, on the latents of artifact-free images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.device import torch_device
from histomend.diffusion.space import LatentSpace
from histomend.errors import SettingError
from histomend.models import ModelConfig, fit_to_vae, load_vae, vae_facts
from histomend.models.vae import vae_folder
from histomend.networks.build import arch_named
from histomend.train.data import Mixed, Tiles, open_sources
from histomend.train.data import batch as drawn
from histomend.train.denoiser import (
    HELD_OUT,
    DenoiserSubject,
    HeldOut,
    checked,
    tensors,
    train_denoiser,
)
from histomend.train.figures import psnr
from histomend.train.latents import latent_batch, open_latents
from histomend.train.settings import LATENT_ARTIFUSION, MixedOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


def train(
    data: Path,
    out: Path,
    *,
    vae: str | Path,
    arch: str = "small",
    init: str | Path | None = None,
    prediction: PredictionType = "v",
    schedule: str = "scaled_linear",
    context: bool = True,
    unconditional: float = 0.2,
    mpp: float = 0.5,
    versions: int = 4,
    shard_mb: float | None = None,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a latent denoiser and return the folder of the finished model, autoencoder included.

    Parameters
    ----------
    data : Path
        Folder of artifact-free RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    vae : str or Path
        Autoencoder in diffusers' format: a folder (`histomend train vae`), or a name on the
        Hugging Face hub. It stays as it is.
    arch : str
        Size of the network (`histomend presets latent-artifusion`).
    init : str or Path, optional
        Bundled name or folder to take the first weights from; it must be of the same arch,
        prediction, schedule, context and latent channels.
    crop : int
        Side in px, a multiple of the autoencoder's factor.
    versions : int
        Of each tile, turned and stained differently; each is encoded once, into the cache.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `LATENT_ARTIFUSION` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or schedule that does not exist, or a crop that is not whole cells.
    ModelNotFoundError, WeightsError, UnsafeWeightsError
        An autoencoder that is not there, damaged, or a pickle.
    """
    settings = replace(LATENT_ARTIFUSION, **options)
    where, crop = torch_device(settings.device), settings.crop
    arch_named(arch, "latent-artifusion")
    place = vae_folder(vae)
    facts = vae_facts(place)
    config = fit_to_vae(
        ModelConfig(
            method="latent-artifusion",
            arch=arch,
            prediction=prediction,
            schedule=schedule,
            mpp=mpp,
            context=context,
        ),
        place,
    )
    config = checked(config, init)
    factor = config.factor
    if crop % factor or crop < 4 * factor:
        raise SettingError(
            f"--crop is {crop}, but must be a multiple of {factor}, from {4 * factor} on: a cell "
            f"of this autoencoder's latent stands for {factor}×{factor} pixels."
        )
    if versions < 1:
        raise SettingError(f"--versions is {versions}, but each tile needs at least one.")
    cache = settings.cache_of(out)
    tiles = open_sources(data, settings.validation, settings.extra, cache, crop=crop, device=where)
    space = LatentSpace(load_vae(place, where))
    main, further = (
        open_latents(t, space, facts, cache, versions=versions, device=where)
        for t in (tiles.main, tiles.further)
    )
    latents = Mixed(main, further, settings.extra_share)

    def draw(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        return latent_batch(latents, rng, count, crop // factor, share, factor)

    held_out, figures = _held_out(tiles.held_out, space, crop, context, where)
    return train_denoiser(
        DenoiserSubject(config, None if shard_mb is None else int(shard_mb * 1e6), place),
        out,
        draw,
        held_out,
        settings,
        unconditional=unconditional,
        init=init,
        facts=figures,
    )


@torch.no_grad()
def _held_out(
    tiles: Tiles, space: LatentSpace, crop: int, context: bool, device: torch.device
) -> tuple[HeldOut, dict[str, float]]:
    """Return always the same crops, and how well the autoencoder alone gives them back.

    They are encoded as crops, as in a restoration, and not cut out of the tiles' latents. Shown
    are damaged, restored, the autoencoder's picture of the truth, and the truth.
    """
    share = 0.0 if context else 1.0
    pixels, mask = tensors(
        drawn(tiles, np.random.default_rng([20, 1]), HELD_OUT, crop, share), device
    )
    x0 = torch.cat([space.encode(part) for part in pixels.split(4)])
    decoded = torch.cat([space.decode(part) for part in x0.split(4)]).clamp(-1, 1)

    def rows(restored: Tensor) -> list[Tensor]:
        few = slice(0, len(restored))
        visible = pixels[few] * (1 - mask[few])
        return [
            visible,
            visible + space.decode(restored) * mask[few],
            decoded[few],
            pixels[few],
        ]

    return HeldOut(x0, space.mask(mask), rows), {"vae_psnr": psnr(decoded, pixels)}
