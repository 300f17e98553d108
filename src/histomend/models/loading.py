"""Models by name or folder: found, checked, loaded, saved."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.space import LatentSpace, PixelSpace, Space
from histomend.errors import (
    ModelMismatchError,
    ModelNotFoundError,
    UnsafeWeightsError,
)
from histomend.models.calibrator import (
    CALIBRATOR,
    Calibrator,
    check_calibrator,
    copy_calibrator,
    load_calibrator,
)
from histomend.models.config import CONFIG, ModelConfig, method_told, read_config, write_config
from histomend.models.vae import VAE, check_vae, copy_vae, load_vae
from histomend.models.weights import check_weights, fill, load_weights, save_shards

UPSCALER_METHOD = "histo-diffusion"
WEIGHTS = Path(__file__).parents[1] / "weights"


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


def bundled() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(p.parent.name for p in WEIGHTS.glob(f"*/{CONFIG}"))


def locate(name_or_folder: str | Path) -> Path:
    """Return the folder of a bundled model or of the user's own.

    Raises
    ------
    ModelNotFoundError
        If it is neither.
    UnsafeWeightsError
        If a pickle (.pt, .pth, .ckpt, .bin) is named.
    """
    own = Path(name_or_folder)
    if own.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"}:
        raise UnsafeWeightsError(
            f"{own} is a pickle, which can run any code when it is opened. Histomend opens "
            "safetensors only. Convert it with safetensors.torch.save_file and name the folder."
        )
    if (WEIGHTS / str(name_or_folder) / CONFIG).is_file():
        return WEIGHTS / str(name_or_folder)
    if (own / CONFIG).is_file():
        return own
    if own.is_dir():
        raise ModelNotFoundError(
            f"The folder {own} holds no {CONFIG}, so it is not a model. Name the folder that "
            "`histomend train` wrote (RUN/model), or one downloaded from the hub."
        )
    raise ModelNotFoundError(
        f"No model is called {name_or_folder!r}: there is no such folder, and the bundled models "
        f"are {', '.join(bundled()) or 'none'}. Name one of them, or a folder, with --model."
    )


def is_upscaler(folder: Path) -> bool:
    """Return whether a model's folder is an upscaler (`histomend.models.upscaler`)."""
    return method_told(folder) == UPSCALER_METHOD


def load_model(name_or_folder: str | Path, device: str = "auto") -> Model:
    """Load a model for inference.

    Parameters
    ----------
    name_or_folder : str or Path
        A bundled name (`bundled()`) or a folder of safetensors and config.
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
            f"{name_or_folder} is an upscaler, whose networks work together only: histomend "
            "upscale --model, or histomend.upscale(model=...)."
        )
    config = read_config(folder)
    check_weights(folder, config.sha256, "The model")
    # Before any tensor is read: an autoencoder that does not fit makes the rest useless.
    vae_place = folder / VAE
    if config.latent_channels:
        check_vae(config, vae_place)
    if config.calibrator_sha256:
        check_calibrator(config, folder / CALIBRATOR)
    network = config.network()
    tensors = load_weights(folder)
    fill(network, tensors, str(folder))
    network.eval().requires_grad_(False).to(where)
    denoiser = Denoiser(network, config.noise_schedule(), config.prediction)
    space: Space = PixelSpace()
    if config.latent_channels:
        space = LatentSpace(load_vae(vae_place, where))
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
    half : bool
        Store the network in fp16; what lies beside it is copied as it is.
    shard_bytes : int, optional
        Largest size of one file; a single tensor is never split.

    Raises
    ------
    ModelMismatchError, WeightsError
        If the autoencoder or the calibrator is not the one in the config, or is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if config.latent_channels:
        source = folder / VAE if vae is None else vae
        check_vae(config, source)
        copy_vae(source, folder / VAE)
    if config.calibrator_sha256:
        source = folder / CALIBRATOR if calibrator is None else calibrator
        check_calibrator(config, source)
        copy_calibrator(source, folder / CALIBRATOR)
    sha256 = save_shards(folder, network_state, half=half, shard_bytes=shard_bytes)
    config = replace(config, sha256=sha256)
    write_config(folder, config)
    return config
