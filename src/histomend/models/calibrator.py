"""Calibrators that lie beside a denoiser, checked before they are used."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histomend.diffusion.schedule import SCHEDULES, cosine, named, same_noise
from histomend.errors import ModelMismatchError, ModelNotFoundError, WeightsError
from histomend.models.config import CONFIG, ModelConfig, config_from, write_config
from histomend.models.weights import check_weights, fill, load_weights, save_shards, shards
from histomend.networks.calibrator import CALIBRATOR_ARCHS, build_calibrator

CALIBRATOR = "calibrator"
# The authors' code keeps each beta of the cosine schedule between these.
AUTHORS_BETAS = (1e-4, 0.9999)


@dataclass(frozen=True)
class CalibratorConfig:
    """What a calibrator was trained for.

    Parameters
    ----------
    arch : str
    channels : int
        Of the image.
    schedule, steps : name and length of the noise schedule whose t it tells
    highest_t : int
        Largest t that it was trained on.
    augmented : bool
        Whether it was trained on images with two noise levels, of which it tells the larger.
    author_code : bool
        Whether its network was trained with the authors' code, and so tells an index, one below
        the time, of their clipped schedule (`house_time`).
    stabilised : bool
        Whether it was trained on stabilised values (`ModelConfig.stabilised`).
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command, time and figures.
    """

    arch: str
    channels: int = 3
    schedule: str = "cosine"
    steps: int = 1000
    highest_t: int = 300
    augmented: bool = True
    author_code: bool = False
    stabilised: bool = False
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return build_calibrator(self.arch, self.channels)


@dataclass(frozen=True)
class Calibrator:
    """A loaded calibrator: called with x (B, C, H, W), it tells t (B,), any real number."""

    config: CalibratorConfig
    network: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """Return the predicted t (B,) of each sample."""
        told = self.network(x).float()
        return house_time(told, self.config) if self.config.author_code else told


def house_time(index: Tensor, config: CalibratorConfig) -> Tensor:
    """Return at which t of our schedule an image is as noisy as at `index` of the authors' code.

    Their index 0 is the first step, our t = 1. Their betas are never below 1e-4, which the first
    dozen of the schedule are: small t mean more noise there than here, by up to four steps.

    Parameters
    ----------
    index : (B,) float
        At -1 and below the image is clean.
    """
    theirs = cosine(config.steps, least=AUTHORS_BETAS[0], most=AUTHORS_BETAS[1])
    return same_noise(index + 1, theirs, named(config.schedule, config.steps))


def calibrator_folder(folder: Path) -> Path:
    """Return the folder of a calibrator: itself, or the one in a model's folder.

    Raises
    ------
    ModelNotFoundError
        If it is neither.
    """
    for place in (folder / CALIBRATOR, folder):
        if (place / CONFIG).is_file():
            return place
    raise ModelNotFoundError(
        f"{folder} holds no calibrator: there is no {CONFIG} in it or in its folder {CALIBRATOR}. "
        "Name the folder that `histomend train calibrator` wrote (RUN/model)."
    )


def read_calibrator_config(folder: Path) -> CalibratorConfig:
    """Return the config of the calibrator in `folder`.

    Raises
    ------
    WeightsError
        If it is damaged, of another schema, or has a value that no calibrator can have.
    """
    config = config_from(folder / CONFIG, CalibratorConfig, "the config of a calibrator")
    sizes = (config.channels, config.steps, config.highest_t)
    possible = {
        "arch": config.arch in CALIBRATOR_ARCHS,
        "schedule": config.schedule in SCHEDULES,
        "channels, steps or highest_t": all(type(n) is int and n > 0 for n in sizes),
        "author_code": type(config.author_code) is bool,
    }
    for what, fine in possible.items():
        if not fine:
            raise WeightsError(
                f"{folder / CONFIG} has a value of {what} that this Histomend cannot use. The "
                "file is damaged or from a newer version: copy it again, or update."
            )
    return config


def save_calibrator(
    folder: Path, state: dict[str, Tensor], config: CalibratorConfig, *, half: bool = False
) -> CalibratorConfig:
    """Write weights and config to `folder`, and return the config with its hash.

    Parameters
    ----------
    half : bool
        Store in fp16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, sha256=save_shards(folder, state, half=half))
    write_config(folder, config)
    return config


def load_calibrator(folder: Path, device: str | torch.device = "cpu") -> Calibrator:
    """Load a calibrator for inference.

    Parameters
    ----------
    folder : Path
        See `calibrator_folder`.

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        If it is damaged or incomplete.
    """
    place = calibrator_folder(folder)
    config = read_calibrator_config(place)
    check_weights(place, config.sha256, "The calibrator")
    network = config.network()
    fill(network, load_weights(place), str(place))
    return Calibrator(config, network.eval().requires_grad_(False).to(device))


def fit_to_calibrator(config: ModelConfig, folder: Path) -> ModelConfig:
    """Return the config of a denoiser that has the calibrator in `folder` beside it.

    Raises
    ------
    ModelMismatchError
        If the calibrator does not fit the denoiser.
    WeightsError, UnsafeWeightsError
        If it is damaged.
    """
    fitted = replace(config, calibrator_sha256=read_calibrator_config(folder).sha256)
    check_calibrator(fitted, folder)
    return fitted


def check_calibrator(config: ModelConfig, folder: Path) -> None:
    """Check that the calibrator in `folder` fits the denoiser, and is the one in its config.

    Raises
    ------
    ModelMismatchError
        If it is for other channels, or its t mean other levels of noise.
    WeightsError
        If its weights are others than the denoiser's config says, or damaged.
    """
    theirs = read_calibrator_config(folder)
    if theirs.channels != config.channels:
        raise ModelMismatchError(
            f"The calibrator in {folder} is for images of {theirs.channels} channels, but the "
            f"denoiser is for {config.channels}. Name a calibrator that was trained with "
            f"--channels {config.channels}."
        )
    levels = (theirs.schedule, theirs.steps)
    if levels != (config.schedule, config.steps):
        raise ModelMismatchError(
            f"The calibrator in {folder} tells t of the schedule {levels[0]} with {levels[1]} "
            f"steps, but the denoiser's is {config.schedule} with {config.steps}. Train one of "
            "them with the other's --schedule."
        )
    expected = config.calibrator_sha256
    check_weights(folder, expected, "The calibrator", who="the denoiser's config says")


def copy_calibrator(source: Path, target: Path) -> None:
    """Copy a calibrator, config and weights, unless it is there already."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (source / CONFIG, *shards(source)):
        copy = target / path.name
        if not copy.exists() or not copy.samefile(path):
            shutil.copyfile(path, copy)
