"""Restore clean fields, and measure that they come back as they were.

Fills a table of docs/results/rscd.md: the predicted t, PSNR to the input, and the nuclei before
and after. Run from the repository root::

    python benchmarks/rscd_no_harm.py --model runs/rscd-he/model
"""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from histomend.evaluate import metrics
from histomend.evaluate.harness.cases import Case, clean_fields, seed_of
from histomend.evaluate.harness.store import Restored, Store
from histomend.evaluate.instances import lost_and_gained
from histomend.evaluate.nuclei import segment_nuclei
from histomend.evaluate.tables import Table, bootstrap, ratio_of_sums, write_section
from histomend.models import load_model
from places import CLEAN
from rscd_rows import STORE, row_of

GOAL_DB, GOAL_SHARE = 40.0, 0.02


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    store = Store(chosen.store)
    model = load_model(chosen.model, "cpu")
    crops = clean_fields(chosen.data, chosen.crops)
    pairs = [Case(c.name, c.tile, seed_of(c), c.pixels, c.pixels) for c in crops]
    before = [segment_nuclei(crop.pixels, crop.mpp) for crop in crops]
    cells = []
    for preset in chosen.presets:
        row = row_of(preset, "rscd", "rscd", model, {"preset": preset})
        made = store.restored(row, pairs)
        after = [segment_nuclei(r.pixels, crop.mpp) for r, crop in zip(made, crops, strict=True)]
        cells.append((preset, *fidelity_cells(pairs, made), *nuclei_cells(pairs, before, after)))
    table = Table(
        f"**No harm**: {len(pairs)} crops of clean H&E from slides that no training used, restored "
        "as if they were degraded. Unchanged: the pixels are those of the input, byte for byte, "
        "since t rounded to 0.",
        shlex.join(["python", "benchmarks/rscd_no_harm.py", *sys.argv[1:]]),
        (
            "",
            "t, median",
            "t, most",
            "unchanged",
            f"{GOAL_DB:g} dB or more",
            "PSNR to the input, least",
            "nuclei before",
            "after",
            "ratio",
            "lost",
            "gained",
            f"number within {GOAL_SHARE:.0%}",
        ),
        tuple(cells),
        (
            "Lost and gained: nuclei of one image that overlap none of the other. Interval of the "
            "ratio: 95 %, drawing tiles with replacement.",
        ),
    )
    write_section(chosen.out, "no-harm", table.markdown())
    print(f"wrote {chosen.out}")


def fidelity_cells(pairs: Sequence[Case], made: Sequence[Restored]) -> list[str]:
    """Write the predicted t, and how near the restored fields are to their input."""
    told = [r.t for r in made if r.t is not None]
    near = [metrics.psnr(p.truth, r.pixels) for p, r in zip(pairs, made, strict=True)]
    kept, good = (sum(psnr >= least for psnr in near) for least in (math.inf, GOAL_DB))
    least = f"{min(near):.1f} dB" if min(near) < math.inf else "∞"
    return [
        f"{np.median(told):.1f}",
        f"{max(told):.1f}",
        f"{kept} of {len(near)}",
        f"{good} of {len(near)}",
        least,
    ]


def nuclei_cells(
    pairs: Sequence[Case], before: Sequence[np.ndarray], after: Sequence[np.ndarray]
) -> list[str]:
    """Write the number of nuclei before and after, and how many came or went."""
    counts = np.array(
        [(new.max(), old.max()) for old, new in zip(before, after, strict=True)], np.float64
    )
    moved = [lost_and_gained(old, new) for old, new in zip(before, after, strict=True)]
    lost, gained = (sum(numbers) for numbers in zip(*moved, strict=True))
    ratio = bootstrap(counts, groups=[p.group for p in pairs], statistic=ratio_of_sums)
    met = abs(ratio.value - 1) <= GOAL_SHARE
    return [
        f"{counts[:, 1].sum():.0f}",
        f"{counts[:, 0].sum():.0f}",
        ratio.text(3),
        f"{lost}",
        f"{gained}",
        "yes" if met else "no",
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="RSCD for RGB, a folder")
    add("--presets", nargs="+", default=["fast", "paper"])
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--crops", type=int, default=48)
    add("--store", type=Path, default=STORE)
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
