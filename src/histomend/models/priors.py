"""What steers an upscaler's diffusion stays frozen: the prior, of our own or Stable Diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.space import LatentSpace
from histomend.errors import ModelMismatchError
from histomend.models.loading import load_denoiser
from histomend.models.stable_diffusion import StableDiffusion, is_pipeline, load_pipeline
from histomend.models.weights import fill, load_weights, save_shards, shards, weights_sha256
from histomend.networks.control import ControlBranch, ControlledUNet


@dataclass(frozen=True)
class LatentPrior:
    """A denoiser of LatentArtiFusion, told that everything is masked.

    Parameters
    ----------
    network : module that `latent_unet` made, frozen
    space : LatentSpace
    schedule : Schedule
    prediction : "epsilon", "x0" or "v"
    channels : int
        Of the latent.
    context : bool
        Whether the network has channels for what is visible.
    arch : str
    window : int
        Side in px of the fields that it sees at once.
    sha256, vae_sha256 : str
    """

    network: Any
    space: LatentSpace
    schedule: Schedule
    prediction: PredictionType
    channels: int
    context: bool
    arch: str
    window: int
    sha256: str
    vae_sha256: str

    def branch(self) -> nn.Module:
        """Return the branch with which a training starts."""
        return ControlBranch(self.network, self.channels)

    def controlled(self, branch: nn.Module) -> nn.Module:
        """Return prior and branch as one network, called as network(cat(z_t, control), t)."""
        return ControlledUNet(self.network, branch, self.channels, context=self.context)

    def save_branch(self, folder: Path, branch: nn.Module) -> None:
        """Write a branch, in fp16."""
        folder.mkdir(parents=True, exist_ok=True)
        save_shards(folder, branch.state_dict(), half=True, shard_bytes=None)

    def load_branch(self, folder: Path) -> nn.Module:
        """Return the branch in a folder.

        Raises
        ------
        WeightsError
            If it is damaged, or does not fit this prior.
        """
        branch = self.branch()
        fill(branch, load_weights(folder), str(folder))
        return branch

    def branch_sha256(self, folder: Path) -> str:
        """Return the hash of the branch in a folder."""
        return weights_sha256(shards(folder))


Prior = LatentPrior | StableDiffusion


def load_prior(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Prior:
    """Load a prior, frozen.

    Parameters
    ----------
    name_or_folder : str or Path
        A model of LatentArtiFusion, bundled or in a folder; or Stable Diffusion in diffusers'
        format, in a folder or on the Hugging Face hub.

    Raises
    ------
    ModelNotFoundError, WeightsError, UnsafeWeightsError
    ModelMismatchError
        If it is a model of another method, or of an arch that no branch can be made for.
    """
    if is_pipeline(name_or_folder):
        return load_pipeline(name_or_folder, device)
    model = load_denoiser(name_or_folder, str(device))
    config = model.config
    if config.method != "latent-artifusion" or not isinstance(model.space, LatentSpace):
        raise ModelMismatchError(
            f"The model {model.name} is for {config.method}, but the prior of an upscaler must be "
            "one for latent-artifusion, or Stable Diffusion in diffusers' format."
        )
    network: Any = model.denoiser.network
    if not hasattr(network, "down_blocks") or config.learned_variance:
        raise ModelMismatchError(
            f"The prior {model.name} has the arch {config.arch}, and a control branch is made for "
            "diffusers' U-Nets without a learned variance only: small and paper. Train another "
            "one: histomend train latent-artifusion --arch small."
        )
    return LatentPrior(
        network=network,
        space=model.space,
        schedule=config.noise_schedule(),
        prediction=config.prediction,
        channels=config.latent_channels,
        context=config.context,
        arch=config.arch,
        window=config.window,
        sha256=config.sha256,
        vae_sha256=config.vae_sha256,
    )
