"""What is written beside weights: what they were made for."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from torch import nn

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.samplers import SAMPLERS
from histomend.diffusion.schedule import SCHEDULES, Schedule, named
from histomend.errors import WeightsError
from histomend.networks.build import METHOD_ARCHS, arch_named

CONFIG = "config.json"
SCHEMA_VERSION = 1
T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """What the weights were made for.

    Parameters
    ----------
    method : str
        The system the model belongs to, for instance "artifusion".
    arch : str
        Name of the network's size.
    prediction : "epsilon", "x0" or "v"
        A network of "noise2noise" tells the noise, "epsilon", as it is in the image.
    schedule, steps : name and length of the noise schedule
        Of no use to "noise2noise" and "cyclegan", whose networks are called once.
    mpp : float
        Pixel size of the training images in um.
    channels : int
        Image channels, scaled to [-1, 1] from the file's whole range (`Intensity.for_dtype`).
    context : bool
        Whether the network also sees the visible pixels and the mask (4 more input channels).
        That of "conditional" always sees the degraded image instead (3 more), without a mask.
    learned_variance : bool
    window : int
        Side in px of the fields the model restores at once; larger ones are tiled.
    fast_steps : int
        Network calls of the preset `fast`, chosen by measurement.
    sampler : str
        Sampler of the preset `fast`.
    extra_noise : float
        How much stronger the preset `fast` makes the noise of `dpmpp_2m_sde`.
    latent_channels : int
        Channels of x where it is the latent of an autoencoder; 0 where x is the image itself.
    factor : int
        Pixels that one cell of x stands for along a side; 1 without autoencoder.
    highest_t : int
        Largest t that the denoiser was trained on; 0 where it was trained on all.
    stabilised : bool
        Whether it was trained on values whose noise has one strength (`CameraNoise`), and so
        images are brought into that form first.
    calibrator_sha256 : str
        Hash of the weights of the calibrator in the folder `calibrator`; empty without one.
    vae_sha256, vae_scaling, vae_shift
        Hash of the autoencoder's weights; x = (latent - shift) * scaling (`VaeFacts`).
    sha256 : str
        Of all weight shards in the order of their names; empty until saved.
    card : dict
        Data, licence, command, time and figures, as the model card states them.
    """

    method: str
    arch: str
    prediction: PredictionType = "x0"
    schedule: str = "cosine"
    steps: int = 1000
    mpp: float = 0.5
    channels: int = 3
    context: bool = True
    learned_variance: bool = False
    window: int = 256
    fast_steps: int = 12
    sampler: str = "ddim"
    extra_noise: float = 0.0
    latent_channels: int = 0
    factor: int = 1
    highest_t: int = 0
    stabilised: bool = False
    calibrator_sha256: str = ""
    vae_sha256: str = ""
    vae_scaling: float = 0.0
    vae_shift: float = 0.0
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def noise_schedule(self) -> Schedule:
        """Return the schedule the model was trained with."""
        return named(self.schedule, self.steps)

    @property
    def x_channels(self) -> int:
        """Channels of x, where diffusion happens: the latent's, or else the image's."""
        return self.latent_channels or self.channels

    @property
    def trained_t(self) -> int:
        """The largest t that the denoiser knows."""
        return self.highest_t or self.steps

    @property
    def in_channels(self) -> int:
        """Channels that the network sees: x, and what it is shown beside it."""
        if self.method == "conditional":
            return 2 * self.x_channels
        return self.x_channels + (self.x_channels + 1 if self.context else 0)

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return arch_named(self.arch, self.method).build(
            self.in_channels, self.x_channels * (2 if self.learned_variance else 1)
        )


def read_config(folder: Path) -> ModelConfig:
    """Return the config of the model in `folder`.

    Raises
    ------
    WeightsError
        If the file is damaged or of another schema.
    """
    config = config_from(folder / CONFIG, ModelConfig, "a model config")
    _check_config(config, folder / CONFIG)
    return config


def method_told(folder: Path) -> str | None:
    """Return the method that the config in a folder names, if there is one that does."""
    try:
        told = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    method = told.get("method") if isinstance(told, dict) else None
    return method if isinstance(method, str) else None


def config_from(path: Path, make: Callable[..., T], what: str) -> T:
    """Return the settings in a JSON file.

    Parameters
    ----------
    make : dataclass of the settings
    what : str
        What the file should be, for the message.

    Raises
    ------
    WeightsError
        If the file is damaged or of another schema.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        version = fields.pop("schema_version")
        if version != SCHEMA_VERSION:
            raise WeightsError(
                f"{path} has schema_version {version}; this Histomend reads {SCHEMA_VERSION}. "
                "Update Histomend, or train the model again."
            )
        return make(**fields)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} is not {what} ({error}). Restore the file from where it came, or "
            "train the model again."
        ) from error


def write_config(folder: Path, config: Any) -> None:
    """Write the settings of a model, a dataclass that `config_from` reads, to `folder`."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **asdict(config)}, indent=2)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def _check_config(config: ModelConfig, path: Path) -> None:
    """Raise a WeightsError if a field has a value that no model can have."""
    positive = ("steps", "channels", "window", "fast_steps", "mpp")
    wrong = [
        key
        for key, default in asdict(ModelConfig("", "")).items()
        if type(getattr(config, key)) is not type(default)
        and not (key == "mpp" and type(config.mpp) is int)
    ]
    if not wrong:
        wrong = [key for key in positive if not 0 < getattr(config, key) < float("inf")]
    if not wrong:
        known: dict[str, Collection[str]] = {
            "method": METHOD_ARCHS,
            "arch": METHOD_ARCHS.get(config.method, {}),
            "prediction": get_args(PredictionType),
            "schedule": SCHEDULES,
            "sampler": SAMPLERS,
        }
        wrong = [key for key, choices in known.items() if getattr(config, key) not in choices]
    if not wrong:
        wrong = _wrong_for_method(config)
    if not wrong and not 0 <= config.highest_t <= config.steps:
        wrong = ["highest_t"]
    if wrong:
        raise WeightsError(
            f"{path} says {wrong[0]}={getattr(config, wrong[0])!r}, which this Histomend cannot "
            "use. The file is damaged or from a newer version: copy it again, or update."
        )


def _wrong_for_method(config: ModelConfig) -> list[str]:
    """Return the fields that do not go together with the method: its space, what it is shown."""
    if config.method == "latent-artifusion":
        possible = {
            "latent_channels": config.latent_channels > 0,
            "factor": config.factor > 1,
            "window": config.window % max(1, config.factor) == 0,
            "vae_scaling": 0 < config.vae_scaling < float("inf"),
        }
    else:
        possible = {"latent_channels": config.latent_channels == 0, "factor": config.factor == 1}
    if config.method in ("conditional", "noise2noise", "cyclegan"):
        possible |= {"context": not config.context, "highest_t": config.highest_t == 0}
    if config.method == "noise2noise":
        possible |= {
            "prediction": config.prediction == "epsilon",
            "learned_variance": not config.learned_variance,
        }
    return [key for key, fine in possible.items() if not fine]
