"""Denoisers with what belongs to them: checked, loaded, saved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.space import LatentSpace, PixelSpace, Space
from histomend.errors import ModelMismatchError
from histomend.models.calibrator import (
    CALIBRATOR,
    CALIBRATOR_PART,
    Calibrator,
    check_calibrator,
    load_calibrator,
)
from histomend.models.config import DENOISER, ModelConfig
from histomend.models.names import locate
from histomend.models.part import told_in
from histomend.models.vae import VAE, check_vae, copy_vae, load_vae

UPSCALER_METHOD = "histo-diffusion"


@dataclass(frozen=True)
class Model:
    """A loaded model.

    Parameters
    ----------
    name : str
        As the user gave it.
    config : ModelConfig
    denoiser : Denoiser
        The network in evaluation mode on its device, wrapped.
    device : torch.device
    space : Space
        Where diffusion happens: the pixels, or the latent of the model's autoencoder.
    calibrator : Calibrator, optional
        Tells at which t an image is, for a denoiser that has one beside it.
    """

    name: str
    config: ModelConfig
    denoiser: Denoiser
    device: torch.device
    space: Space = field(default_factory=PixelSpace)
    calibrator: Calibrator | None = None

    def record(self) -> dict[str, Any]:
        """Return what the ledger says of the model."""
        kept = ["method", "arch", "prediction", "schedule", "steps", "mpp", "sha256", "card"]
        if self.config.latent_channels:
            kept += ["latent_channels", "factor", "vae_sha256"]
        if self.config.calibrator_sha256:
            kept += ["highest_t", "calibrator_sha256"]
        return {"name": self.name, **{key: getattr(self.config, key) for key in kept}}


def is_upscaler(folder: Path) -> bool:
    """Return whether a model's folder is an upscaler (`histomend.models.upscaler`)."""
    return told_in(folder).get("method") == UPSCALER_METHOD


def load_denoiser(name_or_folder: str | Path, device: str = "auto") -> Model:
    """Load a denoiser for inference, with the autoencoder or calibrator that belongs to it.

    Parameters
    ----------
    name_or_folder : str or Path
        See `locate`.
    device : "auto", "cpu", "cuda", "cuda:1", "mps"

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        If the hash is not the config's, or tensors are missing or of another shape.
    ModelMismatchError
        If the autoencoder in the folder is not the one that the denoiser was trained with, or
        the calibrator does not fit it; or if it is an upscaler.
    DeviceError
        If the device is not there.
    """
    where = torch_device(device)
    folder = locate(name_or_folder)
    if is_upscaler(folder):
        raise ModelMismatchError(
            f"{name_or_folder} is an upscaler, and a denoiser is needed here. Use it with "
            "histomend upscale --model, or histomend.upscale(model=...)."
        )
    config = DENOISER.read(folder)
    # Before any tensor is read: an autoencoder that does not fit makes the rest useless.
    if config.latent_channels:
        check_vae(config, folder / VAE)
    if config.calibrator_sha256:
        check_calibrator(config, folder / CALIBRATOR)
    _, network = DENOISER.load(folder, where)
    denoiser = Denoiser(network, config.noise_schedule(), config.prediction)
    space: Space = PixelSpace()
    if config.latent_channels:
        space = LatentSpace(load_vae(folder / VAE, where))
    calibrator = None
    if config.calibrator_sha256:
        calibrator = load_calibrator(folder / CALIBRATOR, where)
    return Model(str(name_or_folder), config, denoiser, where, space, calibrator)


def save_model(
    folder: Path,
    network_state: dict[str, Tensor],
    config: ModelConfig,
    *,
    vae: Path | None = None,
    calibrator: Path | None = None,
    half: bool = False,
    shard_bytes: int | None = None,
) -> ModelConfig:
    """Write weights and config to `folder`, and return the config with its hash.

    Parameters
    ----------
    vae : Path, optional
        Folder of the autoencoder of a latent model, in diffusers' format; copied to FOLDER/vae.
        The config must have come from `fit_to_vae`.
    calibrator : Path, optional
        Folder of the calibrator; copied to FOLDER/calibrator. The config must have come from
        `fit_to_calibrator`.
    half, shard_bytes
        Of the network, see `Part.save`; what lies beside it is copied as it is.

    Raises
    ------
    ModelMismatchError, WeightsError
        If the autoencoder or the calibrator is not the one in the config, or is missing.
    """
    if config.latent_channels:
        source = folder / VAE if vae is None else vae
        check_vae(config, source)
        copy_vae(source, folder / VAE)
    if config.calibrator_sha256:
        source = folder / CALIBRATOR if calibrator is None else calibrator
        check_calibrator(config, source)
        CALIBRATOR_PART.copy(source, folder / CALIBRATOR)
    return DENOISER.save(folder, network_state, config, half=half, shard_bytes=shard_bytes)
