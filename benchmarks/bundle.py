"""Make a trained model one that ships with the package: weights in fp16, settings, and its card.

    python benchmarks/bundle.py RUN/model src/histomend/weights/NAME --card card.json \
        [--fast-steps N] [--sampler S] [--extra-noise X] [--gain X] [--vae RUN/model]
        [--calibration calibration.json]

The card is a JSON object (data, licence, command, time, figures, limits); it goes into the
model's config, so that `histomend models NAME` and every ledger show it. A latent model takes
along its autoencoder, or with --vae the same encoder with a decoder that was trained further, a
model of RSCD its calibrator, and an upscaler its first stage. An upscaler's prior must be bundled
already, and is named. A detector takes its temperature and thresholds from what
`benchmarks/detection_table.py --calibrate` writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from histomend.models import fit_to_vae, load_weights, read_config, save_model
from histomend.models.calibrator import CALIBRATOR
from histomend.models.config import ModelConfig
from histomend.models.detector import (
    DetectorConfig,
    is_detector,
    read_detector_config,
    save_detector,
)
from histomend.models.loading import is_upscaler
from histomend.models.priors import load_prior
from histomend.models.upscaler import (
    CONTROL,
    RESTORATION,
    UpscalerConfig,
    read_upscaler_config,
    save_upscaler,
)
from histomend.models.vae import VAE, WEIGHT_FILE


def check_encoder(before: Path, after: Path) -> None:
    """End the program if the encoders differ: the denoiser knows the latents of the first alone."""
    one, other = (load_file(folder / WEIGHT_FILE) for folder in (before, after))
    for name, tensor in one.items():
        if name.startswith(("encoder.", "quant_conv.")) and not torch.equal(tensor, other[name]):
            raise SystemExit(f"{after} has another encoder than {before}: {name} differs.")


def write_upscaler(options: argparse.Namespace, settings: dict[str, Any]) -> UpscalerConfig:
    """Write an upscaler: its first stage and its branch."""
    config = replace(read_upscaler_config(options.model), **settings)
    if not config.prior:
        raise SystemExit(f"The prior of {options.model} is no bundled one. Bundle that first.")
    prior = load_prior(config.prior)
    branch = prior.load_branch(options.model / CONTROL)
    restoration = options.model / RESTORATION
    return save_upscaler(options.out, branch, prior, config.prior, restoration, config)


def write_model(options: argparse.Namespace, settings: dict[str, Any]) -> ModelConfig:
    """Write a denoiser."""
    config = read_config(options.model)
    vae = None
    if config.latent_channels:
        vae = options.vae or options.model / VAE
        check_encoder(options.model / VAE, vae)
        config = fit_to_vae(config, vae)
    config = replace(config, **settings)
    calibrator = options.model / CALIBRATOR if config.calibrator_sha256 else None
    weights = load_weights(options.model)
    return save_model(options.out, weights, config, half=True, vae=vae, calibrator=calibrator)


def write_detector(options: argparse.Namespace, settings: dict[str, Any]) -> DetectorConfig:
    """Write a detector, with the temperature and the thresholds of its calibration."""
    config = replace(read_detector_config(options.model), **settings)
    return save_detector(options.out, load_weights(options.model), config)


def main() -> None:
    """Write the bundled model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("--fast-steps", type=int)
    parser.add_argument("--sampler")
    parser.add_argument("--extra-noise", type=float)
    parser.add_argument("--gain", type=float)
    parser.add_argument("--vae", type=Path)
    parser.add_argument("--calibration", type=Path)
    options = parser.parse_args()
    told = {
        "fast_steps": options.fast_steps,
        "sampler": options.sampler,
        "extra_noise": options.extra_noise,
        "gain": options.gain,
    }
    settings = {key: value for key, value in told.items() if value is not None}
    settings["card"] = json.loads(options.card.read_text(encoding="utf-8"))
    if options.calibration is not None:
        settings |= json.loads(options.calibration.read_text(encoding="utf-8"))
    if is_detector(options.model):
        write: Callable[..., Any] = write_detector
    else:
        write = write_upscaler if is_upscaler(options.model) else write_model
    saved = write(options, settings)
    for file in options.out.rglob("*.*"):
        file.chmod(0o644)
    print(f"{options.out}: {saved.arch}, sha256 {saved.sha256}")


if __name__ == "__main__":
    main()
