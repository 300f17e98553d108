"""Real artifacts to learn from: pictures with masks, and a manifest that names kind and slide."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from histomend.damage.optics import Mask, Picture, density
from histomend.errors import TrainingError
from histomend.masks.artifact_classes import ARTIFACTS, CLASSES
from histomend.models.detector import UNLABELLED
from histomend.train.data import vary_stain
from histomend.train.scenes import (
    LOOKS,
    Artifact,
    Labels,
    Pixels,
    captured,
    sound_labels,
)

# How often a real artifact is laid into clean tissue where one of its class is drawn.
LAID_IN_SHARE = 0.4
# Less density than this around an artifact is glass: it is then added to what is below it.
ON_GLASS = 0.12


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

    def looks(self) -> tuple[Artifact, ...]:
        """Return the simulated looks with real ones beside them, as often as each class was drawn.

        Of the classes that were found, `LAID_IN_SHARE` is what was found, laid into clean tissue.
        """
        kinds = set(self.kinds)
        simulated = [
            replace(look, weight=look.weight * (1 - LAID_IN_SHARE * (look.label in kinds)))
            for look in LOOKS
        ]
        real = []
        for kind in sorted(kinds):
            weight = LAID_IN_SHARE * sum(look.weight for look in LOOKS if look.label == kind)
            if weight:
                real.append(Artifact(kind, partial(self.laid_in, kind), weight, (1.0, 1.0), 0.25))
        return (*simulated, *real)

    def laid_in(
        self, kind: str, pixels: Pixels, rng: np.random.Generator, area: float, um: float
    ) -> tuple[Picture, Mask]:
        """Lay an artifact of a class into other tissue, at its own size; see `optics.Renderer`.

        What lay on glass is added to the density of what is below, all else replaces it.
        `area` is not used: artifacts are as large as they are.
        """
        side = pixels.shape[0]
        of_kind = [k for k, other in enumerate(self.kinds) if other == kind]
        source, labels = self._cut(
            of_kind[rng.integers(len(of_kind))], side, rng, um, beyond="reflect"
        )
        turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
        source, labels = np.rot90(source, turns), np.rot90(labels, turns)
        if mirrored:
            source, labels = source[:, ::-1], labels[:, ::-1]
        source = vary_stain(np.ascontiguousarray(source), rng)
        number = CLASSES.index(kind)
        inside = np.ascontiguousarray(labels == number)
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), rng.uniform(0.6, 2.0))
        od, below = density(source), density(pixels)
        around = cv2.dilate(inside.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        around &= (labels != number) & (labels != UNLABELLED)
        bare = np.median(od[around], axis=0) if around.any() else np.full(3, np.inf)
        # Through a bubble one sees what lies below it, seen through it: that comes along.
        if float(bare.mean()) < ON_GLASS and kind != "bubble":
            mixed = below + soft[..., None] * np.maximum(od - bare, 0)
        else:
            mixed = below + soft[..., None] * (od - below)
        return 255 * np.exp(-np.asarray(mixed, np.float32)), inside

    def _cut(
        self,
        number: int,
        side: int,
        rng: np.random.Generator,
        um: float = 1.0,
        beyond: Literal["unlabelled", "reflect"] = "unlabelled",
    ) -> tuple[Pixels, Labels]:
        """Cut a square around a place of the artifact.

        Beyond the picture it is mirrored; its labels are as well, or nothing is labelled there.
        """
        pixels, labels = self.pixels[number], self.labels[number]
        scale = um * float(np.exp(rng.uniform(-0.3, 0.3)))
        size = tuple(max(8, round(n * scale)) for n in labels.shape[::-1])
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        margin = side // 2
        pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), "reflect")
        if beyond == "reflect":
            labels = np.pad(labels, margin, "reflect")
        else:
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
