"""What the degradations for super-resolution cost: images per CPU second, and what dominates.

    python benchmarks/degradations.py --data TILES [--side 256] [--images 32]

One thread. `times reading` is the time over that of reading the image's floating-point values once
from memory, so that it can be compared between machines.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from histomend.damage import capture, kernels, steps
from histomend.damage.degradations import PIPELINES, degrade_batch

BATCH = 8
# Functions whose time is told apart, by where they are called from.
PARTS = (
    (steps, "convolved"),
    (steps, "computed"),
    (capture, "sharpened"),
    (capture, "scanned"),
    (steps, "resized"),
    (capture, "with_gaussian_noise"),
    (capture, "with_poisson_noise"),
    (capture, "compressed"),
)


def main() -> None:
    """Print a line for each pipeline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--images", type=int, default=32)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = tiles(arguments.data, arguments.side)
    many = torch.rand(64, 3, arguments.side, arguments.side)
    reading = least(many.sum) / len(many)
    spent = {name: timed(module, name) for module, name in PARTS}
    for name, pipeline in PIPELINES.items():
        degrade_batch(images, range(BATCH), pipeline)
        for part in spent.values():
            part[0] = 0.0
        each = np.mean(
            [
                seconds(partial(degrade_batch, images, range(k, k + BATCH), pipeline))
                for k in range(0, arguments.images, BATCH)
            ]
        )
        whole = each * arguments.images / BATCH
        shares = sorted(((part[0] / whole, what) for what, part in spent.items()), reverse=True)
        print(
            f"{name}: {BATCH / each:.0f} images/s, {each / BATCH / reading:.0f} times reading; "
            + ", ".join(f"{what} {share:.0%}" for share, what in shares[:4])
        )
    grouped(images)


def grouped(images: Tensor) -> None:
    """Print the time of a grouped convolution over that of the Fourier transforms in use."""
    for size in (21, 41):
        drawn = [kernels.Kernel("gaussian", size, (1 + k, 2.0), k) for k in range(BATCH)]
        weights = kernels.computed(drawn)
        padded = torch.nn.functional.pad(images, (size // 2,) * 4, mode="reflect").transpose(0, 1)
        slow = least(partial(torch.conv2d, padded, weights[:, None], groups=BATCH))
        fast = least(partial(kernels.convolved, images, weights))
        print(f"kernels of {size} px: grouped convolution over Fourier {slow / fast:.1f}")


def tiles(folder: Path, side: int) -> Tensor:
    """Return corners of the first tiles, (8, 3, side, side) in [0, 1]."""
    files = sorted(p for p in folder.iterdir() if p.suffix in {".jpg", ".png"})[:BATCH]
    pixels = [np.asarray(Image.open(f).convert("RGB"))[:side, :side] for f in files]
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call: on a busy machine the clock on the wall says little."""
    began = time.process_time()
    call()
    return time.process_time() - began


def least(call: Callable[[], object]) -> float:
    """Return the least CPU time of five calls."""
    return min(seconds(call) for _ in range(5))


def timed(module: object, name: str) -> list[float]:
    """Add up the time of a function of a module in the one number of the returned list."""
    spent, inner = [0.0], getattr(module, name)

    def outer(*arguments: object) -> object:
        began = time.process_time()
        result = inner(*arguments)
        spent[0] += time.process_time() - began
        return result

    setattr(module, name, outer)
    return spent


if __name__ == "__main__":
    main()
