"""How long `histomend evaluate` takes for many pairs: the default measures, file by file.

Fills the section "measures-speed" of docs/guides/measures.md. The pairs are crops of clean tiles
and the same with a blurred, noisy square under a mask, written to a folder before the clock starts.
Run from the repository root::

    python benchmarks/measures_speed.py --pairs 1000 --workers 2
    python benchmarks/measures_speed.py --pairs 50 --profile
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shlex
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from histomend.evaluate.harness.standings import met
from histomend.evaluate.own_measures import Measures, Pair
from histomend.evaluate.own_pairs import USUAL, evaluate_pairs, find_pairs
from histomend.evaluate.tables import Table, write_section
from histomend.image import read_image
from histomend.masks import write_mask
from places import CLEAN

SIZE = 256
GOAL_S = 60
OUT = Path("docs/guides/measures.md")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--pairs", type=int, default=1000)
    add("--workers", type=int, default=2)
    add("--profile", action="store_true", help="print where the time goes, and write nothing")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        restored, truth = Path(folder, "restored"), Path(folder, "truth")
        write_pairs(chosen.data, chosen.pairs, restored, truth)
        pairs = find_pairs(restored, truth)
        if chosen.profile:
            _profile(pairs)
            return
        began, cpu = time.perf_counter(), time.process_time()
        evaluate_pairs(pairs, workers=chosen.workers)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"{len(pairs)} pairs: {wall:.1f} s, {cpu:.1f} s of processor time", flush=True)
    busy, due = os.getloadavg()[0], 1000 * cpu / len(pairs) / 2
    table = Table(
        f"**How long it takes**: {len(pairs)} pairs of {SIZE}×{SIZE} px with masks, all measures "
        "that are taken unless some are named, reading the files included.",
        shlex.join(["python", "benchmarks/measures_speed.py", *sys.argv[1:]]),
        ("workers", "seconds", "seconds of processor time", "processor time of a pair, ms"),
        ((
            str(chosen.workers), f"{wall:.0f}", f"{cpu:.0f}", f"{1000 * cpu / len(pairs):.0f}",
        ),),
        (
            f"Goal: 1,000 pairs within {GOAL_S} s on two cores. By the processor time they take "
            f"{due:.0f} s on two free ones: {met(due <= GOAL_S)}. While this ran, {busy:.0f} "
            f"processes wanted the machine's {os.cpu_count()} cores, which makes each slower.",
        ),
    )  # fmt: skip
    write_section(OUT, "measures-speed", table.markdown())


def _profile(pairs: list[Pair]) -> None:
    """Print where the time of single pairs goes, in the thread that is profiled."""
    measures = Measures(USUAL, {})
    measures.of(pairs[0])
    with cProfile.Profile(time.thread_time) as profile:
        for pair in pairs:
            measures.of(pair)
    pstats.Stats(profile).sort_stats("tottime").print_stats(50)


def write_pairs(data: Path, count: int, restored: Path, truth: Path) -> None:
    """Write crops of tiles, and the same with a square in which they are blurred and noisy."""
    restored.mkdir()
    truth.mkdir()
    tiles = sorted(path for path in data.iterdir() if path.suffix in {".jpg", ".png"})
    rng = np.random.default_rng(0)
    for number in range(count):
        tile = read_image(tiles[number % len(tiles)]).pixels
        top, left = rng.integers(0, np.array(tile.shape[:2]) - SIZE + 1)
        crop = tile[top : top + SIZE, left : left + SIZE]
        noise = rng.normal(0, 4, crop.shape)
        blurred = np.clip(cv2.GaussianBlur(crop, (0, 0), 1.5) + noise, 0, 255).astype(np.uint8)
        mask = np.zeros((SIZE, SIZE), np.bool_)
        mask[70:150, 60:160] = True
        Image.fromarray(crop).save(truth / f"{number:04}.png")
        Image.fromarray(np.where(mask[..., None], blurred, crop)).save(
            restored / f"{number:04}.png"
        )
        write_mask(restored / f"{number:04}.mask.png", mask)


if __name__ == "__main__":
    main()
