"""How much memory `histomend tiles` takes, by the size of the slide.

    python benchmarks/tiles_memory.py [--sizes 5000 20000] [--tiles 20]

Slides of made-up tissue are written to a temporary folder (a 20,000 px one has 0.3 GB there), as a
scanner's pyramid (SVS) and as an ordinary TIFF with the same levels. The verb
runs in a process of its own, of which the system tells the most memory that was resident at a time.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import tifffile

MPP, TILE_PX, LEVELS = 0.5, 256, (1, 4, 16)
KINDS = {
    "SVS, a pyramid": (f"Aperio made up|AppMag = 20|MPP = {MPP}", ".svs"),
    "an ordinary TIFF, a pyramid": ("made up", ".tif"),
}


def stained(side: int) -> np.ndarray:
    """Return something with the colours and the fine contrast of H&E, (side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    grain = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.7)
    density = np.array([0.25, 0.6, 0.3]) * (1 + 0.9 * grain[..., None]).clip(0.2, 3)
    return np.rint(250 * np.exp(-density)).clip(0, 255).astype(np.uint8)


def tiles_of(side: int, tissue: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the tiles of a level, whose left third is glass, one by one."""
    glass = np.full((TILE_PX, TILE_PX, 3), 245, np.uint8)
    count = -(-side // TILE_PX)
    for _ in range(count):
        for column in range(count):
            yield glass if column < count // 3 else tissue


def write_slide(path: Path, side: int, description: str) -> None:
    """Write a slide of side × side px with three levels, without holding it."""
    # Small: on Linux a process that is started begins with the peak of this one.
    field = stained(4 * TILE_PX)
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for factor in LEVELS:
            small = cv2.resize(
                field, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA
            )
            level = side // factor
            file.write(
                tiles_of(level, np.tile(small, (4, 4, 1))[:TILE_PX, :TILE_PX]),
                shape=(level, level, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                description=description,
                metadata=None,
                subfiletype=int(factor > 1),
                resolution=(10_000 / MPP / factor,) * 2,
                resolutionunit="CENTIMETER",
            )


def peak_gb(command: list[str]) -> float:
    """Run a command, and return its largest resident memory in GB (10⁹ bytes)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed with {os.waitstatus_to_exitcode(status)}: {' '.join(command)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[5000, 20_000], help="sides in px")
    parser.add_argument("--tiles", type=int, default=20, help="tiles that are cut")
    options = parser.parse_args()
    print("| slide | pixels | peak, GB |\n|---|---|---|")
    for kind, (description, suffix) in KINDS.items():
        for side in options.sizes:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"slide{suffix}"
                write_slide(path, side, description)
                words = f"--mpp {MPP} --size 512 --per-slide {options.tiles} --validation-share 0"
                command = [sys.executable, "-m", "histomend", "tiles", str(path)]
                command += ["-o", f"{folder}/out", *words.split()]
                peak = peak_gb(command)
            print(f"| {kind} | {side:,}×{side:,} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    main()
