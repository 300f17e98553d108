"""Measure how long a 256×256 image takes, alone and in batches of images with different t.

Fills a table of docs/results/rscd.md. Seconds depend on the machine; what counts are the network
calls, and the ratio to what a matrix product reaches in the same run. Run from the repository
root::

    python benchmarks/rscd_speed.py --model runs/rscd-he/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from histomend.evaluate.harness.cases import Case, optical_cases
from histomend.evaluate.tables import Table, write_section
from histomend.methods.rscd import by_calibration, calibrated_sampling
from histomend.models import Model, load_model
from places import CLEAN
from rscd_rows import as_x, noise_of
from speed import matmul_rate

# How much light each image of a batch gets, in turn, so that their t differ.
LIGHT = (1.0, 16.0, 0.25, 4.0)
MOST_CALLS = 8


@dataclass(frozen=True)
class Timed:
    """Figures of one preset and batch size: predicted t and calls per image, seconds of all."""

    t: list[float]
    nfe: list[int]
    seconds: float


def main() -> None:
    chosen = _options()
    torch.set_num_threads(chosen.threads)
    model = load_model(chosen.model, "cpu")
    pairs = mixed_pairs(chosen.data, max(*chosen.batches, *chosen.slow_batches))
    macs = macs_of_call(model, as_x(pairs[0].given))
    rate = matmul_rate()
    rows, of_fast = [], []
    for preset, sizes in (("fast", chosen.batches), ("paper", chosen.slow_batches)):
        for size in sizes:
            timed = timed_batch(model, preset, pairs[:size], 1 if preset == "paper" else 3)
            if preset == "fast":
                of_fast += timed.nfe
            limit = 2 * macs * sum(timed.nfe) / rate
            rows.append(
                (
                    f"{preset}, {size}",
                    f"{min(timed.t):.0f} to {max(timed.t):.0f}",
                    f"{np.mean(timed.nfe):.1f}",
                    f"{timed.seconds / size:.2f}",
                    f"{timed.seconds / limit:.2f}" if limit else "–",
                )
            )
            print(*rows[-1], flush=True)
    met = "met" if np.mean(of_fast) <= MOST_CALLS else "missed"
    table = Table(
        f"**Speed**, 256×256 images, {chosen.threads} thread(s), wall time. The images of a batch "
        "get different amounts of light, so that their t differ; each walks its own path. Ratio: "
        "time over that of the calls' multiplications alone at the rate of a large matrix product "
        f"in the same run ({rate / 1e9:.0f} GFLOP/s; one call takes {macs / 1e9:.2f} GMAC).",
        shlex.join(["python", "benchmarks/rscd_speed.py", *sys.argv[1:]]),
        ("preset, batch", "predicted t", "network calls, mean", "s per image", "ratio"),
        tuple(rows),
        (
            f"Mean network calls of fast: {np.mean(of_fast):.1f} (goal: {MOST_CALLS} or fewer: "
            f"{met}).",
        ),
    )
    write_section(chosen.out, "speed", table.markdown())
    print(f"wrote {chosen.out}")


def mixed_pairs(data: Path, count: int) -> list[Case]:
    """Degrade clean crops with much and with little light in turn."""
    by_light = [optical_cases(data, count, light=light) for light in LIGHT]
    return [by_light[k % len(LIGHT)][k] for k in range(count)]


def timed_batch(model: Model, preset: str, pairs: list[Case], repeats: int) -> Timed:
    """Restore a batch, calibration included, and return the median of the wall times."""
    restores = by_calibration(model, calibrated_sampling(preset, model.config))
    x = as_x(*(pair.given for pair in pairs))
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        with torch.inference_mode():
            t = restores.calibrate(x)
        _, nfe = restores(x, t, noise_of(*pairs))
        seconds.append(time.perf_counter() - began)
    return Timed(t.tolist(), nfe.tolist(), float(np.median(seconds)))


def macs_of_call(model: Model, x: torch.Tensor) -> int:
    """Count the multiply-accumulates of one call of the denoiser's network."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model.denoiser.network(x, torch.ones(len(x), dtype=torch.int64))
    return counter.get_total_flops() // 2


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", type=Path, required=True, help="RSCD for RGB, a folder")
    add("--data", type=Path, default=CLEAN, help="clean tiles")
    add("--batches", type=int, nargs="+", default=[1, 4, 8], help="sizes for fast")
    add("--slow-batches", type=int, nargs="+", default=[1, 4], help="sizes for paper")
    add("--threads", type=int, default=1, help="PyTorch's threads")
    add("--out", type=Path, default=Path("docs/results/rscd.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
