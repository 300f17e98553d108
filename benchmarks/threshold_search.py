"""Fit detection thresholds: real artifacts against clean tiles, one slide left out if asked.

Used by ``detection.py`` and ``latent_detection.py``; nothing to run here.
"""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from histomend.detect import threshold as rules
from histomend.detect.features import Features, measure
from histomend.detect.threshold import Thresholds

Mask = npt.NDArray[np.bool_]
Change = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]

# The kinds whose masks are hand-checked and that thresholds can see at all. Streaks, two of which
# have masks, are gaps as white as any lumen: reported, not fitted on.
FITTED = ("fold", "bubble", "ink", "debris", "dark_spot")
# An out-of-focus image counts as found when this much of it is marked as blurred.
BLURRED_AREA = 0.01
# What a hundredth of the area of a clean image marked for nothing costs, in hundredths of Dice.
ALARM_COST = 3.0

# Which settings each rule looks at.
RULES: dict[str, tuple[Callable[[Features, Thresholds], Mask], tuple[str, ...]]] = {
    "dark": (rules.find_dark, ("dark_offset", "dark_gain", "dark_red")),
    "grey": (
        rules.find_grey,
        ("grey_on_glass", "grey_on_tissue", "grey_edge", "grey_chroma", "close_um", "enclosed_um2"),
    ),
    "ink": (rules.find_ink, ("ink_excess",)),
    "blurred": (rules.find_blurred, ("sharpness", "sharpness_fraction")),
}

# What the search tries; it starts in the middle of each. Settings that are not here stay at their
# defaults: they guard against what this data has little of (brown and pale blue stains).
STEPS: dict[str, tuple[float, ...]] = {
    "dark_offset": (0.2, 0.225, 0.25, 0.275, 0.3, 0.325, 0.35, 0.4, 0.45),
    "dark_gain": (0.6, 0.8, 1.0, 1.2, 1.4),
    "dark_red": (0.4, 0.45, 0.5, 0.55, 0.6),
    "grey_on_glass": (0.05, 0.08, 0.12, 0.16, 0.2),
    "grey_on_tissue": (0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    "grey_edge": (0.2, 0.3, 0.4, 0.5, 0.6),
    "grey_chroma": (0.05, 0.1, 0.15, 0.2, 0.25, 0.3),
    "close_um": (0.0, 2.0, 4.0, 6.0),
    "enclosed_um2": (1000.0, 4000.0, 16000.0),
    "ink_excess": (0.0, 0.05, 0.1, 0.15, 0.2),
    "sharpness": (0.04, 0.045, 0.05, 0.055, 0.06, 0.065),
    "sharpness_fraction": (0.5, 0.6, 0.7, 0.8),
    "hole_um2": (300.0, 600.0, 1200.0, 2400.0, 4800.0),
    "smallest_um2": (100.0, 150.0, 250.0, 400.0),
    "margin_um": (0.0, 1.0, 2.0),
}
START = Thresholds(**{name: values[len(values) // 2] for name, values in STEPS.items()})


@dataclasses.dataclass(frozen=True)
class Case:
    """One image: features, and where known the true mask at full size and at theirs."""

    file: str
    kind: str
    slide: str
    stain: str
    features: Features
    mask: Mask | None = None
    small: Mask | None = None


def load(
    folder: Path, *, per_slide: int | None = None, through: Change | None = None
) -> list[Case]:
    """Read a folder with a manifest, each image handed ``through`` something.

    At most ``per_slide`` evenly spaced images of each slide.
    """
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    if per_slide is not None:
        slides: dict[str, list[dict[str, str]]] = {}
        for row in rows:
            slides.setdefault(row["slide"], []).append(row)
        rows = [
            m[i]
            for m in slides.values()
            for i in np.linspace(0, len(m) - 1, min(per_slide, len(m))).round().astype(int)
        ]
    cases = []
    for row in rows:
        pixels = np.asarray(Image.open(folder / row["file"]).convert("RGB"))
        if through is not None:
            pixels = through(pixels)
        # The manifest adds "(estimated)" to some.
        found = re.match(r"[\d.]+", row["mpp"])
        features = measure(pixels, mpp=float(found.group()) if found else None)
        mask = small = None
        if row.get("mask"):
            mask = np.asarray(Image.open(folder / row["mask"]).convert("L")) > 127
            height, width = features.dark.shape
            share = cv2.resize(
                mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA
            )
            small = share > 0.5
        kind = row.get("kind", "clean")
        cases.append(Case(row["file"], kind, row["slide"], row["stain"], features, mask, small))
    return cases


def thinned(case: Case) -> Case:
    """Halve the planes of a large image: the search is then three times quicker."""
    if max(case.features.dark.shape) <= 300:
        return case
    planes = {
        name: np.ascontiguousarray(getattr(case.features, name)[::2, ::2])
        for name in ("dark", "least", "chroma", "red", "green")
    }
    features = dataclasses.replace(case.features, um=2 * case.features.um, **planes)
    small = None if case.small is None else np.ascontiguousarray(case.small[::2, ::2])
    return dataclasses.replace(case, features=features, small=small)


def dice(found: Mask, truth: Mask) -> float:
    return float(2 * (found & truth).sum() / max(1, found.sum() + truth.sum()))


class Judge:
    """Score thresholds on all images, remembering each rule's masks, so that a search is quick."""

    def __init__(self, damaged: Sequence[Case], clean: Sequence[Case]) -> None:
        self.damaged = [
            thinned(c)
            for c in damaged
            if (c.mask is not None and c.kind in FITTED) or c.kind == "out_of_focus"
        ]
        self.clean = [thinned(c) for c in clean]
        self._masks: dict[tuple[object, ...], npt.NDArray[np.uint8]] = {}
        self._scores: dict[Thresholds, tuple[npt.NDArray[np.float64], ...]] = {}

    def scores(self, thresholds: Thresholds) -> tuple[npt.NDArray[np.float64], ...]:
        """Give Dice (or found: 1, 0) per damaged image and marked area per clean one."""
        if thresholds not in self._scores:
            gains = []
            for number, case in enumerate(self.damaged):
                if case.small is None:
                    blurred = self._rule("blurred", number, case, thresholds)
                    gains.append(float(blurred.mean() >= BLURRED_AREA))
                else:
                    gains.append(dice(self._decide(number, case, thresholds), case.small))
            alarms = [
                float(self._decide(len(self.damaged) + number, case, thresholds).mean())
                for number, case in enumerate(self.clean)
            ]
            self._scores[thresholds] = (np.array(gains), np.array(alarms))
        return self._scores[thresholds]

    def objective(self, thresholds: Thresholds, without: str | None) -> float:
        """Average the kinds' scores, less the cost of false alarms, on all slides but one."""
        gains, alarms = self.scores(thresholds)
        kinds: dict[str, list[float]] = {}
        for case, gain in zip(self.damaged, gains, strict=True):
            if case.slide != without:
                kinds.setdefault(case.kind, []).append(gain)
        slides: dict[str, list[float]] = {}
        for case, alarm in zip(self.clean, alarms, strict=True):
            if case.slide != without:
                slides.setdefault(case.slide, []).append(alarm)
        gain = np.mean([np.mean(values) for values in kinds.values()])
        alarm = np.mean([np.mean(values) for values in slides.values()])
        return float(gain - ALARM_COST * alarm)

    def fit(self, start: Thresholds, without: str | None = None, rounds: int = 3) -> Thresholds:
        """Climb along one threshold at a time until a whole round brings nothing."""
        best, reached = start, self.objective(start, without)
        for _ in range(rounds):
            before = reached
            for name, values in STEPS.items():
                at = int(np.argmin([abs(v - getattr(best, name)) for v in values]))
                for direction in (1, -1):
                    tried = at + direction
                    while 0 <= tried < len(values):
                        candidate = dataclasses.replace(best, **{name: values[tried]})
                        score = self.objective(candidate, without)
                        if score <= reached + 1e-4:
                            break
                        best, reached, at = candidate, score, tried
                        tried += direction
            if reached - before < 1e-3:
                break
        return best

    def _rule(self, rule: str, number: int, case: Case, thresholds: Thresholds) -> Mask:
        find, names = RULES[rule]
        key = (rule, number, *(getattr(thresholds, name) for name in names))
        if key not in self._masks:
            self._masks[key] = np.packbits(find(case.features, thresholds))
        shape = case.features.dark.shape
        bits = np.unpackbits(self._masks[key], count=shape[0] * shape[1])
        return bits.reshape(shape).view(np.bool_)

    def _decide(self, number: int, case: Case, thresholds: Thresholds) -> Mask:
        seen = [self._rule(rule, number, case, thresholds) for rule in ("dark", "grey", "ink")]
        tidied = rules.tidy(seen[0] | seen[1] | seen[2], case.features.um, thresholds)
        return tidied | self._rule("blurred", number, case, thresholds)
