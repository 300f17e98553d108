"""Real artifacts to learn from: pictures with masks, and a manifest that names kind and slide."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from histomend.errors import TrainingError
from histomend.masks.artifact_classes import ARTIFACTS, CLASSES
from histomend.models.detector import UNLABELLED
from histomend.train.data import vary_stain
from histomend.train.scenes import Labels, Pixels, captured, sound_labels


@dataclass(frozen=True)
class FoundArtifacts:
    """Pictures at 1 um/px with a label for each pixel, all of a class being as likely as another.

    Parameters
    ----------
    pixels : list of (h, w, 3) uint8
    labels : list of (h, w) uint8
    kinds : list of str
        The class of each picture's artifact.
    """

    pixels: list[Pixels]
    labels: list[Labels]
    kinds: list[str]

    def scene(self, side: int, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        """Draw a square of a picture, scaled, turned and in varied stain, and its labels."""
        kinds = sorted(set(self.kinds))
        kind = kinds[rng.integers(len(kinds))]
        of_kind = [k for k, other in enumerate(self.kinds) if other == kind]
        pixels, labels = self._cut(of_kind[rng.integers(len(of_kind))], side, rng)
        if rng.random() < 0.5:
            pixels, labels = pixels[:, ::-1], labels[:, ::-1]
        turns = int(rng.integers(4))
        pixels, labels = np.rot90(pixels, turns), np.rot90(labels, turns)
        varied = vary_stain(np.ascontiguousarray(pixels), rng)
        return captured(varied, rng), np.ascontiguousarray(labels)

    def _cut(self, number: int, side: int, rng: np.random.Generator) -> tuple[Pixels, Labels]:
        """Cut a square around a place of the artifact; what lies outside is unlabelled."""
        pixels, labels = self.pixels[number], self.labels[number]
        scale = float(np.exp(rng.uniform(-0.3, 0.3)))
        size = tuple(max(8, round(n * scale)) for n in labels.shape[::-1])
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        margin = side // 2
        pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), "reflect")
        labels = np.pad(labels, margin, constant_values=UNLABELLED)
        places = np.argwhere(np.isin(labels, range(2, len(CLASSES))))
        middle = places[rng.integers(len(places))] + rng.integers(-side // 4, side // 4 + 1, 2)
        y, x = (
            int(np.clip(m - side // 2, 0, n - side))
            for m, n in zip(middle, labels.shape, strict=True)
        )
        return pixels[y : y + side, x : x + side], labels[y : y + side, x : x + side]


def read_found(folder: Path, mpp: float) -> FoundArtifacts:
    """Read the pictures of a folder that have a mask.

    Parameters
    ----------
    folder : Path
        With a `manifest.csv` of the columns file, kind, mask and mpp.
    mpp : float
        Pixel size that they are brought to, um.

    Raises
    ------
    TrainingError
        If there are none, or one cannot be read.
    """
    manifest = folder / "manifest.csv"
    pixels, labels, kinds = [], [], []
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["mask"] and row["kind"] in ARTIFACTS]
        for row in rows:
            picture = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
            mask = np.asarray(Image.open(folder / row["mask"]).convert("L"))
            scale = float(row["mpp"]) / mpp
            size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
            share = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
            label = sound_labels(picture)
            label[share > 127] = CLASSES.index(row["kind"])
            pixels.append(picture)
            labels.append(label)
            kinds.append(row["kind"])
    except (OSError, KeyError, ValueError) as error:
        raise TrainingError(
            f"The artifacts in {folder} cannot be read ({error!r}). There must be a manifest.csv "
            "with the columns file, kind, mask and mpp, and the pictures and masks that it names."
        ) from error
    if not pixels:
        raise TrainingError(
            f"{manifest} names no artifact with a mask. Its kinds must be among "
            f"{', '.join(ARTIFACTS)}."
        )
    return FoundArtifacts(pixels, labels, kinds)
