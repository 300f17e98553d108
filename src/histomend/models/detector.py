"""Detectors of artifacts: what a segmentation network was trained to tell apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from histomend.models.names import locate
from histomend.models.part import Part
from histomend.networks.segmenter import SEGMENTER_ARCHS, build_segmenter

SOUND = ("glass", "tissue")
ARTIFACTS = (
    "fold",
    "bubble",
    "ink",
    "debris",
    "dark_spot",
    "out_of_focus",
    "streak",
    "haze",
    "scanner",
)
CLASSES = SOUND + ARTIFACTS
# Places whose class nobody can tell, in maps of labels.
UNLABELLED = 255


@dataclass(frozen=True)
class DetectorConfig:
    """What a detector was trained for.

    Parameters
    ----------
    arch : str
    classes : list of str
        By channel: `SOUND` first, then artifacts.
    mpp : float
        Pixel size that images are brought to, um.
    temperature : float
        What scores are divided by before the softmax, so that probabilities mean what they say.
    thresholds : dict
        By class of artifact: from which probability on a place is reported.
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command, time, figures and limits.
    """

    arch: str = "small"
    classes: list[str] = field(default_factory=lambda: list(CLASSES))
    mpp: float = 1.0
    temperature: float = 1.0
    thresholds: dict[str, float] = field(default_factory=dict)
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return build_segmenter(self.arch, len(self.classes))

    def wrong(self) -> list[str]:
        """Return the fields whose values no detector can have."""
        possible = {
            "arch": self.arch in SEGMENTER_ARCHS,
            "classes": tuple(self.classes[:2]) == SOUND and len(self.classes) > len(SOUND),
            "thresholds": set(self.thresholds) <= set(self.classes[2:]),
        }
        possible |= {key: getattr(self, key) > 0 for key in ("mpp", "temperature")}
        return [key for key, fine in possible.items() if not fine]


DETECTOR_PART = Part(DetectorConfig, "a detector", "`histomend train detector`")


@dataclass(frozen=True)
class Detector:
    """A loaded detector: called with x (B, 3, H, W) in [-1, 1], it gives probabilities.

    They are (B, classes, ceil(H / 2), ceil(W / 2)), and sum to 1 over the classes.
    """

    name: str
    config: DetectorConfig
    network: nn.Module
    device: torch.device

    def __call__(self, x: Tensor) -> Tensor:
        """Return the probability of each class at every second pixel."""
        return (self.network(x).float() / self.config.temperature).softmax(1)


def save_detector(
    folder: Path, state: dict[str, Tensor], config: DetectorConfig
) -> DetectorConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    # Running variances of batch norms may be too large or too small for fp16.
    return DETECTOR_PART.save(folder, state, config)


def load_detector(
    name_or_folder: str | Path, device: str | torch.device = "cpu"
) -> Detector:
    """Load a detector for inference.

    Parameters
    ----------
    name_or_folder : str or Path
        See `locate`.

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        If it is damaged or incomplete.
    """
    config, network = DETECTOR_PART.load(locate(name_or_folder), device)
    return Detector(str(name_or_folder), config, network, torch.device(device))
