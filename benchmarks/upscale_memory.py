"""How much memory a large result takes: 8,192×8,192 px, through the front door.

    python benchmarks/upscale_memory.py --model runs/control/model

The image is enlarged in a fresh process, which reports the most memory that was resident in it at
any time, both images and PyTorch included. How many steps are taken changes the time and not the
memory, from two on: ``--steps 2`` is the quick way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import histomend
from latent_memory import peak_gb, synthetic

GOAL_GB = 3.0


def upscale_once(options: argparse.Namespace) -> dict[str, float]:
    """Enlarge the image in this process, and return memory and time."""
    image = synthetic(options.size // options.scale)
    before = peak_gb()
    began = time.perf_counter()
    result = histomend.upscale(
        image, scale=options.scale, model=options.model, steps=options.steps, device="cpu"
    )
    seconds = time.perf_counter() - began
    height, width = result.image.pixels.shape[:2]
    return {
        "height": height,
        "width": width,
        "calls": result.record.nfe,
        "seconds": seconds,
        "before_gb": before,
        "peak_gb": peak_gb(),
    }


def main() -> None:
    """Enlarge in a fresh process, and write the table."""
    options = _options()
    if options.here:
        print(json.dumps(upscale_once(options)))
        return
    call = [sys.executable, __file__, *sys.argv[1:], "--here"]
    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
    row = json.loads(done.stdout.splitlines()[-1])
    # Not before: on Linux a process begins with the peak of the one that started it.
    from blocks import met

    from experiment import command
    from histomend.evaluate.tables import Table, write_section

    table = Table(
        f"**Memory for a result of {row['width']}×{row['height']} px**, ×{options.scale}, on the "
        "CPU, in a fresh process: the most memory resident at any time, with PyTorch and both "
        f"images ({3 * row['width'] * row['height'] / 1e6:.0f} MB the larger) in it, and how much "
        f"of it was there before. The goal is {GOAL_GB:g} GB: "
        f"{met(row['peak_gb'] <= GOAL_GB)}.",
        command(),
        ("network calls", "peak, GB", "before, GB", "s"),
        (
            (
                f"{row['calls']}",
                f"{row['peak_gb']:.2f}",
                f"{row['before_gb']:.2f}",
                f"{row['seconds']:.0f}",
            ),
        ),
    )
    write_section(options.out, "memory", table.markdown())
    print(table.markdown(), f"\nwrote {options.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="upscaler (RUN/model of `histomend train control`)")
    add("--size", type=int, default=8192, help="side of the result in px")
    add("--scale", type=int, default=4)
    add("--steps", type=int, help="in place of those of the preset fast")
    add("--here", action="store_true", help=argparse.SUPPRESS)
    add("--out", type=Path, default=Path("docs/results/histo-diffusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
