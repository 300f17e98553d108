"""One way to load them all: whatever `histomend train` writes, by name."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from histomend.diffusion.device import torch_device
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.names import locate
from histomend.models.part import told_in

# By kind: the function that loads it, of a folder and a device. Modules are imported when used,
# as two kinds of judges are known on a higher floor only.
_LOADERS = {
    "denoiser": ("histomend.models.loading", "load_denoiser"),
    "upscaler": ("histomend.models.upscaler", "load_upscaler"),
    "restoration module": ("histomend.models.restoration", "load_restoration"),
    "calibrator": ("histomend.models.calibrator", "load_calibrator"),
    "detector": ("histomend.models.detector", "load_detector"),
    "autoencoder": ("histomend.models.vae", "load_vae"),
    "encoder": ("histomend.evaluate.encoder", "load_encoder"),
    "quality model": ("histomend.evaluate.iqa", "load_iqa"),
}
_READERS = {
    "denoiser": ("histomend.models.config", "DENOISER.read"),
    "upscaler": ("histomend.models.upscaler", "read_upscaler_config"),
    "restoration module": ("histomend.models.restoration", "RESTORATION.read"),
    "calibrator": ("histomend.models.calibrator", "CALIBRATOR_PART.read"),
    "detector": ("histomend.models.detector", "DETECTOR_PART.read"),
    "autoencoder": ("histomend.models.vae", "vae_facts"),
    "encoder": ("histomend.evaluate.encoder", "ENCODER.read"),
    "quality model": ("histomend.evaluate.iqa", "QUALITY.read"),
}
# What each of those kinds has in its config that no other kind has, where the method is not named.
_FIELDS = {
    "_class_name": "autoencoder",
    "augmented": "calibrator",
    "blur": "quality model",
    "classes": "detector",
    "degradation": "restoration module",
    "features": "encoder",
}


def kind_of(folder: Path) -> str:
    """Return which kind of model lies in a folder; "denoiser" where its config does not say."""
    told = told_in(folder)
    for field, kind in _FIELDS.items():
        if field in told:
            return kind
    return "upscaler" if told.get("method") == UPSCALER_METHOD else "denoiser"


def config_in(folder: Path) -> Any:
    """Return the checked config of a model of any kind, a dataclass.

    Raises
    ------
    ModelNotFoundError
    WeightsError
        The file is damaged or of another schema.
    """
    module, function = _READERS[kind_of(folder)]
    return attrgetter(function)(import_module(module))(folder)


def load_model(name_or_folder: str | Path, device: str = "auto") -> Any:
    """Load any model for inference.

    Parameters
    ----------
    name_or_folder : str or Path
        A bundled name (`histomend models` lists them); a folder that `histomend train` wrote; or
        OWNER/NAME on the Hugging Face hub, OWNER/NAME@REVISION for a branch, a tag or a commit.
    device : "auto", "cpu", "cuda", "cuda:1", "mps"

    Returns
    -------
    Model, Upscaler, RestorationModule, Calibrator, Detector, AutoencoderKL, Encoder or Iqa
        As it is: a denoiser for `restore` and `denoise`, an upscaler for `upscale`, ...

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    HubError
        If the hub cannot be reached, and the model is not in the local cache.
    WeightsError
        If the hash is not the config's, or tensors are missing or of another shape.
    ModelMismatchError
        If its parts do not belong together.
    DeviceError
        If the device is not there.
    """
    where = torch_device(device)
    folder = locate(name_or_folder)
    kind = kind_of(folder)
    module, function = _LOADERS[kind]
    load = getattr(import_module(module), function)
    # These keep the name that the user gave, for their records.
    if kind in ("denoiser", "detector", "upscaler"):
        return load(name_or_folder, device)
    return load(folder, device=where)
