"""What models cost in multiply-accumulates, their autoencoders included.

Used by ``latent_speed.py``; nothing to run here.
"""

from __future__ import annotations

from histomend.diffusion.space import LatentSpace, Space
from histomend.methods.costs import cost, vae_cost
from histomend.models import Model
from histomend.networks.autoencoder import VAE_ARCHS

SIZE = 256


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
