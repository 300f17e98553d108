"""Measure how well models of blur rank blur levels, on slides that no training used.

Fills a section of docs/results/iqa.md. Run from the repository root::

    histomend train iqa --data ../shared/data/he_clean_train \
        --validation ../shared/data/he_clean_val --blur box -o runs/iqa-box --minutes 10
    histomend train iqa --data ../shared/data/he_clean_train \
        --validation ../shared/data/he_clean_val --blur gaussian -o runs/iqa-gaussian --minutes 10
    python benchmarks/iqa.py --iqa runs/iqa-box/model --iqa runs/iqa-gaussian/model
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from histomend.damage.blur_levels import BLUR_SETS, LEVELS, REACH_PX, blurred, score_of
from histomend.evaluate.agreement import agreement, monotony
from histomend.evaluate.iqa import load_iqa
from histomend.evaluate.tables import Interval, Table, bootstrap, write_section
from histomend.evaluate.texture import LUMA

DRAWS = 200
TRUE = np.array([score_of(level) for level in LEVELS])
COLUMNS = (
    "Spearman ↑", "Kendall ↑", "Pearson ↑", "in order ↑", "wholly ↑", "explained ↑", "spread ↓",
)  # fmt: skip


@dataclass(frozen=True)
class Field:
    """A clean tile, and the slide that it is of."""

    pixels: np.ndarray
    slide: str


def main() -> None:
    """Score all tiles at all levels, and write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--iqa", type=Path, action="append", default=[], help="a model's folder (repeatable)")
    add("--data", type=Path, default=Path("../shared/data/he_clean_val"))
    add("--tiles", type=int, help="take so many tiles, evenly spread; by default all")
    add("--out", type=Path, default=Path("docs/results/iqa.md"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    fields = clean_fields(chosen.data, chosen.tiles)
    judges: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
        ("variance of the Laplacian", sharpness)
    ]
    for folder in chosen.iqa:
        model = load_iqa(folder)
        judges.append((model.name, model.score))
    rows, levels = [], []
    for blur in BLUR_SETS["both"]:
        for name, score in judges:
            scores = at_all_levels(fields, blur, score)
            for slide in ("", *sorted({field.slide for field in fields})):
                kept = scores[[not slide or field.slide == slide for field in fields]]
                what = f"{name} on {blur} blur" + (f", {slide}" if slide else "")
                rows.append((what, *cells(kept)))
                print(*rows[-1], flush=True)
            if score is not sharpness:
                means = (f"{value:.2f}" for value in scores.mean(0))
                levels.append((f"{name} on {blur} blur", *means))
    slides = ", ".join(sorted({field.slide for field in fields}))
    table = Table(
        f"**Models of blur on slides that they never saw** ({slides}): {len(fields)} tiles at "
        "eleven levels of box or Gaussian blur, the paper's two data sets (section 3.3) at 1 px a "
        "level. Correlations are over all tiles and levels; in order: how often a tile scores less "
        "at the next level; wholly: tiles for which that is so at each level; explained: share of "
        "the scores' variance that the level explains; spread: standard deviation of tiles at one "
        "level, in levels, which is what the tissue does to the score.",
        shlex.join(["python", "benchmarks/iqa.py", *sys.argv[1:]]),
        ("", *COLUMNS),
        tuple(rows),
        (
            "Intervals: 95 %, drawing tiles with replacement; they say nothing of other slides. "
            "The variance of the Laplacian learns nothing; most of its fall is that to level 1, so "
            "that explained and spread, which are of values, say little about it, and ranks say "
            "more. “own” compares with no published figure: the paper's is CLIP-IQA.",
        ),
    )
    write_section(chosen.out, "iqa", table.markdown())
    by_level = Table(
        "**Mean score by level**, 1 being the best; true: the level's score over 10.",
        table.command,
        ("level", *map(str, LEVELS)),
        (("true", *(f"{value / 10:.2f}" for value in TRUE)), *levels),
    )
    if levels:
        write_section(chosen.out, "iqa-levels", by_level.markdown())
    print(f"wrote {chosen.out}")


def clean_fields(folder: Path, count: int | None) -> list[Field]:
    """Read tiles and their slides, in the order of the manifest."""
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        entries = list(csv.DictReader(file))
    if count is not None and count < len(entries):
        picked = np.linspace(0, len(entries) - 1, count).round().astype(int)
        entries = [entries[number] for number in picked]
    found = []
    for entry in entries:
        with Image.open(folder / entry["file"]) as image:
            found.append(Field(np.asarray(image.convert("RGB")), entry["slide"]))
    return found


def at_all_levels(
    fields: Sequence[Field], blur: str, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Return scores (tiles, levels); the borders that a blur mirrors are cut off at all levels."""
    inner = np.s_[REACH_PX:-REACH_PX, REACH_PX:-REACH_PX]
    return np.stack(
        [
            score(np.stack([blurred(field.pixels, blur, level)[inner] for level in LEVELS]))
            for field in fields
        ]
    )


def sharpness(images: np.ndarray) -> np.ndarray:
    """Return the variance of the Laplacian of the luma, (N,)."""
    return np.array([ndimage.laplace(image @ LUMA).var() for image in images])


def cells(scores: np.ndarray) -> tuple[str, ...]:
    """Write a row for scores (tiles, levels)."""

    def interval(of: Callable[[np.ndarray], float]) -> str:
        return over_tiles(scores, of).text(3)

    def correlation(kind: str) -> Callable[[np.ndarray], float]:
        return lambda drawn: getattr(agreement(drawn.ravel(), np.tile(TRUE, len(drawn))), kind)

    def by_tile(kind: str) -> Callable[[np.ndarray], float]:
        return lambda drawn: getattr(monotony(drawn), kind)

    return (
        *(interval(correlation(kind)) for kind in ("spearman", "kendall", "pearson")),
        *(interval(by_tile(kind)) for kind in ("in_order", "wholly", "explained", "spread")),
    )


def over_tiles(scores: np.ndarray, of: Callable[[np.ndarray], float]) -> Interval:
    """Return a statistic of scores (tiles, levels), with its interval from drawing tiles."""

    def statistic(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.array([of(np.repeat(rows, times.astype(int), axis=0)) for times in weights])

    return bootstrap(scores, statistic=statistic, draws=DRAWS)


if __name__ == "__main__":
    main()
