"""How fast one 256×256 image is restored, in ratios taken in one run.

    python benchmarks/speed.py [--model artifusion-he] [--threads N] [--json FILE]

Absolute times depend on the machine and its load; what counts are the ratios: the default preset
against 25 plain eager calls of the paper's network and against 250 calls of its own, and one
network call against what a matrix product reaches on the same threads.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from histomend.api import restore
from histomend.damage.shapes import random_mask
from histomend.methods.costs import cost
from histomend.models import load_model
from histomend.networks.build import arch_named

SIZE = 256
MASKED = 0.15


def median_s(
    call: Callable[[], object], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the median seconds of `call`, after one call that warms up."""
    call()
    times = []
    for _ in range(repeats):
        began = clock()
        call()
        times.append(clock() - began)
    return statistics.median(times)


def matmul_rate(
    repeats: int = 15,
    device: str | torch.device = "cpu",
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the FLOP/s of an fp32 matrix product too large for the caches' second level."""
    a, b = torch.randn(2048, 1024, device=device), torch.randn(1024, 2048, device=device)

    def product() -> None:
        (a @ b)[0, 0].item()  # waits for the device

    return 2 * 2048 * 1024 * 2048 / median_s(product, repeats, clock)


def measure(model_name: str, repeats: int) -> dict[str, float]:
    """Return seconds and ratios."""
    model = load_model(model_name, "cpu")
    config = model.config
    rng = np.random.default_rng(0)
    image = rng.integers(150, 250, (SIZE, SIZE, 3), dtype=np.uint8)
    # One blob, as most artifacts are; a window of the full size is the worst case and is
    # measured too.
    blob = random_mask((SIZE, SIZE), rng, area=MASKED, family="blob")
    wide = random_mask((SIZE, SIZE), rng, area=MASKED, family="band")
    settings = {"model": model, "mpp": config.mpp}
    figures = {
        "fast_blob_s": median_s(lambda: restore(image, blob, **settings), repeats),
        "fast_band_s": median_s(lambda: restore(image, wide, **settings), repeats),
    }
    with torch.inference_mode():
        full = arch_named("full").build(3, 6).eval()
        t = torch.ones(1, dtype=torch.int64)
        plain = torch.randn(1, 3, SIZE, SIZE)
        figures["full_call_s"] = median_s(lambda: full(plain, t), repeats)
        entry = torch.randn(1, 7 if config.context else 3, SIZE, SIZE)
        network = model.denoiser.network
        figures["own_call_s"] = median_s(lambda: network(entry, t), repeats)
    rate = matmul_rate()
    _, macs = cost(config.arch, config.context, SIZE)
    slowest = max(figures["fast_blob_s"], figures["fast_band_s"])
    figures["steps"] = config.fast_steps
    figures["matmul_gflop_s"] = rate / 1e9
    figures["own_gflop_s"] = 2 * macs / figures["own_call_s"] / 1e9
    figures["own_share_of_matmul"] = 2 * macs / figures["own_call_s"] / rate
    figures["fast_to_25_full_calls"] = slowest / (25 * figures["full_call_s"])
    figures["times_less_than_250_own_calls"] = 250 * figures["own_call_s"] / slowest
    figures["cold_start_s"] = cold_start()
    return figures


def cold_start() -> float:
    """Return the seconds from starting Python to a restored image, everything included."""
    code = (
        "import numpy as np, histomend; m = np.zeros((256, 256), bool); m[80:180, 80:180] = True;"
        "histomend.restore(np.full((256, 256, 3), 200, np.uint8), m, device='cpu', mpp=0.5)"
    )
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="artifusion-he")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = {"threads": options.threads, **measure(options.model, options.repeats)}
    for name, value in figures.items():
        print(f"{name:32} {value:10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
