"""Detectors of artifacts: what a segmentation network was trained to tell apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.masks.artifact_classes import CLASSES, SOUND
from histomend.models.names import locate
from histomend.models.part import Part, told_in
from histomend.networks.segmenter import SEGMENTER_ARCHS, SegmentationUNet, build_segmenter

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
    temperature, doubt : float
        Scores are divided by the one, and those of artifacts lowered by the other, before the
        softmax, so that probabilities mean what they say.
    thresholds : dict
        By class of artifact: from which probability on a place is reported.
    peak : float
        Probability that a region of them reaches somewhere.
    sha256 : str
        Of its weights; empty until saved.
    card : dict
        Data, licence, command, time, figures and limits.
    """

    arch: str = "small"
    classes: list[str] = field(default_factory=lambda: list(CLASSES))
    mpp: float = 1.0
    temperature: float = 1.0
    doubt: float = 0.0
    thresholds: dict[str, float] = field(default_factory=dict)
    peak: float = 0.8
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
            "thresholds": set(self.thresholds) <= set(self.classes[2:])
            and all(0 <= threshold <= 1 for threshold in self.thresholds.values()),
        }
        possible |= {key: getattr(self, key) > 0 for key in ("mpp", "temperature", "peak")}
        return [key for key, fine in possible.items() if not fine]


DETECTOR_PART = Part(DetectorConfig, "a detector", "`histomend train detector`")


@dataclass(frozen=True)
class Detector:
    """A loaded detector: called with x (B, 3, H, W) in [-1, 1], it gives probabilities.

    They are (B, classes, ceil(H / 2), ceil(W / 2)), and sum to 1 over the classes.

    Parameters
    ----------
    name : str
        As the user gave it.
    config : DetectorConfig
    network : SegmentationUNet
        In evaluation mode on its device.
    device : torch.device
    """

    name: str
    config: DetectorConfig
    network: SegmentationUNet
    device: torch.device

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return the probability of each class at every second pixel."""
        x = x.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device)):
            scores = self.network(x)
        return probabilities(scores.float(), self.config)

    @property
    def patch(self) -> int:
        """Pixels per place along a side."""
        return self.network.patch

    @property
    def reach_px(self) -> int:
        """How far around a place the network looks, in pixels."""
        return self.network.reach_px


def probabilities(scores: Tensor, config: DetectorConfig) -> Tensor:
    """Return calibrated probabilities (B, classes, h, w) of scores of that shape."""
    scores = scores / config.temperature
    if config.doubt:
        scores = scores.clone()
        scores[:, len(SOUND) :] -= config.doubt
    return scores.softmax(1)


def is_detector(folder: Path) -> bool:
    """Return whether a model's folder is a detector."""
    return "classes" in told_in(folder)


def read_detector_config(folder: Path) -> DetectorConfig:
    """Return the config of the detector in `folder`; see `Part.read`."""
    return DETECTOR_PART.read(folder)


def save_detector(folder: Path, state: dict[str, Tensor], config: DetectorConfig) -> DetectorConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    # Running variances of batch norms may be too large or too small for fp16.
    return DETECTOR_PART.save(folder, state, config)


def load_detector(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Detector:
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
    where = torch_device(device) if isinstance(device, str) else device
    config, network = DETECTOR_PART.load(locate(name_or_folder), where)
    return Detector(str(name_or_folder), config, cast(SegmentationUNet, network).fused(), where)
