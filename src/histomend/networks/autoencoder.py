"""The variational autoencoder of the latent systems: diffusers' `AutoencoderKL`, in our sizes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from histomend.errors import SettingError

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

# Widths of the levels, from full resolution down to an eighth of it, and groups of the norms.
VAE_ARCHS: dict[str, dict[str, Any]] = {
    "paper": {
        "block_out_channels": (128, 256, 512, 512),
        "layers_per_block": 2,
        "norm_num_groups": 32,
        "mid_block_add_attention": True,
    },
    "small": {
        "block_out_channels": (16, 32, 64, 128),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "mid_block_add_attention": False,
    },
}


def build_vae(arch: str, latent_channels: int) -> AutoencoderKL:
    """Return an autoencoder with fresh weights that maps 8×8 pixels to one latent cell.

    Parameters
    ----------
    arch : "paper" or "small"
        "paper" is Stable Diffusion's, as LatentArtiFusion uses it (with 4 channels); "small" has
        no attention, so that its norms are all that ties distant pixels together.
    latent_channels : int

    Raises
    ------
    SettingError
        If there is no such arch, or fewer than one channel.
    """
    if arch not in VAE_ARCHS:
        raise SettingError(f"No autoencoder is called {arch!r}. There are {', '.join(VAE_ARCHS)}.")
    if latent_channels < 1:
        raise SettingError(f"{latent_channels} latent channels are not possible; 8 are usual.")
    with warnings.catch_warnings():
        # Its dependencies warn of their own future while they are imported.
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL

    settings = VAE_ARCHS[arch]
    levels = len(settings["block_out_channels"])
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        latent_channels=latent_channels,
        sample_size=256,
        **settings,
    )


class Autoencoding(nn.Module):
    """Encode, draw from the posterior, decode: one pass of training.

    Parameters
    ----------
    vae : AutoencoderKL
    """

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction, and mean and log-variance of the latent.

        Parameters
        ----------
        x : (B, 3, 8h, 8w) in [-1, 1]
        noise : (B, C, h, w)
            Standard normal; zeros reconstruct from the posterior's mean.
        """
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * noise
        return self.vae.decode(z).sample, posterior.mean, posterior.logvar
