"""Real images to judge detectors on: artifacts with and without masks, and clean tissue.

Used by ``detection_table.py`` and ``detection_folds.py``; nothing to run here.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from histomend.detect.found import Found, Limits, gather
from histomend.detect.places import Grid, Places
from histomend.diffusion.device import has_fast_bf16
from histomend.masks.artifact_classes import SOUND
from histomend.models.detector import Detector, DetectorConfig, probabilities

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MASKED = ("fold", "bubble", "ink", "debris", "dark_spot", "streak")
# Slides that no detector was trained on, whatever is left out.
UNSEEN = ("glycogenstorage-HE", "cholesterolpolyp-HE")


@dataclass(frozen=True)
class Case:
    """One image.

    Attributes
    ----------
    file : Path
    kind : str
        The artifact, or "clean".
    group : str
        What the image counts to in tables: the artifact, or the tissue.
    slide : str
    mpp : float
    mask : Path or None
    """

    file: Path
    kind: str
    group: str
    slide: str
    mpp: float
    mask: Path | None = None

    def pixels(self) -> Pixels:
        return np.asarray(Image.open(self.file).convert("RGB"))

    def truth(self) -> Mask:
        assert self.mask is not None
        return np.asarray(Image.open(self.mask).convert("L")) > 127


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def micrometres(text: str) -> float:
    # The manifests add "(estimated)" to some.
    found = re.match(r"[\d.]+", text)
    return float(found.group()) if found else 0.5


def artifacts(data: Path) -> list[Case]:
    folder = data / "he_artifacts"
    return [
        Case(
            folder / row["file"],
            row["kind"],
            row["kind"],
            row["slide"],
            micrometres(row["mpp"]),
            folder / row["mask"] if row["mask"] else None,
        )
        for row in rows_of(folder)
    ]


def clean(data: Path) -> Iterator[Case]:
    """Give clean tissue: of the validation slides, by tissue, and of other stains."""
    for name, group in (("he_clean_val", "organ"), ("he_clean_10x", "organ")):
        for row in rows_of(data / name):
            stain = "" if row["stain"] == "H&E" else f", {row['stain']}"
            yield Case(
                data / name / row["file"],
                "clean",
                f"{row[group]}{stain}",
                row["slide"],
                micrometres(row["mpp"]),
            )
    for row in rows_of(data / "labelled_tissue"):
        if row["split"] == "test":
            yield Case(
                data / "labelled_tissue" / row["file"],
                "clean",
                row["class"].replace("_", " "),
                row["slide"],
                micrometres(row["mpp"]),
            )


@dataclass(frozen=True)
class Scored:
    """A case and the scores of its places, (classes, h, w), before any calibration."""

    case: Case
    shape: tuple[int, int]
    scores: npt.NDArray[np.float32]
    um: float

    def places(self, config: DetectorConfig) -> Places:
        """Return what the detector says with its calibration."""
        found = probabilities(torch.from_numpy(self.scores)[None], config)[0].numpy()
        sound = found[: len(SOUND)]
        return Places(
            self.shape,
            self.um,
            self.case.mpp,
            tuple(config.classes),
            np.rint(255 * (1 - sound.sum(0))).clip(0, 255).astype(np.uint8),
            (len(SOUND) + found[len(SOUND) :].argmax(0)).astype(np.uint8),
            sound[1] > sound[0],
        )

    def found(self, config: DetectorConfig, limits: Limits) -> Found:
        return gather(self.places(config), limits)

    def truth_of_places(self) -> npt.NDArray[np.float32]:
        """Return the share of each place that the mask covers; 0 in clean images."""
        rows, columns = self.scores.shape[1:]
        if self.case.mask is None:
            return np.zeros((rows, columns), np.float32)
        share = self.case.truth().astype(np.float32)
        return np.asarray(cv2.resize(share, (columns, rows), interpolation=cv2.INTER_AREA))


def scored(case: Case, detector: Detector) -> Scored:
    """Let a detector look at a case, which is small enough to be one window."""
    pixels = case.pixels()
    working = detector.config.mpp
    shape = pixels.shape[0], pixels.shape[1]
    grid = Grid(shape, shape[0] * case.mpp / working, shape[1] * case.mpp / working)

    def read(region: tuple[int, int, int, int]) -> Pixels:
        x, y, w, h = region
        return pixels[y : y + h, x : x + w]

    seen, _ = grid.cut(read, (0, 0, *grid.size), 0)
    x = torch.from_numpy(seen.transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)
    fast = has_fast_bf16(detector.device)
    with torch.no_grad(), torch.autocast(detector.device.type, torch.bfloat16, enabled=fast):
        scores = detector.network(x.to(detector.device)).float().cpu().numpy()[0]
    return Scored(case, shape, scores, working * detector.patch)
