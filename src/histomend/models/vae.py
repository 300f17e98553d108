"""Autoencoders of latent models: any of diffusers' `AutoencoderKL`, checked before it is used."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from histomend.errors import (
    ModelMismatchError,
    ModelNotFoundError,
    WeightsError,
)
from histomend.image.regular_files import MOST_SETTINGS, read_text
from histomend.models.config import ModelConfig
from histomend.models.hub import download, is_hub_name
from histomend.models.part import CONFIG, copy_files, told_in
from histomend.models.weights import no_pickle, weights_sha256

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

VAE = "vae"
WEIGHT_FILE = "diffusion_pytorch_model.safetensors"


@dataclass(frozen=True)
class VaeFacts:
    """What a denoiser must know of an autoencoder.

    Parameters
    ----------
    channels : int
        Of the latent.
    factor : int
        Pixels per latent cell along a side.
    scaling, shift : float
        x = (latent - shift) * scaling has about the spread that diffusion expects.
    sha256 : str
        Of the weight file.
    """

    channels: int
    factor: int
    scaling: float
    shift: float
    sha256: str


def vae_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of an autoencoder in diffusers' format.

    Parameters
    ----------
    name_or_folder : str or Path
        The folder itself, one with the autoencoder in its folder `vae` (a Stable Diffusion
        pipeline, one of our latent models), or the name of such a one on the Hugging Face hub,
        which is downloaded unless it is in the local cache.

    Raises
    ------
    ModelNotFoundError
        If it is none of these.
    """
    name = str(name_or_folder)
    place = Path(name_or_folder)
    if is_hub_name(name):
        files = [CONFIG, WEIGHT_FILE]
        place = download(name, "autoencoder", [*files, *(f"{VAE}/{file}" for file in files)])
    for folder in (place, place / VAE):
        if told_in(folder).get("_class_name") == "AutoencoderKL":
            return folder
    raise ModelNotFoundError(
        f"{name} holds no autoencoder: there is no {CONFIG} of diffusers' AutoencoderKL in it or "
        "in its folder vae. Name the folder that `histomend train vae` wrote (RUN/model), one in "
        "diffusers' format, or a name on the Hugging Face hub (OWNER/NAME)."
    )


def vae_facts(folder: Path) -> VaeFacts:
    """Return what a denoiser must know of the autoencoder in `folder`.

    Raises
    ------
    WeightsError
        If its config is damaged, its weights are missing, or it has no usable scaling factor.
    UnsafeWeightsError
        If its weights are a pickle.
    """
    path = folder / CONFIG
    try:
        fields: dict[str, Any] = json.loads(
            read_text(path, MOST_SETTINGS, WeightsError, "a config")
        )
        channels = int(fields["latent_channels"])
        levels = len(fields["block_out_channels"])
        scaling: Any = fields.get("scaling_factor")
        shift: Any = fields.get("shift_factor") or 0.0
    except (
        ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError,
        WeightsError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{path} is not the config of an autoencoder ({error!r}). Copy or download it again."
        ) from error
    numbers = all(type(value) in (int, float) for value in (scaling, shift))
    if not numbers or not 0 < scaling < float("inf"):
        raise WeightsError(
            f"{path} says scaling_factor={scaling!r}, shift_factor={shift!r}. A latent denoiser "
            "needs a positive scaling factor: 1 / the standard deviation of the latents. Copy "
            "the file again, or write the factor that the autoencoder was published with."
        )
    return VaeFacts(
        channels,
        2 ** (levels - 1),
        float(scaling),
        float(shift),
        weights_sha256([_weights(folder)]),
    )


def _weights(folder: Path) -> Path:
    path = folder / WEIGHT_FILE
    return no_pickle([path] if path.is_file() else [], folder, WEIGHT_FILE)[0]


def fit_to_vae(config: ModelConfig, folder: Path) -> ModelConfig:
    """Return the config of a denoiser for the latents of the autoencoder in `folder`."""
    facts = vae_facts(folder)
    return replace(
        config,
        latent_channels=facts.channels,
        factor=facts.factor,
        vae_sha256=facts.sha256,
        vae_scaling=facts.scaling,
        vae_shift=facts.shift,
    )


def check_vae(config: ModelConfig, folder: Path) -> None:
    """Check that the autoencoder in `folder` is the one that the denoiser was trained with.

    Raises
    ------
    ModelMismatchError
        If its channels, factor, scaling or shift are others.
    WeightsError
        If its weights are, or see `vae_facts`.
    """
    facts = vae_facts(folder)
    pairs = {
        "latent channels": (facts.channels, config.latent_channels),
        "pixels per latent cell": (facts.factor, config.factor),
        "as scaling factor": (facts.scaling, config.vae_scaling),
        "as shift factor": (facts.shift, config.vae_shift),
    }
    for what, (theirs, ours) in pairs.items():
        if theirs != ours:
            raise ModelMismatchError(
                f"The autoencoder in {folder} has {theirs} {what}, but the denoiser was trained "
                f"with {ours}. Copy the folder vae that belongs to the model."
            )
    if facts.sha256 != config.vae_sha256:
        raise WeightsError(
            f"The autoencoder in {folder} has sha256 {facts.sha256[:12]}…, but the denoiser was "
            f"trained with {config.vae_sha256[:12] or 'none'}…. It is damaged or was exchanged: "
            "copy or download the model again."
        )


def copy_vae(source: Path, target: Path) -> None:
    """Copy an autoencoder, config and weights, unless it is there already."""
    copy_files([source / CONFIG, source / WEIGHT_FILE], target)


def load_vae(name_or_folder: str | Path, device: str | torch.device = "cpu") -> AutoencoderKL:
    """Load an autoencoder for inference, in fp32.

    Parameters
    ----------
    name_or_folder : str or Path
        See `vae_folder`.
    device : "cpu", "cuda", ...

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        If it is damaged or incomplete.
    """
    folder = vae_folder(name_or_folder)
    vae_facts(folder)
    with warnings.catch_warnings():
        # Its dependencies warn of their own future while they are imported.
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL

        try:
            vae, told = AutoencoderKL.from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                torch_dtype=torch.float32,
                output_loading_info=True,
            )
        except Exception as error:  # Whatever the other package makes of a damaged file.
            raise WeightsError(
                f"The autoencoder in {folder} cannot be loaded ({error}). Copy or download it "
                "again."
            ) from error
    if told["missing_keys"]:
        raise WeightsError(
            f"The autoencoder in {folder} lacks the tensor {told['missing_keys'][0]}. Copy or "
            "download it again."
        )
    vae.eval().requires_grad_(False)
    return vae.to(device)
