"""Training of the autoencoder under the latent systems, on artifact-free images only."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.damage.shapes import random_mask
from histomend.errors import SettingError, TrainingError
from histomend.models import vae_facts
from histomend.models.hub import is_hub_name
from histomend.models.vae import WEIGHT_FILE, vae_folder
from histomend.models.weights import read_tensors
from histomend.networks.autoencoder import VAE_ARCHS, Autoencoding, Pass, build_vae
from histomend.train.adversarial import adversarial_loss
from histomend.train.data import Crops, open_sources
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.options import VaeOptions
from histomend.train.validation import device_of, held_out_rng, laplacian_ratio, psnr

# Keeps the latent near a standard normal without costing detail.
KL_WEIGHT = 1e-4
# The error of the differences between neighbouring pixels, at full and at half resolution,
# beside that of the pixels: the eye reads edges and grain, of which the pixels' error says little.
DETAIL_WEIGHT = 1.0
# The squared error of hue over 4×4 pixels: the error of pixels alone is content to paint the few
# red cells of an image in the colour of all its other tissue.
HUE_WEIGHT = 30.0
HUE_PX = 4
# Share of the crops in which a region is recoloured. In most tissue the hue follows from the
# brightness; an encoder that has seen little else does not keep it, and red cells come back violet.
RECOLOURED = 0.4
# Share of the steps in which the latent is averaged over 2×2 cells and must decode to the smaller
# image. Without it neighbouring cells of many channels are all but independent, white noise to a
# denoiser that is to continue them (Kouzelis et al. 2025, "EQ-VAE").
SHRUNK = 0.4
FIRST_LOG_VARIANCE = -6.0
FACTOR = 8
# The layers whose size is the number of latent channels: they begin anew where it is another.
LATENT_LAYERS = (
    "vae.encoder.conv_out.",
    "vae.quant_conv.",
    "vae.post_quant_conv.",
    "vae.decoder.conv_in.",
)


@dataclass(frozen=True)
class VaeTrainee:
    """An autoencoder as what is trained.

    Parameters
    ----------
    arch : str
    channels : int
        Of the latent.
    gauge : (B, 3, H, W)
        Clean crops whose latents say how they are to be scaled to a standard deviation of 1.
    decoder_only : bool
        Whether the encoder stays as it is, and its scaling with it.
    critic : bool
        Whether a critic is trained beside it.
    scaling : float, optional
        To be kept; without it `gauge` decides.
    """

    arch: str
    channels: int
    gauge: Tensor
    decoder_only: bool = False
    critic: bool = False
    scaling: float | None = None

    def network(self) -> nn.Module:
        """Return the network with fresh weights, from which it learns fastest.

        Residual blocks begin as the identity, and the posterior nearly without noise, which
        otherwise hides the code at first: in trials of some hundred steps this was more than
        1 dB ahead.
        """
        vae = build_vae(self.arch, self.channels)
        for name, tensor in vae.named_parameters():
            if ".conv2." in name:
                nn.init.zeros_(tensor)
        _, log_variance = vae.quant_conv.bias.detach().chunk(2)
        log_variance.fill_(FIRST_LOG_VARIANCE)
        return Autoencoding(vae, decoder_only=self.decoder_only, critic=self.critic)

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        return {"arch": self.arch, "channels": self.channels, "critic": self.critic}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the autoencoder in the folder `init`, in diffusers' format.

        It may have another number of latent channels: the layers next to the latent are then
        fresh, and all others are taken over.
        """
        path = _first(init) / WEIGHT_FILE
        if not path.is_file():
            raise TrainingError(
                f"There is no {WEIGHT_FILE} in {init}. Name a folder that `histomend train vae` "
                "wrote (RUN/model), or an autoencoder in diffusers' format."
            )
        first = {f"vae.{name}": tensor for name, tensor in read_tensors(path).items()}
        fresh = self.network().state_dict()
        for name, tensor in fresh.items():
            if name.startswith("critic.") or (
                name.startswith(LATENT_LAYERS)
                and not self.decoder_only
                and name in first
                and first[name].shape != tensor.shape
            ):
                first[name] = tensor
        return first

    @torch.no_grad()
    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights in diffusers' format, in fp16."""
        vae = build_vae(self.arch, self.channels).eval()
        vae.load_state_dict(
            {n.removeprefix("vae."): t.cpu() for n, t in average.items() if n.startswith("vae.")}
        )
        scaling = self.scaling
        if scaling is None:
            spread = float(vae.encode(self.gauge).latent_dist.mean.std())
            scaling = round(1 / max(spread, 1e-3), 5)
        vae.register_to_config(scaling_factor=scaling)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            vae.half().save_pretrained(folder)


@dataclass
class VaeLesson(Lesson[Tensor]):
    """Encode crops and give them back; see `VaeOptions`.

    Parameters
    ----------
    trainee : VaeTrainee
    source : Crops
    held_out : (B, 3, H, W) in [-1, 1]
    options : VaeOptions
    """

    trainee: VaeTrainee
    source: Crops
    held_out: Tensor
    options: VaeOptions

    def crops(self, step: Step) -> Tensor:
        """Draw clean crops, some of them recoloured."""
        options = self.options
        x = _crops(self.source, step.rng, options.batch, options.crop, RECOLOURED)
        return x.to(step.device)

    def loss(self, network: nn.Module, crops: Tensor, step: Step) -> Tensor:
        """Return the error of what is decoded, and the critic's."""
        x, options = crops, self.options
        cells = options.crop // FACTOR
        shape = (options.batch, options.channels, cells, cells)
        noise = torch.randn(shape, generator=step.noise).to(x)
        # A critic learns images of one size; and a latent that stays as it is gains nothing.
        may_shrink = options.adversarial == 0 and not options.decoder_only
        shrink = 2 if may_shrink and step.further(2).random() < SHRUNK else 1
        made: Pass = network(x, noise, shrink).float()
        wanted = F.avg_pool2d(x, shrink) if shrink > 1 else x
        loss = reconstruction_loss(made.y, wanted, made.mean, made.log_variance)
        if made.verdict is not None:
            loss = loss + adversarial_loss(made.y, made.verdict, loss, options.adversarial)
        return loss

    def figures(self, network: nn.Module) -> Figures:
        """Return how near and how sharp reconstructions are; show eight above the originals."""
        x = self.held_out.to(device_of(network))
        y = torch.cat([network(part, part.new_zeros(()))[0].clamp(-1, 1) for part in x.split(8)])
        values = {"psnr": psnr(y, x), "laplacian_ratio": laplacian_ratio(y, x)}
        return Figures(values, [y[:8], x[:8]])


def lesson(options: VaeOptions) -> VaeLesson:
    """Return the lesson of an autoencoder."""
    arch, crop, init = options.arch, options.crop, options.init
    if arch not in VAE_ARCHS:
        raise SettingError(f"No autoencoder is called {arch!r}. There are {', '.join(VAE_ARCHS)}.")
    if crop % FACTOR:
        raise SettingError(f"--crop is {crop}, but must be a multiple of {FACTOR}, from 32 on.")
    if options.decoder_only and init is None:
        raise SettingError("A decoder alone is trained on an encoder that is there: add --init.")
    tiles = open_sources(options)
    gauge = _crops(tiles.main, held_out_rng(2), 16, crop)
    held_out = _crops(tiles.held_out, held_out_rng(), 32, crop)
    kept = vae_facts(_first(init)).scaling if options.decoder_only and init is not None else None
    critic = options.adversarial > 0
    trainee = VaeTrainee(arch, options.channels, gauge, options.decoder_only, critic, kept)
    return VaeLesson(trainee, tiles.mixed, held_out, options)


def _first(init: str | Path) -> Path:
    """Return the folder of the first weights."""
    return vae_folder(init) if is_hub_name(init) else Path(init)


def reconstruction_loss(y: Tensor, x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the loss of a reconstruction, a scalar.

    Parameters
    ----------
    y, x : (B, 3, H, W) in [-1, 1]
        Reconstruction and original.
    mean, log_variance : (B, C, h, w)
        Of the latent's posterior.
    """
    loss = F.l1_loss(y, x)
    fine = y - x
    for _ in range(2):
        across, down = fine.diff(dim=-1), fine.diff(dim=-2)
        loss = loss + DETAIL_WEIGHT / 2 * (across.abs().mean() + down.abs().mean())
        fine = F.avg_pool2d(fine, 2)
    colour = F.avg_pool2d(y - x, HUE_PX)
    loss = loss + HUE_WEIGHT * (colour - colour.mean(1, keepdim=True)).square().mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    return loss + KL_WEIGHT * divergence


def _crops(
    source: Crops, rng: np.random.Generator, count: int, size: int, recoloured: float = 0.0
) -> Tensor:
    images = np.stack([source.crop(rng, size) for _ in range(count)])
    pixels = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / 255
    for crop in pixels:
        if rng.random() < recoloured:
            region = random_mask((size, size), rng, area=float(rng.uniform(0.02, 0.4)))
            # Densities scaled channel by channel: any hue, and white stays white.
            gains = rng.uniform(0.3, 1.7, (3, 1)).astype(np.float32)
            crop[:, region] = np.maximum(crop[:, region], 1 / 255) ** gains
    return torch.from_numpy(pixels * 2 - 1)
