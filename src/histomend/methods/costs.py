"""What networks cost: parameters, and multiply-accumulates of one call.

Counted on PyTorch's meta device, attention products included; nothing is computed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from histomend.models import ModelConfig
from histomend.models.restoration import RestorationConfig
from histomend.models.stable_diffusion import StableDiffusion
from histomend.networks.autoencoder import build_vae
from histomend.networks.build import arch_named
from histomend.networks.control import ControlBranch, ControlledUNet
from histomend.networks.stable_diffusion import (
    PAPER_UNET,
    ControlledStableDiffusion,
    controlnet_for,
    paper_unet,
)

# Channels of Stable Diffusion's latent, and tokens of its prompt.
_SD_CHANNELS, _SD_TOKENS = 4, 77


def cost(
    arch: str,
    context: bool,
    size: int = 256,
    *,
    method: str = "artifusion",
    latent_channels: int = 0,
) -> tuple[int, int]:
    """Return (parameters, multiply-accumulates of one call on a size × size RGB image).

    Parameters
    ----------
    latent_channels : int
        Of the autoencoder, whose cells are 8×8 pixels; 0 where the method works on pixels.
    """
    chosen = arch_named(arch, method)
    config = ModelConfig(
        method,
        arch,
        context=context,
        learned_variance=chosen.learned_variance,
        latent_channels=latent_channels,
    )
    side = size // 8 if latent_channels else size
    with torch.device("meta"):
        entry = torch.zeros(1, config.in_channels, side, side)
        return _counted(config.network(), entry, torch.zeros(1, dtype=torch.int64))


def vae_cost(arch: str, latent_channels: int, size: int = 256) -> tuple[int, int, int]:
    """Return (parameters, multiply-accumulates to encode, to decode) of an autoencoder."""
    with torch.device("meta"):
        vae = build_vae(arch, latent_channels).eval()
        with FlopCounterMode(display=False) as encoding, torch.no_grad():
            latent = vae.encode(torch.zeros(1, 3, size, size)).latent_dist.mean
        with FlopCounterMode(display=False) as decoding, torch.no_grad():
            vae.decode(latent)
    macs = (counter.get_total_flops() // 2 for counter in (encoding, decoding))
    return sum(p.numel() for p in vae.parameters()), *macs


def restoration_cost(method: str, arch: str, size: int = 256) -> tuple[int, int]:
    """Return what `cost` does of a restoration module, for an enlarged image of size × size px."""
    with torch.device("meta"):
        network = RestorationConfig(arch, method=method).network()
        return _counted(network, torch.zeros(1, 3, size, size))


def controlled_cost(
    arch: str, context: bool, latent_channels: int, size: int = 256
) -> tuple[int, int]:
    """Return what `cost` does of an upscaler's prior with its control branch.

    Parameters
    ----------
    arch : str
        Of the prior: one of LatentArtiFusion, or "stable-diffusion", which has its own latent.
    """
    side = size // 8
    with torch.device("meta"):
        network: nn.Module
        if arch == StableDiffusion.arch:
            unet, channels = paper_unet(), _SD_CHANNELS
            prompt = torch.zeros(1, _SD_TOKENS, PAPER_UNET["cross_attention_dim"])
            network = ControlledStableDiffusion(unet, controlnet_for(unet), prompt)
        else:
            channels = latent_channels
            config = ModelConfig(
                "latent-artifusion", arch, context=context, latent_channels=channels
            )
            prior = config.network()
            branch = ControlBranch(prior, channels)
            network = ControlledUNet(prior, branch, channels, context=context)
        entry = torch.zeros(1, 2 * channels, side, side)
        return _counted(network, entry, torch.zeros(1, dtype=torch.int64))


def _counted(network: nn.Module, *entries: Tensor) -> tuple[int, int]:
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*entries)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2
