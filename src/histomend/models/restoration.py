"""Restoration modules, which clean an image that was enlarged to its size.

SwinIR is the first stage of Histo-Diffusion; trained with a critic, SwinIR and RRDBNet are
methods of their own to compare it with.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from histomend.errors import ModelMismatchError, SettingError
from histomend.models.part import Part, told_in
from histomend.networks.rrdb import RRDB_ARCHS, RRDBNet
from histomend.networks.swinir import SWINIR_ARCHS, SwinIR

STAGE_1 = "swinir"
GANS = ("rrdb-gan", "swinir-gan")
# By method: the network, and its settings by arch.
NETWORKS: dict[str, tuple[type[RRDBNet | SwinIR], dict[str, dict[str, Any]]]] = {
    STAGE_1: (SwinIR, SWINIR_ARCHS),
    "swinir-gan": (SwinIR, SWINIR_ARCHS),
    "rrdb-gan": (RRDBNet, RRDB_ARCHS),
}
WRITERS = ", ".join(f"`histomend train {method}`" for method in NETWORKS)


@dataclass(frozen=True)
class RestorationConfig:
    """What a restoration module was trained for.

    Parameters
    ----------
    arch : str
        Of `SWINIR_ARCHS`, or of `RRDB_ARCHS` with the method "rrdb-gan".
    degradation : str
        What it was trained to clean, of `damage.degradations.PIPELINES`.
    mpp : float
        Pixel size of the clean images in um.
    method : "swinir", "rrdb-gan" or "swinir-gan"
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command, time and figures.
    """

    arch: str
    degradation: str = "mixed"
    mpp: float = 0.5
    method: str = STAGE_1
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def fast_steps(self) -> int:
        """Network calls that an image takes, as other models' configs name them."""
        return 1

    def network(self) -> RRDBNet | SwinIR:
        """Return the network with fresh weights.

        Raises
        ------
        SettingError
            The method has no such arch.
        """
        make, archs = NETWORKS[self.method]
        if self.arch not in archs:
            raise SettingError(
                f"The networks of {self.method} have no arch {self.arch!r}. There are "
                f"{', '.join(archs)}."
            )
        return make(**archs[self.arch])

    def wrong(self) -> list[str]:
        """Return the fields whose values no restoration module can have."""
        archs = NETWORKS[self.method][1] if self.method in NETWORKS else {}
        possible = {
            "method": self.method in NETWORKS,
            "arch": self.arch in archs,
            "mpp": 0 < self.mpp < float("inf"),
        }
        return [key for key, fine in possible.items() if not fine]


@dataclass(frozen=True)
class RestorationModule:
    """A loaded restoration module.

    Parameters
    ----------
    name : str
        Of the folder, as the user gave it.
    config : RestorationConfig
    network : RRDBNet or SwinIR
    device : torch.device
    """

    name: str
    config: RestorationConfig
    network: RRDBNet | SwinIR
    device: torch.device

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the cleaned images for x (B, 3, H, W), enlarged to their size; both in [0, 1]."""
        return self.network(x).float().clamp(0, 1)

    def record(self) -> dict[str, Any]:
        """Return what the record of an enlarged image says of the model."""
        return {"name": self.name, **asdict(self.config)}


RESTORATION = Part(RestorationConfig, "a restoration module", WRITERS)


def save_restoration(
    folder: Path, state: dict[str, Tensor], config: RestorationConfig, *, half: bool = True
) -> RestorationConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    return RESTORATION.save(folder, state, config, half=half)


def load_restoration(folder: Path, device: str | torch.device = "cpu") -> RestorationModule:
    """Load a restoration module.

    Raises
    ------
    ModelNotFoundError
        `folder` has no config.
    WeightsError
        Config or weights are damaged, or do not belong together.
    UnsafeWeightsError
        The weights are a pickle.
    ModelMismatchError
        It is another kind of model.
    """
    read_restoration_config(folder)
    config, network = RESTORATION.load(folder, device)
    restoring = cast("RRDBNet | SwinIR", network)
    return RestorationModule(str(folder), config, restoring, torch.device(device))


def read_restoration_config(folder: Path) -> RestorationConfig:
    """Return the config of the restoration module in `folder`.

    Raises
    ------
    ModelNotFoundError, WeightsError
    ModelMismatchError
        It is another kind of model.
    """
    method = told_in(folder).get("method", STAGE_1)
    if method not in list(NETWORKS):
        raise ModelMismatchError(
            f"{folder} holds a model of {method}, which is no restoration module. Name a folder "
            f"(RUN/model) that one of these wrote: {WRITERS}."
        )
    return RESTORATION.read(folder)
