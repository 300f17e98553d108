"""Measure the learned detector on real artifacts and clean tissue, beside thresholds and Otsu.

    python benchmarks/detection_table.py --data ../shared/data [--folds runs/folds]

With --folds each image with an artifact is judged by the model whose training left its slide out
(``detection_folds.py``); without, by the bundled one, which is fair only if that learned from
simulated artifacts alone. Writes the tables into ``docs/results/detection.md``.

``--calibrate FILE --model FOLDER`` fits temperature and doubt of a model and writes them for
``bundle.py --calibration``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.optimize import minimize
from scipy.stats import rankdata

from detection_cases import MASKED, Mask, Scored, artifacts, clean, scored
from histomend.detect.found import Found
from histomend.detect.learned import BUNDLED, limits_of
from histomend.detect.places import look
from histomend.detect.threshold import detect as by_thresholds
from histomend.evaluate.tables import Table, bootstrap, write_section
from histomend.masks.artifact_classes import ARTIFACTS, SOUND
from histomend.models.detector import Detector, DetectorConfig, load_detector, probabilities

PAGE = Path("docs/results/detection.md")
# An image counts as found when this much of it is marked as any artifact, or as its kind.
FOUND_AREA = 0.005
# On calibrated probabilities, chosen so that no kind of clean H&E tissue is marked on more than
# about 0.3 %: placenta is taken for folds and ink first, gaps in tissue for streaks.
THRESHOLDS = {
    "fold": 0.65,
    "bubble": 0.4,
    "ink": 0.65,
    "debris": 0.4,
    "dark_spot": 0.4,
    "out_of_focus": 0.3,
    "streak": 0.7,
    "haze": 0.3,
    "scanner": 0.5,
}
PEAK = 0.85
# Patches of places: 32 of 2 um are 64 um.
PATCH_PLACES, PATCH_SHARE = 32, 0.3


def dice(found: Mask, truth: Mask) -> float:
    total = int(found.sum()) + int(truth.sum())
    return 2 * float((found & truth).sum()) / total if total else 1.0


def otsu(pixels: np.ndarray) -> Mask:
    """Split the density in two: what thresholds give for nothing."""
    density = -np.log(np.maximum(pixels, 1) / 255.0).mean(axis=2).astype(np.float32)
    smooth = cv2.GaussianBlur(density, (0, 0), 4)
    scaled = np.clip(smooth * 100, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(scaled > level)


def same(one: str, other: str) -> bool:
    """Tell whether two classes are one to a user: dirt is dark spot to some, debris to others."""
    alike = {"debris", "dark_spot"}
    return one == other or {one, other} <= alike


class Judged:
    """All cases with their scores, each by the model that did not see its slide."""

    def __init__(self, data: Path, folds: Path | None, model: str):
        detector = load_detector(model)
        self.limits = limits_of(detector)
        self.config = detector.config
        by_slide: dict[str, Detector] = {}
        if folds is not None:
            for folder in sorted(folds.iterdir()):
                if (folder / "run" / "model").is_dir():
                    left_out = load_detector(folder / "run" / "model")
                    for slide in json.loads((folder / "left_out.json").read_text()):
                        by_slide[slide] = left_out
        self.artifacts = [scored(c, by_slide.get(c.slide, detector)) for c in artifacts(data)]
        self.clean = [scored(c, by_slide.get(c.slide, detector)) for c in clean(data)]

    def found(self, one: Scored) -> Found:
        return one.found(self.config, self.limits)


def masks_table(judged: Judged, command: str) -> Table:
    """Tabulate Dice by kind, of any artifact and of the right class."""
    rows = []
    for kind in MASKED:
        mine = [s for s in judged.artifacts if s.case.kind == kind and s.case.mask is not None]
        slides = [s.case.slide for s in mine]
        columns: dict[str, list[float]] = {name: [] for name in ("any", "own", "rules", "otsu")}
        recall, precision, called = [], [], []
        for one in mine:
            truth, pixels, found = one.case.truth(), one.case.pixels(), judged.found(one)
            marked = found.mask(ARTIFACTS)
            own = found.mask([k for k in ARTIFACTS if same(k, kind)])
            columns["any"].append(dice(marked, truth))
            columns["own"].append(dice(own, truth))
            columns["rules"].append(dice(by_thresholds(pixels, mpp=one.case.mpp), truth))
            columns["otsu"].append(dice(otsu(pixels), truth))
            hit = float((marked & truth).sum())
            recall.append(hit / truth.sum())
            precision.append(hit / marked.sum() if marked.any() else np.nan)
            called.append(float((own & truth).sum()) / hit if hit else np.nan)
        rows.append(
            (
                kind.replace("_", " "),
                f"{len(mine)} ({len(set(slides))})",
                bootstrap(columns["any"], groups=slides).text(),
                f"{np.median(columns['any']):.2f}",
                f"{np.mean(recall):.2f}",
                _mean(precision),
                _mean(called),
                f"{np.mean(columns['own']):.2f}",
                f"{np.mean(columns['rules']):.2f}",
                f"{np.mean(columns['otsu']):.2f}",
            )
        )
    return Table(
        "Images with a hand-checked mask. Dice is a mean over images with its 95 % interval "
        "(slides drawn with replacement). Any artifact counts as found; *right class* is the "
        "share of what was found that has the class of the mask, debris and dark spot being one, "
        "and *Dice, class* counts only that. Thresholds are those that are shipped, which were "
        "fitted on these very images.",
        command,
        (
            "kind", "images (slides)", "Dice", "median", "recall", "precision", "right class",
            "Dice, class", "thresholds, Dice", "Otsu, Dice",
        ),
        tuple(rows),
    )  # fmt: skip


def _mean(values: Sequence[float]) -> str:
    return f"{np.nanmean(values):.2f}" if np.isfinite(values).any() else "–"


def images_table(judged: Judged, command: str) -> Table:
    """Tabulate how often an artifact without a mask is found."""
    rows = []
    for kind in ("out_of_focus", "debris", "ink", "streak", "fold", "bubble", "dark_spot"):
        mine = [s for s in judged.artifacts if s.case.kind == kind and s.case.mask is None]
        shares, own, rules = [], [], []
        for one in mine:
            found = judged.found(one)
            shares.append(float(found.mask(ARTIFACTS).mean()))
            own.append(float(found.mask([k for k in ARTIFACTS if same(k, kind)]).mean()))
            rules.append(float(by_thresholds(one.case.pixels(), mpp=one.case.mpp).mean()))
        rows.append(
            (
                kind.replace("_", " "),
                f"{len(mine)} ({len({s.case.slide for s in mine})})",
                *(f"{np.mean(np.array(v) >= FOUND_AREA):.0%}" for v in (shares, own, rules)),
                f"{100 * np.mean(shares):.1f}",
            )
        )
    return Table(
        f"Images without a mask: how many have at least {FOUND_AREA:.1%} of their area marked as "
        "any artifact, as the right one, and by the thresholds; and the marked area.",
        command,
        ("kind", "images (slides)", "found", "as its kind", "thresholds", "area marked, %"),
        tuple(rows),
    )


def clean_table(judged: Judged, command: str) -> Table:
    """Tabulate what is marked on clean tissue: every mark is a false alarm."""
    rows = []
    for group in dict.fromkeys(s.case.group for s in judged.clean):
        mine = [s for s in judged.clean if s.case.group == group]
        shares, restorable, rules = [], [], []
        for one in mine:
            found = judged.found(one)
            shares.append(100 * float(found.mask(ARTIFACTS).mean()))
            restorable.append(100 * float(found.mask().mean()))
            rules.append(100 * float(by_thresholds(one.case.pixels(), mpp=one.case.mpp).mean()))
        rows.append(
            (
                group,
                f"{len(mine)} ({len({s.case.slide for s in mine})})",
                f"{np.mean(shares):.3f}",
                f"{np.mean(restorable):.3f}",
                f"{np.max(shares):.1f}",
                f"{np.mean(rules):.3f}",
            )
        )
    return Table(
        "Clean tissue: the area marked in %, of any class and of those that would be restored, "
        "the worst image, and the thresholds' area.",
        command,
        ("tissue", "images (slides)", "marked", "would be restored", "worst", "thresholds"),
        tuple(rows),
    )


def calibration_table(judged: Judged, command: str) -> Table:
    """Tabulate how often what has a probability is an artifact."""
    told, true = _places(judged, [*judged.artifacts, *judged.clean])
    edges = (0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0001)
    rows = []
    for low, high in pairwise(edges):
        inside = (told >= low) & (told < high)
        if inside.any():
            rows.append(
                (
                    f"{low:g} to {min(high, 1):g}",
                    f"{inside.mean():.2%}",
                    f"{told[inside].mean():.3f}",
                    f"{true[inside].mean():.3f}",
                )
            )
    return Table(
        "Places of images with a mask and of clean tissue, by the probability that there is an "
        "artifact: the share of places, their mean probability, and how many of them are one.",
        command,
        ("probability", "places", "told", "true"),
        tuple(rows),
    )


def _places(judged: Judged, cases: Iterable[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability and the truth of every place that has one."""
    told, true = [], []
    for one in cases:
        if one.case.kind != "clean" and one.case.mask is None:
            continue
        share = one.truth_of_places()
        # Places that the border of a mask crosses are neither.
        known = (share < 0.05) | (share > 0.95)
        told.append(one.places(judged.config).artifact[known] / 255)
        true.append(share[known] > 0.5)
    return np.concatenate(told), np.concatenate(true)


def patch_auroc(judged: Judged) -> tuple[float, int, int]:
    """Return the AUROC of 64 um patches, real artifacts against clean, and how many there are."""
    scores: dict[bool, list[float]] = {True: [], False: []}
    for one in (*judged.artifacts, *judged.clean):
        if "DAB" in one.case.group or (one.case.kind != "clean" and one.case.mask is None):
            continue
        share, told = one.truth_of_places(), one.places(judged.config).artifact / 255
        step = PATCH_PLACES
        for y in range(0, share.shape[0] - step + 1, step):
            for x in range(0, share.shape[1] - step + 1, step):
                here = (slice(y, y + step), slice(x, x + step))
                wrong = float(share[here].mean())
                if one.case.kind == "clean" or wrong >= PATCH_SHARE:
                    scores[one.case.kind != "clean"].append(float(told[here].mean()))
    positive, negative = (np.array(scores[flag]) for flag in (True, False))
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)].sum()
    pairs = len(positive) * len(negative)
    auroc = (ranks - len(positive) * (len(positive) + 1) / 2) / pairs
    return float(auroc), len(positive), len(negative)


def seconds_per_megapixel(detector: Detector) -> float:
    """Measure the detector on four megapixels at its own pixel size."""
    pixels = np.random.default_rng(0).integers(120, 250, (2048, 2048, 3)).astype(np.uint8)

    def read(region: tuple[int, int, int, int]) -> np.ndarray:
        x, y, w, h = region
        return pixels[y : y + h, x : x + w]

    best = np.inf
    for _ in range(3):
        began = time.process_time()
        look(read, (2048, 2048), detector.config.mpp, detector)
        best = min(best, time.process_time() - began)
    return float(best) / 4.194


def summary_table(judged: Judged, detector: Detector, command: str) -> Table:
    """Tabulate figures of the whole."""
    auroc, positive, negative = patch_auroc(judged)
    seconds = seconds_per_megapixel(detector)
    rows = (
        ("AUROC of 64 um patches", f"{auroc:.3f}", f"{positive} with artifacts, {negative} clean"),
        ("CPU seconds per megapixel", f"{seconds:.2f}", "one thread; a megapixel is 1 mm2"),
        ("parameters", f"{sum(p.numel() for p in detector.network.parameters()):,}", ""),
    )
    return Table("", command, ("figure", "value", "of"), rows)


def calibrate(judged: Judged, config: DetectorConfig) -> dict[str, object]:
    """Fit temperature and doubt to real artifacts and clean tissue, by likelihood.

    Every image counts the same, and clean ones as often as others.
    """
    scores, true, weights = [], [], []
    used = [s for s in judged.artifacts if s.case.mask is not None]
    unstained = [s for s in judged.clean if "DAB" not in s.case.group]
    rng = np.random.default_rng(0)
    for group in (used, unstained):
        for one in group:
            share = one.truth_of_places().ravel()
            known = np.flatnonzero((share < 0.05) | (share > 0.95))
            known = rng.choice(known, min(len(known), 2000), replace=False)
            scores.append(one.scores.reshape(len(config.classes), -1)[:, known])
            true.append(share[known] > 0.5)
            weights.append(np.full(len(known), 1 / (len(group) * len(known))))
    x = torch.from_numpy(np.concatenate(scores, axis=1))[None, :, :, None]
    y = torch.from_numpy(np.concatenate(true))
    w = torch.from_numpy(np.concatenate(weights))

    def cost(values: np.ndarray) -> float:
        tried = replace(config, temperature=float(np.exp(values[0])), doubt=float(values[1]))
        sound = probabilities(x, tried)[0, : len(SOUND), :, 0].sum(0).double().clamp(1e-6, 1 - 1e-6)
        return -float((w * torch.where(y, (1 - sound).log(), sound.log())).sum())

    fitted = minimize(cost, [0.0, 1.0], method="Nelder-Mead", options={"maxiter": 120})
    return {
        "temperature": round(float(np.exp(fitted.x[0])), 3),
        "doubt": round(float(fitted.x[1]), 3),
        "thresholds": THRESHOLDS,
        "peak": PEAK,
    }


def main() -> None:
    """Fit the calibration, or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--folds", type=Path)
    parser.add_argument("--model", default=BUNDLED)
    parser.add_argument("--calibrate", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    judged = Judged(options.data, options.folds, options.model)
    if options.calibrate is not None:
        fitted = calibrate(judged, judged.config)
        options.calibrate.write_text(json.dumps(fitted) + "\n", encoding="utf-8")
        print(fitted)
        return
    command = "python benchmarks/detection_table.py --data ../shared/data"
    command += "" if options.folds is None else " --folds runs/folds"
    tables: dict[str, Callable[[], Table]] = {
        "learned-masks": lambda: masks_table(judged, command),
        "learned-images": lambda: images_table(judged, command),
        "learned-clean": lambda: clean_table(judged, command),
        "learned-calibration": lambda: calibration_table(judged, command),
        "learned-summary": lambda: summary_table(judged, load_detector(options.model), command),
    }
    for name, make in tables.items():
        table = make()
        print(table.markdown(), flush=True)
        write_section(PAGE, name, table.markdown())


if __name__ == "__main__":
    main()
