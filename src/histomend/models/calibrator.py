"""Calibrators that lie beside a denoiser, checked before they are used."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histomend.diffusion.schedule import SCHEDULES, cosine, named, same_noise
from histomend.errors import ModelMismatchError, ModelNotFoundError
from histomend.models.config import ModelConfig
from histomend.models.names import locate
from histomend.models.part import CONFIG, Part
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

    def wrong(self) -> list[str]:
        """Return the fields whose values no calibrator can have."""
        possible = {"arch": self.arch in CALIBRATOR_ARCHS, "schedule": self.schedule in SCHEDULES}
        possible |= {key: getattr(self, key) > 0 for key in ("channels", "steps", "highest_t")}
        return [key for key, fine in possible.items() if not fine]


CALIBRATOR_PART = Part(CalibratorConfig, "a calibrator", "`histomend train calibrator`")


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


def calibrator_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a calibrator: itself, or the one in a model's folder.

    Parameters
    ----------
    name_or_folder : str or Path
        See `locate`.

    Raises
    ------
    ModelNotFoundError
        If it is neither.
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = locate(name_or_folder)
    for place in (folder / CALIBRATOR, folder):
        if (place / CONFIG).is_file():
            return place
    raise ModelNotFoundError(
        f"{folder} holds no calibrator: there is no {CONFIG} in it or in its folder {CALIBRATOR}. "
        "Name the folder that `histomend train calibrator` wrote (RUN/model)."
    )


def read_calibrator_config(folder: Path) -> CalibratorConfig:
    """Return the config of the calibrator in `folder`; see `Part.read`."""
    return CALIBRATOR_PART.read(folder)


def save_calibrator(
    folder: Path, state: dict[str, Tensor], config: CalibratorConfig, *, half: bool = False
) -> CalibratorConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    return CALIBRATOR_PART.save(folder, state, config, half=half)


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
    return Calibrator(*CALIBRATOR_PART.load(calibrator_folder(folder), device))


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
    CALIBRATOR_PART.check(folder, config.calibrator_sha256, who="the denoiser's config says")
