"""Lay degraded and restored fields beside the truth, enlarged, to be looked at.

Run from the repository root::

    python benchmarks/rscd_pictures.py --model runs/rscd-he/model
    python benchmarks/rscd_pictures.py --model runs/rscd-fluo/model --set real
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from histomend.evaluate.harness.cases import optical_cases, real_cases
from histomend.evaluate.harness.store import Store
from histomend.models import load_model
from places import CLEAN, REAL
from rscd_rows import STORE, row_of
from sheets import middle, sheet

ZOOM = 2


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    model = load_model(chosen.model, "cpu")
    if chosen.set == "he":
        pairs = optical_cases(chosen.data or CLEAN, chosen.crops)
    else:
        pairs = real_cases(chosen.data or REAL, chosen.crops)
    store = Store(chosen.store)
    rows = [row_of("degraded", "degraded")]
    rows += [row_of(preset, "rscd", "rscd", model, {"preset": preset}) for preset in chosen.presets]
    made = [store.restored(row, pairs) for row in rows]
    pictures = [
        [
            middle(image, chosen.part)
            for image in (*(pair.compared(column[k].pixels) for column in made), pair.reference)
        ]
        for k, pair in enumerate(pairs)
    ]
    out = chosen.out or STORE / f"pictures-{chosen.set}.png"
    sheet(out, [*(row.name for row in rows), "truth"], pictures, ZOOM)
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
