"""The variational autoencoder of the latent systems: diffusers' `AutoencoderKL`, in our sizes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from histomend.errors import SettingError
from histomend.networks.critic import CRITIC_WIDTH, PatchDiscriminator, Verdict, judged

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


class Pass(NamedTuple):
    """What one pass of training gives.

    Parameters
    ----------
    y : (B, 3, H, W)
        Reconstruction; smaller than the image if the latent was shrunk.
    mean, log_variance : (B, C, h, w)
        Of the latent's posterior.
    verdict : Verdict or None
        The critic's, on originals and reconstructions.
    """

    y: Tensor
    mean: Tensor
    log_variance: Tensor
    verdict: Verdict | None = None

    def float(self) -> Pass:
        """Return all of it in fp32, in which losses are taken; most of it is already."""
        return self._replace(mean=self.mean.float(), log_variance=self.log_variance.float())


class Autoencoding(nn.Module):
    """Encode, draw from the posterior, decode, judge: one pass of training.

    Parameters
    ----------
    vae : AutoencoderKL
    decoder_only : bool
        Whether the encoder stays as it is, and with it the latents that others were trained on.
    critic : bool
        Whether a patch discriminator judges the reconstruction beside the original.
    """

    def __init__(self, vae: AutoencoderKL, *, decoder_only: bool = False, critic: bool = False):
        super().__init__()
        self.vae = vae
        self.critic = PatchDiscriminator(width=CRITIC_WIDTH) if critic else None
        if decoder_only:
            vae.encoder.requires_grad_(False)
            vae.quant_conv.requires_grad_(False)

    def forward(self, x: Tensor, noise: Tensor, shrink: int = 1) -> Pass:
        """Return the reconstruction, the latent's posterior, and the critic's scores.

        Parameters
        ----------
        x : (B, 3, 8h, 8w) in [-1, 1]
        noise : (B, C, h, w)
            Standard normal; zeros reconstruct from the posterior's mean.
        shrink : int
            Average the latent over so many cells each way before it is decoded: the
            reconstruction is then that of the image made smaller as much.
        """
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean + posterior.std * noise
        if shrink > 1:
            z = F.avg_pool2d(z, shrink)
            x = F.avg_pool2d(x, shrink)
        # In fp32 before the critic sees it: error and pull are then gradients at the same tensor.
        y = self.vae.decode(z).sample.float()
        if self.critic is None:
            return Pass(y, posterior.mean, posterior.logvar)
        return Pass(y, posterior.mean, posterior.logvar, judged(self.critic, x, y))
