"""Measure how far calibrators are off by true t, and which t they tell of degraded fields.

Fills two sections of docs/results/rscd.md and draws a histogram. Run from the repository root::

    python benchmarks/calibrator_errors.py --calibrator "augmented=runs/cal-he/model" \
        --calibrator "unaugmented=runs/cal-plain/model" --fluo runs/rscd-fluo/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from histomend.diffusion.schedule import named
from histomend.evaluate.harness.cases import clean_fields, optical_cases, real_cases
from histomend.evaluate.tables import Table, write_section
from histomend.models.calibrator import Calibrator, load_calibrator
from histomend.train.calibrator import LEVELS, calibration_errors
from places import CLEAN, REAL
from rscd_rows import as_x

# Largest t that the denoisers are trained on (the paper's T').
HIGHEST_T = 200
# Shares of the test set's light, to see where the denoisers' range ends.
DIM = (1 / 2, 1 / 4, 1 / 8)


def main() -> None:
    chosen = _options()
    torch.set_num_threads(1)
    calibrators = {name: load_calibrator(folder) for name, folder in chosen.calibrator}
    command = shlex.join(["python", "benchmarks/calibrator_errors.py", *sys.argv[1:]])
    crops = clean_fields(chosen.data, chosen.crops)
    x0 = as_x(*(crop.pixels for crop in crops))
    rows = []
    for name, calibrator in calibrators.items():
        schedule = named(calibrator.config.schedule, calibrator.config.steps)
        for mixed, noise in ((False, "even"), (True, "uneven")):
            errors = calibration_errors(calibrator, x0, schedule, LEVELS, mixed)
            cells = (f"{off:.1f} ({bias:+.1f})" for bias, off in errors.values())
            rows.append((f"{name}, {noise} noise", *cells))
    table = Table(
        f"**Error of the calibrator by true t**: mean absolute error, in brackets the mean error "
        f"(too much is +), in steps; {len(crops)} clean 256×256 crops of H&E from slides that no "
        "training used, noised to t. Uneven: two regions have different t, and the larger one is "
        "to be told.",
        command,
        ("true t", *map(str, LEVELS)),
        tuple(rows),
    )
    write_section(chosen.out, "calibrator-errors", table.markdown())
    first = next(iter(calibrators))
    told = predictions(calibrators[first], chosen)
    _histogram(chosen.plot, told)
    table = Table(
        f"**Predicted t of degraded fields** (![Predicted t]({chosen.plot.name})), by the "
        f"calibrator “{first}” and, for one channel, its model's own. The denoisers are trained up "
        f"to t = {HIGHEST_T}, as in the paper.",
        command,
        ("fields", "number", "median", "95 % are below", "most", f"above {HIGHEST_T}"),
        tuple(
            (
                name,
                f"{len(t)}",
                *(f"{np.quantile(t, q):.0f}" for q in (0.5, 0.95, 1.0)),
                f"{np.mean(t > HIGHEST_T):.0%}",
            )
            for name, t in told.items()
        ),
    )
    write_section(chosen.out, "predicted-t", table.markdown())
    print(f"wrote {chosen.plot} and {chosen.out}")


def predictions(calibrator: Calibrator, chosen: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the predicted t of clean, degraded, dim, and real noisy fields."""
    crops = clean_fields(chosen.data, chosen.crops)

    def degraded(light: float) -> np.ndarray:
        pairs = optical_cases(chosen.data, chosen.crops, light=light)
        return told_of(calibrator, [pair.given for pair in pairs])

    told = {
        "clean H&E": told_of(calibrator, [crop.pixels for crop in crops]),
        "degraded H&E (the test set)": degraded(1.0),
        **{f"the same with {light:g} of the light": degraded(light) for light in DIM},
    }
    if chosen.fluo is not None:
        noisy = [pair.given for pair in real_cases(chosen.real, chosen.crops)]
        told["real noisy fluorescence"] = told_of(load_calibrator(chosen.fluo), noisy)
    return told


@torch.inference_mode()
def told_of(calibrator: Calibrator, fields: list[np.ndarray]) -> np.ndarray:
    """Return what a calibrator tells of each field (S, S, C) uint8."""
    return np.array([float(calibrator(as_x(field))) for field in fields])


def _histogram(path: Path, told: Mapping[str, np.ndarray]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    highest = max(HIGHEST_T, *(float(t.max()) for t in told.values()))
    figure, axis = pyplot.subplots(figsize=(6.5, 3.8), layout="constrained")
    bins = np.arange(0, highest + 15, 10)
    for name, t in told.items():
        axis.hist(np.maximum(t, 0), bins=bins, alpha=0.6, label=name)
    axis.axvline(HIGHEST_T, color="0.3", linestyle="--", label=f"T' = {HIGHEST_T}")
    axis.set_xlabel("predicted t")
    axis.set_ylabel("fields")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add(
        "--calibrator",
        action="append",
        required=True,
        metavar="NAME=FOLDER",
        help="for RGB, or a model that has one (repeatable); the first one tells t of fields",
    )
    add("--fluo", type=Path, help="model for one channel with its calibrator, for the real fields")
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--real", type=Path, default=REAL, help="real pairs")
    add("--crops", type=int, default=64)
    add("--plot", type=Path, default=Path("docs/results/rscd-t.png"))
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    chosen = parser.parse_args()
    split = [text.partition("=") for text in chosen.calibrator]
    for name, equals, folder in split:
        if not (name and equals and folder):
            parser.error(f"--calibrator {name}{equals}{folder}: give NAME=FOLDER")
    chosen.calibrator = [(name, Path(folder)) for name, _, folder in split]
    return chosen


if __name__ == "__main__":
    main()
