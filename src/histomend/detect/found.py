"""Regions that a detector found: their class, probability and area, and what may be restored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.detect.places import Places
from histomend.image.pixels import Region
from histomend.masks.artifact_classes import ARTIFACTS, INSTEAD, RESTORABLE, SOUND

Mask = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Limits:
    """From when on something is reported.

    Parameters
    ----------
    probability : float
        Of a place that belongs to a region, where `by_class` does not say.
    by_class : mapping
        The same by class of artifact.
    peak : float
        Probability that a region reaches somewhere; lower ones are doubtful, and dropped.
    smallest_um2 : float
        Smaller regions are dropped.
    smallest_field_um2 : float
        The same of what befalls fields: out of focus, haze, scanner.
    hole_um2 : float
        Holes up to this size are filled.
    """

    probability: float = 0.5
    by_class: Mapping[str, float] = field(default_factory=dict)
    peak: float = 0.8
    smallest_um2: float = 150.0
    smallest_field_um2: float = 4000.0
    hole_um2: float = 400.0


@dataclass(frozen=True)
class FoundRegion:
    """One artifact.

    Attributes
    ----------
    number : int
        From 1 on, also its value in `Found.labels`.
    kind : str
        Its class, one of `ARTIFACTS`.
    probability : float
        Mean over its places that they belong to an artifact.
    area_um2 : float
    box : (x, y, w, h) in pixels of the image
    """

    number: int
    kind: str
    probability: float
    area_um2: float
    box: Region


@dataclass(frozen=True)
class Found:
    """What was found in an image.

    Attributes
    ----------
    places : Places
    regions : tuple of FoundRegion
    labels : (h, w) int32
        Number of the region of each place, 0 outside.
    """

    places: Places
    regions: tuple[FoundRegion, ...]
    labels: Labels

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image per place, down and across."""
        height, width = self.places.shape
        return height / self.labels.shape[0], width / self.labels.shape[1]

    def of(self, kinds: Iterable[str] | None) -> tuple[FoundRegion, ...]:
        """Return the regions of some classes; None is all that may be restored."""
        wanted = set(RESTORABLE if kinds is None else kinds)
        return tuple(region for region in self.regions if region.kind in wanted)

    def mask(self, kinds: Iterable[str] | None = None, part: Region | None = None) -> Mask:
        """Return where artifacts of some classes are.

        Parameters
        ----------
        kinds : names of classes, optional
            All that may be restored (`RESTORABLE`) unless given.
        part : (x, y, w, h), optional
            In pixels of the image; the whole of it unless given.

        Returns
        -------
        (h, w) bool
        """
        chosen = np.zeros(len(self.regions) + 1, np.uint8)
        chosen[[region.number for region in self.of(kinds)]] = 255
        return np.asarray(self._enlarged(chosen, part) > 127)

    def region_mask(self, region: FoundRegion, part: Region) -> Mask:
        """Return where one region is, in a part (x, y, w, h) of the image."""
        chosen = np.zeros(len(self.regions) + 1, np.uint8)
        chosen[region.number] = 255
        return np.asarray(self._enlarged(chosen, part) > 127)

    def label_image(self) -> npt.NDArray[np.uint8]:
        """Return the class of each pixel, (H, W) uint8: 0 sound, 1 the first of `ARTIFACTS`."""
        height, width = self.places.shape
        image = np.zeros((height, width), np.uint8)
        for kind in {region.kind for region in self.regions}:
            image[self.mask([kind])] = 1 + ARTIFACTS.index(kind)
        return image

    def shares(self) -> dict[str, float]:
        """Return which share of the tissue is of each class.

        What lies on bare glass counts in neither.
        """
        kinds = np.zeros(len(self.regions) + 1, np.uint8)
        kinds[[region.number for region in self.regions]] = [
            1 + ARTIFACTS.index(region.kind) for region in self.regions
        ]
        on_tissue = self.places.tissue | (self._near_tissue() & (self.labels > 0))
        counts = np.bincount(kinds[self.labels[on_tissue]], minlength=len(ARTIFACTS) + 1)
        total = max(1, int(counts.sum()))
        return {name: float(counts[k + 1] / total) for k, name in enumerate(ARTIFACTS)}

    def tissue_mm2(self) -> float:
        """Return how much tissue there is, artifacts on it included, in mm2."""
        on_tissue = self.places.tissue | (self._near_tissue() & (self.labels > 0))
        return float(np.count_nonzero(on_tissue)) * self.places.um**2 / 1e6

    def summary(self) -> dict[str, Any]:
        """Return what a row of a table says of the image."""
        shares = self.shares()
        taken = sum(shares[name] for name in RESTORABLE)
        row: dict[str, Any] = {
            "tissue_mm2": round(self.tissue_mm2(), 4),
            "mpp": round(self.places.mpp, 4),
            "regions": len(self.regions),
            "artifact_share": round(sum(shares.values()), 5),
            "restorable_share": round(taken, 5),
        }
        return row | {f"{name}_share": round(share, 5) for name, share in shares.items()}

    def _near_tissue(self) -> Mask:
        """Return what is within some 30 um of tissue: an artifact there lies on tissue."""
        side = 2 * max(1, round(30 / self.places.um)) + 1
        kernel = np.ones((side, side), np.uint8)
        return np.asarray(cv2.dilate(self.places.tissue.astype(np.uint8), kernel) > 0)

    def _enlarged(self, chosen: npt.NDArray[np.uint8], part: Region | None) -> Any:
        """Bring places of some regions to the size of the image, or of a part of it."""
        height, width = self.places.shape
        x, y, w, h = part or (0, 0, width, height)
        down, across = self.scale
        # A place more on all sides, so that parts fit together.
        top, left = max(0, int(y / down) - 2), max(0, int(x / across) - 2)
        bottom = min(self.labels.shape[0], int((y + h) / down) + 3)
        right = min(self.labels.shape[1], int((x + w) / across) + 3)
        marked = chosen[self.labels[top:bottom, left:right]]
        if not marked.any():
            return np.zeros((h, w), np.uint8)
        # From pixel centres to places, with the middle of the first pixel at 0.
        across_step, down_step = 1 / across, 1 / down
        matrix = np.array(
            [
                [across_step, 0, (x + 0.5) * across_step - 0.5 - left],
                [0, down_step, (y + 0.5) * down_step - 0.5 - top],
            ]
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(marked, matrix, (w, h), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def gather(places: Places, limits: Limits) -> Found:
    """Gather places into regions.

    A region is connected, reaches `limits.peak` somewhere, and is as large as `limits` ask. It has
    the class that most of it has; what is of another class and large enough is a region of its own.
    """
    wanted = np.full(len(places.classes), limits.probability)
    for name, value in limits.by_class.items():
        wanted[places.classes.index(name)] = value
    marked = places.artifact >= np.rint(255 * wanted)[places.best]
    place_um2 = places.um**2
    marked = _filled(marked, limits.hole_um2 / place_um2)
    count, numbered = cv2.connectedComponents(marked.astype(np.uint8), connectivity=8)
    whole: Labels = np.asarray(numbered, np.int32)
    kinds = _smoothed(places.best, whole, marked, count)
    labels = np.zeros(whole.shape, np.int32)
    regions: list[FoundRegion] = []
    down, across = places.shape[0] / whole.shape[0], places.shape[1] / whole.shape[1]
    for kind in range(len(SOUND), len(places.classes)):
        of_fields = places.classes[kind] in INSTEAD
        smallest = limits.smallest_field_um2 if of_fields else limits.smallest_um2
        least = max(1.0, smallest / place_um2)
        mine = (kinds == kind) & marked
        if not mine.any():
            continue
        parts, numbers, stats, _ = cv2.connectedComponentsWithStats(
            mine.astype(np.uint8), connectivity=8
        )
        for part in range(1, parts):
            x, y, w, h, area = (int(v) for v in stats[part])
            if area < least:
                continue
            here = (slice(y, y + h), slice(x, x + w))
            inside = numbers[here] == part
            values = places.artifact[here][inside] / 255
            if float(values.max()) < limits.peak:
                continue
            number = len(regions) + 1
            labels[here][inside] = number
            box = (
                int(x * across),
                int(y * down),
                max(1, min(places.shape[1], round((x + w) * across)) - int(x * across)),
                max(1, min(places.shape[0], round((y + h) * down)) - int(y * down)),
            )
            regions.append(
                FoundRegion(
                    number, places.classes[kind], float(values.mean()), area * place_um2, box
                )
            )
    return Found(places, tuple(regions), labels)


# A class with less than this share of a connected region is taken for the main one there.
_SIDE_SHARE = 0.25


def _smoothed(
    best: npt.NDArray[np.uint8], whole: Labels, marked: Mask, count: int
) -> npt.NDArray[np.uint8]:
    """Give each connected region its main class, but for parts that are a good share of it."""
    if count <= 1:
        return best
    region, kind = whole[marked].astype(np.int64), best[marked]
    width = int(kind.max()) + 1
    table = np.bincount(region * width + kind, minlength=count * width).reshape(count, width)
    main = table.argmax(axis=1).astype(np.uint8)
    small = table < _SIDE_SHARE * table.sum(axis=1, keepdims=True)
    kinds = best.copy()
    kinds[marked] = np.where(small[region, kind], main[region], kind)
    return kinds


def _filled(mask: Mask, largest: float) -> Mask:
    """Fill holes of at most `largest` places that do not touch the border."""
    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    inside = (left > 0) & (top > 0)
    inside &= left + stats[:, cv2.CC_STAT_WIDTH] < mask.shape[1]
    inside &= top + stats[:, cv2.CC_STAT_HEIGHT] < mask.shape[0]
    fill = inside & (stats[:, cv2.CC_STAT_AREA] <= largest)
    fill[0] = False
    return np.asarray(mask | fill[labels])
