"""Models: weights and what they were made for, bundled, in a folder, or from the hub.

A model is a folder with `config.json` and `model.safetensors` (or several shards
`model-00001-of-0000N.safetensors`), as `histomend train` writes it and `huggingface_hub`
downloads it. A latent model also has the folder `vae`, an autoencoder in diffusers' format; a
model of RSCD has the folder `calibrator`, of the same kind as its own. `load_model` loads any.
"""

from histomend.models.any_model import load_model
from histomend.models.calibrator import (
    Calibrator,
    CalibratorConfig,
    calibrator_folder,
    fit_to_calibrator,
    load_calibrator,
    save_calibrator,
)
from histomend.models.config import ModelConfig, read_config
from histomend.models.loading import Model, load_denoiser, save_model
from histomend.models.names import WEIGHTS, bundled, locate
from histomend.models.vae import VaeFacts, fit_to_vae, load_vae, vae_facts
from histomend.models.weights import fill, load_weights, shards, weights_sha256

__all__ = [
    "WEIGHTS",
    "Calibrator",
    "CalibratorConfig",
    "Model",
    "ModelConfig",
    "VaeFacts",
    "bundled",
    "calibrator_folder",
    "fill",
    "fit_to_calibrator",
    "fit_to_vae",
    "load_calibrator",
    "load_denoiser",
    "load_model",
    "load_vae",
    "load_weights",
    "locate",
    "read_config",
    "save_calibrator",
    "save_model",
    "shards",
    "vae_facts",
    "weights_sha256",
]
