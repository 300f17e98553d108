"""Denoisers that learn from the noisy fields of a table themselves, without any clean image.

Used by camera_table.py; nothing to run here.
"""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

import histomend
from camera_fields import CameraField

# Of the network, and of the optimiser: those that `rscd-fluo` was trained with, as far as they go.
_OPTIONS = ("--channels", "1", "--arch", "fine", "--optimiser", "muon", "--lr", "1e-3")


def trained_on(fields: Sequence[CameraField], folder: Path, steps: int) -> histomend.Model:
    """Train Neighbor2Neighbor on noisy fields, each cut into four; or load what was trained.

    Parameters
    ----------
    folder : Path
        Where the fields and the run are kept.
    steps : int
        Each of eight crops of 128 px.
    """
    model = folder / "run" / "model"
    if not model.is_dir():
        tiles = folder / "tiles"
        tiles.mkdir(parents=True, exist_ok=True)
        with (tiles / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("file", "slide"))
            for field in fields:
                pixels, _, _ = _eight_bits(field.noisy)
                name = f"{field.name}.png"
                Image.fromarray(pixels).save(tiles / name)
                rows.writerow((name, field.group))
        command = [sys.executable, "-m", "histomend", "train", "noise2noise", "--noisy"]
        command += ["--data", str(tiles), "-o", str(folder / "run"), "--cooldown", "0.5"]
        subprocess.run([*command, "--steps", str(steps), *_OPTIONS], check=True)
    return histomend.load_model(str(model), "cpu")


def restored(field: CameraField, model: histomend.Model) -> np.ndarray:
    """Return file values that the network makes of a field."""
    pixels, low, span = _eight_bits(field.noisy)
    result = histomend.denoise(pixels, method="noise2noise", model=model)
    return low + result.pixels.astype(np.float64) * span / 255


def _eight_bits(noisy: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return values that fill 0..255, and what brings them back; noise is far above a level."""
    low, high = float(noisy.min()), float(noisy.max())
    span = max(high - low, 1.0)
    scaled = (noisy.astype(np.float64) - low) * 255 / span
    return np.rint(scaled).astype(np.uint8), low, span
