"""Lay degraded and restored fields beside the truth, enlarged, to be looked at.

Run from the repository root::

    python benchmarks/rscd_pictures.py --model runs/rscd-he/model
    python benchmarks/rscd_pictures.py --model runs/rscd-fluo/model --set real
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from histomend.models import load_model
from rscd_fields import CLEAN, REAL, as_rgb, real_pairs, simulated_pairs
from rscd_rows import STORE, Row, Store

ZOOM = 2
TITLE_PX = 16


def sheet(
    path: Path, titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], part_px: int
) -> None:
    """Write rows of images as one PNG, a title above each column.

    Parameters
    ----------
    rows : (S, S, 3) uint8 each
    part_px : int
        Side of the middle part that is shown, enlarged `ZOOM` times without smoothing.
    """
    lines = []
    for row in rows:
        shown = []
        for image in row:
            y, x = ((side - part_px) // 2 if side > part_px else 0 for side in image.shape[:2])
            part = image[y : y + part_px, x : x + part_px]
            shown.append(part.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1))
        lines.append(np.concatenate(shown, axis=1))
    pixels = np.concatenate(lines)
    page = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + TITLE_PX), "white")
    page.paste(Image.fromarray(pixels), (0, TITLE_PX))
    wide = pixels.shape[1] // len(titles)
    for column, title in enumerate(titles):
        ImageDraw.Draw(page).text((column * wide + 4, 2), title, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    model = load_model(chosen.model, "cpu")
    if chosen.set == "he":
        pairs = simulated_pairs(chosen.data or CLEAN, chosen.crops)
    else:
        pairs = real_pairs(chosen.data or REAL, chosen.crops)
    store = Store(chosen.store)
    rows = [Row("degraded", "degraded")]
    rows += [Row(preset, "rscd", "rscd", model, {"preset": preset}) for preset in chosen.presets]
    made = [store.restored(row, pairs) for row in rows]
    pictures = [
        [*(pair.compared(column[k].pixels) for column in made), as_rgb(pair.truth)]
        for k, pair in enumerate(pairs)
    ]
    out = chosen.out or STORE / f"pictures-{chosen.set}.png"
    sheet(out, [*(row.name for row in rows), "truth"], pictures, chosen.part)
    print(f"wrote {out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="RSCD for the channels of the set")
    add("--set", choices=("he", "real"), default="he", help="simulated, or real pairs")
    add("--presets", nargs="+", default=["fast", "paper"])
    add("--data", type=Path, help="folder of the set")
    add("--crops", type=int, default=4)
    add("--part", type=int, default=192, help="side in px of the part shown")
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, help=f"picture; by default in {STORE}")
    return parser.parse_args()


if __name__ == "__main__":
    main()
