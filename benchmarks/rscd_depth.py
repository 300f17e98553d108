"""Measure quality by depth, original against restored, in simulated stacks (the paper's Fig. 8).

Writes a plot and a table beside the other results. Run from the repository root::

    python benchmarks/rscd_depth.py --model runs/rscd-he/model --encoder runs/encoder/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
import torch

from curves import draw
from histomend.evaluate.harness.cases import optical_cases
from histomend.evaluate.harness.judges import Fields
from histomend.evaluate.harness.store import Store
from histomend.evaluate.tables import Interval, Table, write_section
from histomend.models import load_model
from places import CLEAN
from rscd_columns import Weights
from rscd_rows import STORE, row_of

DEPTHS_UM = (0.0, 10.0, 20.0, 40.0, 60.0, 80.0)


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    judges, notes = Weights.of(chosen).judges()
    store = Store(chosen.store)
    model = load_model(chosen.model, "cpu")
    settings = {"preset": chosen.preset}
    rows = [row_of("original", "degraded"), row_of("restored", "rscd", "rscd", model, settings)]
    curves: dict[str, dict[float, dict[str, Interval]]] = {row.name: {} for row in rows}
    cells = []
    for depth_um in chosen.depths:
        pairs = optical_cases(chosen.data, chosen.crops, depths_um=(depth_um, depth_um))
        for row in rows:
            made = store.restored(row, pairs)
            fields = Fields.of(pairs, [r.pixels for r in made])
            found = {k: f for judge in judges for k, f in judge.measure(fields).items()}
            curves[row.name][depth_um] = found
            told = [r.t for r in made if r.t is not None]
            t = f"{np.mean(told):.0f}" if told else "–"
            cells.append((f"{depth_um:g} µm, {row.name}", t, found))
    columns = [c for judge in judges for c in judge.columns if c.key in cells[0][2]]
    draw(chosen.plot, [(c.key, c.header) for c in columns], curves, "depth (µm, simulated)")
    table = Table(
        f"**Quality by depth** (the paper's Fig. 8; ![Quality by depth]({chosen.plot.name})), "
        f"{len(pairs)} stacks of clean H&E crops, the depth of which is simulated: each plane is "
        "the same crop, seen through more of the same uneven tissue. Reference: the clean crops.",
        shlex.join(["python", "benchmarks/rscd_depth.py", *sys.argv[1:]]),
        ("depth", "t, mean", *(c.header for c in columns)),
        tuple((name, t, *(f[c.key].text(c.digits) for c in columns)) for name, t, f in cells),
        (*notes, "Intervals: 95 %, drawing tiles with replacement."),
    )
    write_section(chosen.out, "depth", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="RSCD for RGB, a folder")
    add("--preset", default="fast")
    Weights.add_options(parser)
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--crops", type=int, default=16)
    add("--depths", type=float, nargs="+", default=list(DEPTHS_UM), help="in µm")
    add("--store", type=Path, default=STORE)
    add("--plot", type=Path, default=Path("docs/results/rscd-depth.png"))
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
