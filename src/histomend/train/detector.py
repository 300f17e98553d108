"""Training of the detector, on clean tiles that are damaged as the training goes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.masks.artifact_classes import ARTIFACTS, CLASSES
from histomend.models import load_weights, locate
from histomend.models.detector import UNLABELLED, DetectorConfig, save_detector
from histomend.train.data import open_sources
from histomend.train.found_artifacts import FoundArtifacts, read_found
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.options import DetectorOptions
from histomend.train.other_tissue import Source
from histomend.train.scenes import LOOKS, Artifact, CleanTissue, Labels, Pixels, scene
from histomend.train.validation import device_of, held_out_rng

HELD_OUT = 96
# Pixels of the scene per place that is classified, along a side.
PATCH = 2
# Most of most scenes is sound; without weights an artifact is learned late. What the weights do to
# probabilities, calibration takes out again.
WEIGHTS = (0.6, 1.0) + (1.3,) * len(ARTIFACTS)
AT_ONCE = 8

Scenes = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class DetectorTrainee:
    """A detector as what is trained."""

    config: DetectorConfig

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        return {key: getattr(self.config, key) for key in ("arch", "classes", "mpp")}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the detector `init`."""
        return load_weights(locate(init))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a detector's folder."""
        save_detector(folder, average, self.config)


@dataclass
class DetectorLesson(Lesson[Scenes]):
    """Tell artifacts from sound tissue and glass; see `DetectorOptions`.

    Parameters
    ----------
    trainee : DetectorTrainee
    source : Source
        Of clean tissue.
    options : DetectorOptions
    held_out : Scenes
        Drawn from other slides.
    found : FoundArtifacts, optional
    """

    trainee: DetectorTrainee
    source: Source
    options: DetectorOptions
    held_out: Scenes
    found: FoundArtifacts | None = None

    def crops(self, step: Step) -> Scenes:
        """Draw scenes, and the class of each place of them."""
        return as_tensors([self._scene(step.rng) for _ in range(self.options.batch)])

    def _scene(self, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        if self.found is not None and rng.random() < self.options.artifact_share:
            return self.found.scene(self.options.crop, rng)
        return scene(self.source, rng, self.looks)

    @cached_property
    def looks(self) -> tuple[Artifact, ...]:
        """What artifacts are drawn from: simulated ones, and real ones where there are some."""
        return LOOKS if self.found is None else self.found.looks()

    def loss(self, network: nn.Module, crops: Scenes, step: Step) -> Tensor:
        """Return the cross-entropy over labelled places."""
        x, labels = (tensor.to(step.device) for tensor in crops)
        weights = torch.tensor(WEIGHTS, device=step.device)
        scores = network(x).float()
        return F.cross_entropy(scores, labels, weights, ignore_index=UNLABELLED)

    def figures(self, network: nn.Module) -> Figures:
        """Return the cross-entropy, Dice by class, and which share of sound places is marked."""
        device = device_of(network)
        x, labels = self.held_out
        scores = torch.cat([network(part.to(device)).float().cpu() for part in x.split(AT_ONCE)])
        error = float(F.cross_entropy(scores, labels, ignore_index=UNLABELLED))
        return Figures({"error": round(error, 4)} | agreement(scores.argmax(1), labels))


def agreement(told: Tensor, labels: Tensor) -> dict[str, float]:
    """Return figures of classes (B, H, W) against labels of the same shape.

    Dice of a class counts all scenes as one; `false_area` is the share of glass and tissue that
    is taken for any artifact.
    """
    known = labels != UNLABELLED
    told, labels = told[known], labels[known]
    figures = {}
    for number, name in enumerate(CLASSES):
        size = int((told == number).sum()) + int((labels == number).sum())
        if size:
            both = int(((told == number) & (labels == number)).sum())
            figures[f"dice_{name}"] = round(2 * both / size, 4)
    sound = labels < 2
    figures["false_area"] = round(float((told[sound] >= 2).float().mean()), 5)
    return figures


def as_tensors(scenes: list[tuple[Pixels, Labels]]) -> Scenes:
    """Return scenes as (B, 3, h, w) in [-1, 1] and int64 (B, h / 2, w / 2)."""
    pixels = np.stack([pixels for pixels, _ in scenes]).transpose(0, 3, 1, 2)
    labels = np.stack([labels[::PATCH, ::PATCH] for _, labels in scenes])
    x = torch.from_numpy(np.ascontiguousarray(pixels)).float() / 127.5 - 1
    return x, torch.from_numpy(labels.astype(np.int64))


def lesson(options: DetectorOptions) -> DetectorLesson:
    """Return the lesson of a detector."""
    config = DetectorConfig(options.arch, mpp=options.working_mpp)
    # An arch that does not exist is told before any tile is read.
    with torch.device("meta"):
        config.network()
    tiles = open_sources(options, crop=min(options.crop, 64))
    side, least = options.crop, options.working_mpp
    main = CleanTissue(tiles.main, options.mpp / least, side)
    extra = CleanTissue(tiles.further, options.extra_mpp / least, side)

    def clean(rng: np.random.Generator) -> Pixels:
        return (extra if rng.random() < tiles.share else main)(rng)

    rng = held_out_rng()
    others = CleanTissue(tiles.held_out, options.mpp / least, side)
    held_out = as_tensors([scene(others, rng) for _ in range(HELD_OUT)])
    found = None
    if options.artifacts is not None:
        found = read_found(options.artifacts, least)
    return DetectorLesson(DetectorTrainee(config), clean, options, held_out, found)
