"""Measure threshold detection on real artifacts, leaving one slide out in turn.

For each slide the thresholds are fitted again on all others (coordinate search from the same
start) and judged on the slide that was left out, so no figure comes from an image that the
thresholds have seen. Smoothing scales and the form of the rules were chosen by looking at all
slides. Clean tiles of `he_clean_val` are judged with the thresholds that leave out their slide.

Writes the table into ``docs/results/detection.md`` and prints the thresholds fitted on all slides:
those are the defaults of `histomend.detect.threshold.Thresholds`. Run from the repository root::

    python benchmarks/detection.py --data ../shared/data
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from histomend.detect import threshold as rules
from histomend.detect.threshold import Thresholds
from histomend.evaluate.tables import Table, bootstrap, write_section
from threshold_search import (
    BLURRED_AREA,
    FITTED,
    START,
    STEPS,
    Case,
    Judge,
    Mask,
    dice,
    load,
)

CLEAN_PER_SLIDE = 4
# An image counts as marked when this much of it is.
FOUND_AREA = 0.005


def otsu(case: Case) -> Mask:
    """Split mean density in two with no adaptation at all: what thresholds give for nothing."""
    features = case.features
    # Red, green and blue at 2 to 3 um; 100 steps per unit of density.
    density = (features.red + features.green + features.dark) / 3
    scaled = np.clip(density * 100, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return np.asarray(scaled > level, dtype=np.bool_)


def at_full_size(found: Mask, case: Case) -> Mask:
    return rules.enlarge(found, case.features.shape)


def masks_table(cases: Sequence[Case], fitted: dict[str, Thresholds], command: str) -> Table:
    """Tabulate Dice per kind, each image with the thresholds that never saw its slide."""
    rows = []
    for kind in (*FITTED, "streak"):
        mine = [c for c in cases if c.kind == kind and c.mask is not None]
        slides = [c.slide for c in mine]
        scores, plain, recall, precision = [], [], [], []
        for case in mine:
            assert case.mask is not None
            found = at_full_size(rules.decide(case.features, fitted[case.slide]), case)
            hit = float((found & case.mask).sum())
            scores.append(dice(found, case.mask))
            recall.append(hit / case.mask.sum())
            precision.append(hit / found.sum() if found.any() else np.nan)
            plain.append(dice(at_full_size(otsu(case), case), case.mask))
        rows.append(
            (
                kind.replace("_", " "),
                str(len(mine)),
                str(len(set(slides))),
                bootstrap(scores, groups=slides).text(),
                f"{np.median(scores):.2f}",
                f"{np.mean(recall):.2f}",
                f"{np.nanmean(precision):.2f}" if np.isfinite(precision).any() else "–",
                f"{np.mean(np.array(scores) >= 0.5):.0%}",
                bootstrap(plain, groups=slides).text(),
            )
        )
    return Table(
        "Images with a hand-checked mask, each judged with thresholds fitted without its slide. "
        "Dice is a mean over images with its 95 % interval (slides drawn with replacement; from "
        "so few slides, intervals are rough).",
        command,
        (
            "kind",
            "images",
            "slides",
            "Dice",
            "median",
            "recall",
            "precision",
            "Dice ≥ 0.5",
            "Otsu alone, Dice",
        ),
        tuple(rows),
    )


def images_table(
    cases: Sequence[Case],
    clean: Sequence[Case],
    fitted: dict[str, Thresholds],
    everything: Thresholds,
    command: str,
) -> Table:
    """Tabulate how often something is marked where there is no mask, and on clean images."""
    rows = []
    groups = [
        (kind.replace("_", " "), [c for c in cases if c.kind == kind and c.mask is None])
        for kind in ("out_of_focus", "debris", "ink", "streak", "fold", "bubble", "dark_spot")
    ]
    groups.append(("clean, H&E", list(clean)))
    for name, mine in groups:
        slides = [c.slide for c in mine]
        chosen = [fitted.get(c.slide, everything) for c in mine]
        marked = [
            float(rules.decide(c.features, t).mean()) for c, t in zip(mine, chosen, strict=True)
        ]
        blurred = [
            float(rules.find_blurred(c.features, t).mean() >= BLURRED_AREA)
            for c, t in zip(mine, chosen, strict=True)
        ]
        rows.append(
            (
                name,
                str(len(mine)),
                str(len(set(slides))),
                f"{np.mean(np.array(marked) >= FOUND_AREA):.0%}",
                f"{np.mean(blurred):.0%}",
                bootstrap(100 * np.array(marked), groups=[c.file for c in mine]).text(),
            )
        )
    return Table(
        f"Images without a mask: how many have at least {FOUND_AREA:.1%} of their area marked, how "
        f"many at least {BLURRED_AREA:.0%} marked as blurred, and the marked area (mean, 95 % "
        "interval over images). On clean images every mark is a false alarm.",
        command,
        ("kind", "images", "slides", "marked", "marked as blurred", "area marked, %"),
        tuple(rows),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder that holds he_artifacts")
    parser.add_argument("--out", type=Path, default=Path("docs/results/detection.md"))
    chosen = parser.parse_args()
    command = f"python benchmarks/detection.py --data {chosen.data}"
    cv2.setNumThreads(1)

    damaged = load(chosen.data / "he_artifacts")
    clean = load(chosen.data / "he_clean_train", per_slide=CLEAN_PER_SLIDE)
    clean += [
        c for c in load(chosen.data / "he_clean_10x", per_slide=CLEAN_PER_SLIDE) if c.stain == "H&E"
    ]
    unseen = load(chosen.data / "he_clean_val")
    print(f"features measured: {time.process_time():.0f} s of CPU")

    judge = Judge(damaged, clean)
    everything = judge.fit(START)
    print(f"fitted on all slides: {time.process_time():.0f} s of CPU")
    fitted = {}
    for slide in sorted({c.slide for c in damaged} | {c.slide for c in unseen}):
        fitted[slide] = judge.fit(START, without=slide)
        print(f"fitted without {slide}: {time.process_time():.0f} s of CPU")

    for name, table in (
        ("masks", masks_table(damaged, fitted, command)),
        ("images", images_table(damaged, unseen, fitted, everything, command)),
    ):
        write_section(chosen.out, name, table.markdown())
        print(table.markdown(), end="\n\n")
    print("Fitted on all slides (the defaults of Thresholds):")
    for name in STEPS:
        tried = sorted({getattr(t, name) for t in fitted.values()})
        print(f"    {name}: float = {getattr(everything, name)}   # without a slide: {tried}")


if __name__ == "__main__":
    main()
