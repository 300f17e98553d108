"""Restoration modules: the first stage of Histo-Diffusion, which cleans an enlarged image."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from histomend.errors import ModelNotFoundError, WeightsError
from histomend.models.config import CONFIG, config_from, write_config
from histomend.models.weights import check_weights, fill, load_weights, save_shards
from histomend.networks.swinir import SWINIR_ARCHS, SwinIR, build_swinir


@dataclass(frozen=True)
class RestorationConfig:
    """What a restoration module was trained for.

    Parameters
    ----------
    arch : str
        Of `SWINIR_ARCHS`.
    degradation : str
        What it was trained to clean, of `damage.degradations.PIPELINES`.
    mpp : float
        Pixel size of the clean images in um.
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command, time and figures.
    """

    arch: str
    degradation: str = "mixed"
    mpp: float = 0.5
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def network(self) -> SwinIR:
        """Return the network with fresh weights."""
        return build_swinir(self.arch)


@dataclass(frozen=True)
class RestorationModule:
    """A loaded restoration module."""

    config: RestorationConfig
    network: SwinIR

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the cleaned images for x (B, 3, H, W), enlarged to their size; both in [0, 1]."""
        return self.network(x).float().clamp(0, 1)


def save_restoration(
    folder: Path, state: dict[str, Tensor], config: RestorationConfig, *, half: bool = True
) -> RestorationConfig:
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
    """
    if not (folder / CONFIG).is_file():
        raise ModelNotFoundError(
            f"{folder} holds no restoration module: there is no {CONFIG} in it. Name the folder "
            "that `histomend train swinir` wrote (RUN/model)."
        )
    config = config_from(folder / CONFIG, RestorationConfig, "the config of a restoration module")
    if config.arch not in SWINIR_ARCHS:
        raise WeightsError(
            f"{folder / CONFIG} says arch={config.arch!r}, which this Histomend does not know. "
            "The file is damaged or from a newer version: copy it again, or update."
        )
    check_weights(folder, config.sha256, "The restoration module")
    network = config.network()
    fill(network, load_weights(folder), str(folder))
    return RestorationModule(config, network.eval().requires_grad_(False).to(device))
