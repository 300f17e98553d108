"""Restore the same fields from t below, at and above the calibrated t (the paper's Fig. 3).

Fills a table of docs/results/rscd.md and draws a sheet to look at. Run from the repository root::

    python benchmarks/rscd_start.py --model runs/rscd-he/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import numpy as np
import torch

from histomend.evaluate.harness.cases import Case, optical_cases
from histomend.evaluate.harness.judges import Fields, Judge
from histomend.evaluate.tables import Table, write_section
from histomend.methods.rscd import by_calibration, calibrated_sampling
from histomend.models import Model, load_model
from places import CLEAN
from rscd_columns import fidelity
from rscd_pictures import ZOOM
from rscd_rows import STORE, as_pixels, as_x, noise_of
from sheets import middle, sheet

# Shares of the calibrated t.
SHARES = (0.25, 0.5, 1.0, 1.5, 2.0)


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    model = load_model(chosen.model, "cpu")
    pairs = optical_cases(chosen.data, chosen.crops)
    told = [calibrated_t(model, pair) for pair in pairs]
    judge = fidelity()
    columns, rows = {}, []
    for share in chosen.shares:
        starts = [start_at(t, share, model.config.trained_t) for t in told]
        made = [restored_from(model, *both) for both in zip(pairs, starts, strict=True)]
        columns[f"{share:g} x calibrated t"] = made
        print(f"restored from {share:g} of the calibrated t", flush=True)
        rows.append((f"{share:g}", f"{np.mean(starts):.0f}", *_cells(judge, pairs, made)))
    degraded = [pair.given for pair in pairs]
    rows.insert(0, ("not restored", "–", *_cells(judge, pairs, degraded)))
    titles = ["degraded", *columns, "truth"]
    pictures = [
        [
            middle(image, chosen.part)
            for image in (pair.given, *(made[k] for made in columns.values()), pair.truth)
        ]
        for k, pair in enumerate(pairs)
    ]
    sheet(chosen.sheet, titles, pictures, ZOOM)
    table = Table(
        f"**Where the reverse process starts** (the paper's Fig. 3), {len(pairs)} degraded crops, "
        "each restored by t ancestral steps without recalibration, from shares of the t that the "
        f"calibrator tells ({min(told):.0f} to {max(told):.0f}). The script also draws a sheet.",
        shlex.join(["python", "benchmarks/rscd_start.py", *sys.argv[1:]]),
        ("share of the calibrated t", "t, mean", *(c.header for c in judge.columns)),
        tuple(rows),
        ("Intervals: 95 %, drawing tiles with replacement.",),
    )
    write_section(chosen.out, "start", table.markdown())
    print(f"wrote {chosen.sheet} and {chosen.out}")


@torch.inference_mode()
def calibrated_t(model: Model, pair: Case) -> float:
    """Return what the model's calibrator tells of a field."""
    sampling = calibrated_sampling("no_recalibration", model.config)
    return float(by_calibration(model, sampling).calibrate(as_x(pair.given)))


def start_at(t: float, share: float, highest: int) -> int:
    """Return the step at a share of t, within those that the denoiser knows."""
    return min(max(round(share * t), 0), highest)


def restored_from(model: Model, pair: Case, t: int) -> np.ndarray:
    """Restore a field from t, by the paper's steps, without asking the calibrator."""
    sampling = calibrated_sampling("no_recalibration", model.config)
    start = torch.tensor([float(t)])
    found, _ = by_calibration(model, sampling)(as_x(pair.given), start, noise_of(pair))
    return as_pixels(found)[0]


def _cells(judge: Judge, pairs: list[Case], made: list[np.ndarray]) -> list[str]:
    found = judge.measure(Fields.of(pairs, made))
    return [found[column.key].text(column.digits) for column in judge.columns]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="RSCD for RGB, a folder")
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--crops", type=int, default=4)
    add("--shares", type=float, nargs="+", default=list(SHARES), help="of the calibrated t")
    add("--part", type=int, default=160, help="side in px of the part shown in the sheet")
    add("--sheet", type=Path, default=STORE / "start.png")
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
