"""Training of LatentArtiFusion's denoiser, on the latents of artifact-free images."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

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
    DenoiserTrainee,
    HeldOut,
    MaskedDenoising,
    starting_config,
    tensors,
)
from histomend.train.latents import latent_batch, open_latents
from histomend.train.options import LatentArtifusionOptions
from histomend.train.validation import held_out_rng, psnr


def lesson(options: LatentArtifusionOptions) -> MaskedDenoising:
    """Return the lesson: latents under random masks; all tiles are encoded first."""
    where, crop = torch_device(options.device), options.crop
    arch_named(options.arch, "latent-artifusion")
    place = vae_folder(options.vae)
    facts = vae_facts(place)
    config = ModelConfig(
        method="latent-artifusion",
        arch=options.arch,
        prediction=options.prediction,
        schedule=options.schedule,
        mpp=options.mpp,
        context=options.context,
    )
    config = starting_config(fit_to_vae(config, place), options)
    factor = config.factor
    if crop % factor or crop < 4 * factor:
        raise SettingError(
            f"--crop is {crop}, but must be a multiple of {factor}, from {4 * factor} on: a cell "
            f"of this autoencoder's latent stands for {factor}×{factor} pixels."
        )
    tiles = open_sources(options)
    space = LatentSpace(load_vae(place, where))
    main, further = (open_latents(t, space, facts, options) for t in (tiles.main, tiles.further))
    latents = Mixed(main, further, tiles.share)

    def draw(rng: np.random.Generator, count: int, share: float) -> tuple[np.ndarray, np.ndarray]:
        return latent_batch(latents, rng, count, crop // factor, share, factor)

    held_out, known = _held_out(tiles.held_out, space, crop, options.context, where)
    trainee = DenoiserTrainee(config, options.shard_bytes, place)
    return MaskedDenoising(trainee, draw, held_out, options.batch, options.unconditional, known)


@torch.no_grad()
def _held_out(
    tiles: Tiles, space: LatentSpace, crop: int, context: bool, device: torch.device
) -> tuple[HeldOut, dict[str, float]]:
    """Return always the same crops, and how well the autoencoder alone gives them back.

    They are encoded as crops, as in a restoration, and not cut out of the tiles' latents. Shown
    are damaged, restored, the autoencoder's picture of the truth, and the truth.
    """
    share = 0.0 if context else 1.0
    pixels, mask = tensors(drawn(tiles, held_out_rng(), HELD_OUT, crop, share), device)
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
