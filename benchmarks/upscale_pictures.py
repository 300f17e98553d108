"""Lay enlarged images beside the truth, to be looked at: Histo-Diffusion's Figs. 10 and 11.

Writes three sheets into a folder: ``tiles.png`` (the middle of each tile, a column for each way to
enlarge), ``nuclei.png`` (the same, where its nuclei are densest, enlarged four times without
smoothing) and ``scales.png`` (one model at several scales). Run from the repository root::

    python benchmarks/upscale_pictures.py --model runs/control/model \
        --row "SwinIR-GAN (ours)=swinir-gan:runs/swinir-gan/model"

What ``upscale_table.py`` enlarged is not enlarged again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from histomend.evaluate.harness.cases import DEGRADATIONS, Case, coarse_cases
from histomend.evaluate.harness.store import Store
from histomend.evaluate.nuclei import segment_nuclei
from histomend.models.upscaler import load_upscaler
from places import CLEAN
from sheets import middle, sheet
from upscale_rows import OWN, SIZE, STORE, add_row_options, fitting, own_row, rows_of

SCALE, SCALES = 4, (2, 4, 8)
ZOOM = 4


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    store = Store(chosen.store)
    _ways(chosen, store)
    if chosen.model is not None:
        _scales(chosen, store)


def _ways(chosen: argparse.Namespace, store: Store) -> None:
    """Write Fig. 10: all ways to enlarge, at the paper's scale."""
    pairs = _pairs(chosen, SCALE)
    rows, refused = fitting(rows_of(chosen), pairs[0])
    print(*refused, sep="\n", end="\n" if refused else "")
    made = [store.restored(row, pairs) for row in rows]
    titles = ["coarse", *(row.name for row in rows), "truth"]
    lines = [
        [as_seen(pair), *(column[k].pixels for column in made), pair.truth]
        for k, pair in enumerate(pairs)
    ]
    parts = [[middle(image, chosen.part) for image in line] for line in lines]
    _write(chosen.out / "tiles.png", titles, parts, 1)
    windows = [densest(pair.truth, pair.mpp, chosen.nuclei) for pair in pairs]
    near = [[image[window] for image in line] for line, window in zip(lines, windows, strict=True)]
    _write(chosen.out / "nuclei.png", titles, near, ZOOM)


def _scales(chosen: argparse.Namespace, store: Store) -> None:
    """Write Fig. 11: the same fields from scans of several pixel sizes."""
    row = own_row(chosen.preset, load_upscaler(chosen.model, "cpu"), **OWN[chosen.preset])
    by_scale = [_pairs(chosen, scale) for scale in SCALES]
    made = [store.restored(row, pairs) for pairs in by_scale]
    titles = [text for s in SCALES for text in (f"coarse, x{s}", f"{row.name}, x{s}")]
    lines = []
    for k, pair in enumerate(by_scale[0]):
        shown = [
            image
            for pairs, images in zip(by_scale, made, strict=True)
            for image in (as_seen(pairs[k]), images[k].pixels)
        ]
        lines.append([middle(image, chosen.part) for image in (*shown, pair.truth)])
    _write(chosen.out / "scales.png", [*titles, "truth"], lines, 1)


def as_seen(pair: Case) -> np.ndarray:
    """Return the coarse image with its pixels as large as they are in the field."""
    return pair.given.repeat(pair.scale, axis=0).repeat(pair.scale, axis=1)


def densest(truth: np.ndarray, mpp: float, side: int) -> tuple[slice, slice]:
    """Return the square of a field in which nuclei cover most.

    Parameters
    ----------
    truth : (H, W, 3) uint8
    side : int
        In px.
    """
    side = min(side, *truth.shape[:2])
    covered = ndimage.uniform_filter((segment_nuclei(truth, mpp) > 0).astype(np.float64), side)
    # A window of which the filter's value is the mean begins half a side before.
    before, after = side // 2, side - side // 2 - 1
    height, width = truth.shape[:2]
    within = covered[before : height - after, before : width - after]
    y, x = np.unravel_index(int(within.argmax()), within.shape)
    return slice(int(y), int(y) + side), slice(int(x), int(x) + side)


def _pairs(chosen: argparse.Namespace, scale: int) -> list[Case]:
    return coarse_cases(
        chosen.data, chosen.tiles, scale=scale, degradation=chosen.degradation, size=chosen.size
    )


def _write(
    path: Path, titles: Sequence[str], lines: Sequence[Sequence[np.ndarray]], zoom: int
) -> None:
    sheet(path, titles, lines, zoom)
    print(f"wrote {path}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_row_options(parser)
    add = parser.add_argument
    add("--preset", choices=tuple(OWN), default="fast", help="of scales.png")
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--size", type=int, default=SIZE, help="side of a tile in px")
    add("--degradation", choices=tuple(DEGRADATIONS), default="scanner")
    add("--tiles", type=int, default=6)
    add("--part", type=int, default=256, help="side in px of the middle of a tile")
    add("--nuclei", type=int, default=64, help="side in px of what is enlarged four times")
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=STORE / "pictures", help="folder")
    return parser.parse_args()


if __name__ == "__main__":
    main()
