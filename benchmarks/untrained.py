"""Models of the papers' sizes with fresh weights, and what models cost in multiply-accumulates.

Used by ``latent_speed.py``; nothing to run here.
"""

from __future__ import annotations

import torch

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.space import LatentSpace, PixelSpace, Space
from histomend.methods.costs import cost, vae_cost
from histomend.models import Model, ModelConfig
from histomend.networks.autoencoder import VAE_ARCHS
from histomend.networks.build import arch_named

SIZE = 256


def untrained(arch: str, device: torch.device, space: Space | None = None) -> Model:
    """Return a model of the papers' with fresh weights, on pixels or on the latent of a space."""
    if isinstance(space, LatentSpace):
        config = ModelConfig(
            "latent-artifusion",
            arch,
            prediction="epsilon",
            schedule="scaled_linear",
            context=False,
            latent_channels=space.vae.config.latent_channels,
            factor=space.factor,
            vae_scaling=space.scaling,
        )
    else:
        config = ModelConfig(
            "artifusion",
            arch,
            prediction="epsilon",
            schedule="linear",
            steps=250,
            context=False,
            learned_variance=arch_named(arch).learned_variance,
        )
    network = config.network().eval().requires_grad_(False).to(device)
    denoiser = Denoiser(network, config.noise_schedule(), config.prediction)
    return Model(f"untrained {arch}", config, denoiser, device, space or PixelSpace())


def networks_cost(model: Model) -> tuple[int, int, int]:
    """Return parameters of all networks, and MACs of one call and of the autoencoder."""
    config = model.config
    parameters, macs = cost(
        config.arch,
        config.context,
        SIZE,
        method=config.method,
        latent_channels=config.latent_channels,
    )
    more, encode, decode = autoencoder_cost(model.space)
    return parameters + more, macs, encode + decode


def autoencoder_cost(space: Space) -> tuple[int, int, int]:
    """Return parameters and MACs to encode and to decode; zeros without autoencoder."""
    if not isinstance(space, LatentSpace):
        return 0, 0, 0
    widths = tuple(space.vae.config.block_out_channels)
    (arch,) = (name for name, s in VAE_ARCHS.items() if s["block_out_channels"] == widths)
    return vae_cost(arch, space.vae.config.latent_channels, SIZE)
