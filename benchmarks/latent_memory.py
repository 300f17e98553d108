"""How much memory a large image takes: 4,096×4,096 with 5 % masked, through the front door.

    python benchmarks/latent_memory.py [--method latent-artifusion] [--size 4096]

Each shape of mask is restored in a fresh process, which reports the most memory that was resident
in it at any time, the image and PyTorch included. One blob of 5 % is the worst case for the field
that is sampled at once; specks are many small windows.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

import histomend
from histomend.damage.shapes import random_mask

MASKED = 0.05
FAMILIES = ("specks", "blob", "band")
GOAL_GB = 2.0


def synthetic(size: int) -> np.ndarray:
    """Return a field in the colours of tissue, (size, size, 3) uint8."""
    rng = np.random.default_rng(0)
    image = np.empty((size, size, 3), np.uint8)
    for channel, (level, spread) in enumerate(((190, 25), (130, 35), (180, 20))):
        coarse = rng.normal(level, spread, (size // 8, size // 8)).clip(0, 255).astype(np.uint8)
        image[..., channel] = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_LINEAR)
    return image


def peak_gb() -> float:
    """Return the largest resident memory of this process so far, in GB (10⁹ bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def restore_once(options: argparse.Namespace, family: str) -> dict[str, float | str]:
    """Restore the image in this process, and return memory and time."""
    image = synthetic(options.size)
    shape = image.shape[:2]
    mask = random_mask(shape, np.random.default_rng(1), area=MASKED, family=family)
    before = peak_gb()
    began = time.perf_counter()
    result = histomend.restore(
        image, mask, method=options.method, model=options.model, mpp=0.5, device="cpu"
    )
    seconds = time.perf_counter() - began
    assert (result.image.pixels[~mask] == image[~mask]).all()
    return {
        "mask": family,
        "windows": len(result.record.windows),
        "seconds": seconds,
        "before_gb": before,
        "peak_gb": peak_gb(),
    }


def main() -> None:
    """Restore in fresh processes, and write the table."""
    options = _options()
    if options.here:
        print(json.dumps(restore_once(options, options.here)))
        return
    found = []
    for family in options.masks:
        call = [sys.executable, __file__, *sys.argv[1:], "--here", family]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
    # Not before: on Linux a process begins with the peak of the one that started it.
    from experiment import command
    from histomend.evaluate.tables import Table, write_section

    table = Table(
        f"**Memory for {options.size}×{options.size} with {MASKED:.0%} masked**, preset "
        f"`generate`, on the CPU, each in a fresh process: the most memory resident at any "
        f"time, with PyTorch and the image ({3 * options.size**2 / 1e6:.0f} MB) in it, and how "
        f"much of it was there before the restoration began. The goal is {GOAL_GB:.0f} GB.",
        command(),
        ("mask", "windows", "peak, GB", "before, GB", "s"),
        tuple(
            (
                str(row["mask"]),
                str(row["windows"]),
                f"{row['peak_gb']:.2f}",
                f"{row['before_gb']:.2f}",
                f"{row['seconds']:.0f}",
            )
            for row in found
        ),
    )
    write_section(options.out, "memory", table.markdown())
    print(table.markdown(), f"\nwrote {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--method", default="latent-artifusion")
    add("--model", help="bundled name or folder; by default the method's own")
    add("--size", type=int, default=4096)
    add("--masks", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    add("--here", choices=FAMILIES, help=argparse.SUPPRESS)
    add("--out", type=Path, default=Path("docs/results/latent-artifusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
