"""Check that an audit's intervals hold on slides that chose nothing.

    python benchmarks/audit_coverage.py --data ../shared/data --tiles 20

In each clean tile of `he_clean_val` a hole is restored whose truth is known; the interval comes
from trials elsewhere in the tile alone. Writes how many pixels of the hole lie in it, by slide,
into ``docs/results/restoration.md``.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import histomend
from histomend.damage.shapes import random_mask
from histomend.evaluate.audit.intervals import LEVEL, intervals, luma
from histomend.evaluate.audit.trials import choose, run
from histomend.evaluate.tables import Table, bootstrap, write_section

PAGE = Path("docs/results/restoration.md")
SEEDS, TRIALS, AREA = 4, 12, 0.01


def tile_coverage(pixels: np.ndarray, preset: str, seed: int) -> tuple[float, float, int]:
    """Return the share of a hole's pixels within their intervals, the mean width, the trials."""
    rng = np.random.default_rng(seed)
    side = pixels.shape[0]
    small = random_mask((side // 4, side // 4), rng, area=16 * AREA, family="blob")
    mask = np.zeros(pixels.shape[:2], np.bool_)
    y, x = rng.integers(side // 8, side - side // 4 - side // 8, 2)
    mask[y : y + side // 4, x : x + side // 4] = small
    damaged = pixels.copy()
    damaged[mask] = 0

    def restore(both: np.ndarray, number: int) -> np.ndarray:
        image = histomend.restore(damaged, both, preset=preset, seed=number, mpp=0.5, device="cpu")
        return np.asarray(image.pixels)

    places = choose(damaged, mask, TRIALS, rng)
    found = intervals(damaged, mask, run(damaged, mask, places, restore, tuple(range(SEEDS))))
    held = np.abs(luma(pixels) - found.middle)[mask] <= found.half_width[mask]
    return float(held.mean()), float(2 * found.half_width[mask].mean()), found.trials


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tiles", type=int, default=20, help="of each slide")
    parser.add_argument("--presets", nargs="+", default=["exemplar", "generate"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.data / "he_clean_val"
    by_slide: dict[str, list[Path]] = defaultdict(list)
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            by_slide[row["slide"]].append(folder / row["file"])
    rows = []
    for preset in options.presets:
        for slide, files in sorted(by_slide.items()):
            found = []
            for number, file in enumerate(files[: options.tiles]):
                pixels = np.asarray(Image.open(file).convert("RGB"))
                found.append(tile_coverage(pixels, preset, number))
                print(preset, slide, number, *found[-1], flush=True)
            held, widths, trials = np.array(found).T
            told = bootstrap(100 * held)
            rows.append(
                (preset, slide, f"{len(found)}", f"{trials.mean():.1f}", told.text(1),
                 f"{widths.mean():.2f}")
            )  # fmt: skip
    command = shlex.join(["python", "benchmarks/audit_coverage.py", *sys.argv[1:]])
    write_section(
        PAGE,
        "audit-coverage",
        Table(
            f"**Intervals of `histomend audit`, checked**: a blob of {AREA:.0%} in tiles of slides "
            f"that no training used, restored with {SEEDS} seeds; the interval of {LEVEL:.0%} "
            "comes from trials elsewhere in the tile. Width: of the interval, luma from 0 to 1.",
            command,
            ("preset", "slide", "tiles", "trials", "pixels within, %", "width"),
            tuple(rows),
        ).markdown(),
    )


if __name__ == "__main__":
    main()
