"""What is written beside weights: what they were made for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from histomend.diffusion.denoiser import PredictionType
from histomend.diffusion.poses import POSED
from histomend.diffusion.samplers import SAMPLERS
from histomend.diffusion.schedule import SCHEDULES, Schedule, named
from histomend.models.part import CONFIG, Part, write_config
from histomend.networks.build import METHOD_ARCHS, arch_named

__all__ = ["CONFIG", "DENOISER", "ModelConfig", "read_config", "write_config"]


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
    poses : 1, 4 or 8
        Network calls for each prediction of the preset `fast`, of the image shifted, turned and
        mirrored (`PosedDenoiser`).
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
    poses: int = 1
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

    def wrong(self) -> list[str]:
        """Return the fields whose values no model can have."""
        # Far beyond any model, and far below what fills a memory.
        most = {"steps": 10**6, "channels": 1024, "window": 1 << 20, "fast_steps": 10**6}
        positive = (*most, "mpp")
        known: dict[str, Collection[Any]] = {
            "method": METHOD_ARCHS,
            "arch": METHOD_ARCHS.get(self.method, {}),
            "schedule": SCHEDULES,
            "sampler": SAMPLERS,
            "poses": POSED,
        }
        checks = [
            *((key, 0 < getattr(self, key) < float("inf")) for key in positive),
            *((key, getattr(self, key) <= largest) for key, largest in most.items()),
            ("latent_channels", self.latent_channels <= 4096),
            *((key, getattr(self, key) in choices) for key, choices in known.items()),
            *self._possible_with_method().items(),
            ("highest_t", 0 <= self.highest_t <= self.steps),
        ]
        return [key for key, fine in checks if not fine]

    def _possible_with_method(self) -> dict[str, bool]:
        """Return by field whether it goes with the method: its space, what it is shown."""
        if self.method == "latent-artifusion":
            possible = {
                "latent_channels": self.latent_channels > 0,
                "factor": self.factor > 1,
                "window": self.window % max(1, self.factor) == 0,
                "vae_scaling": 0 < self.vae_scaling < float("inf"),
            }
        else:
            possible = {"latent_channels": self.latent_channels == 0, "factor": self.factor == 1}
        if self.method in ("conditional", "noise2noise", "cyclegan"):
            possible |= {"context": not self.context, "highest_t": self.highest_t == 0}
        if self.method == "noise2noise":
            possible |= {
                "prediction": self.prediction == "epsilon",
                "learned_variance": not self.learned_variance,
            }
        return possible

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return arch_named(self.arch, self.method).build(
            self.in_channels, self.x_channels * (2 if self.learned_variance else 1)
        )


DENOISER = Part(ModelConfig, "a model", "`histomend train`")


def read_config(folder: Path) -> ModelConfig:
    """Return the config of the denoiser in `folder`.

    Raises
    ------
    ModelNotFoundError
    WeightsError
        If the file is damaged or of another schema.
    """
    return DENOISER.read(folder)
