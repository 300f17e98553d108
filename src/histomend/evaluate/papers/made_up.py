"""Tissue that is drawn, so that every reproduction can be run where there is no data at all.

Pink ground with fibres and round nuclei, other sizes and numbers for each class. Figures of it
say that the way from image to table works, and nothing of any method.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Pixels = npt.NDArray[np.uint8]
SIDE = 128
CLASSES = ("sparse", "dense", "fibrous")
_GROUND, _NUCLEUS = np.array([226.0, 168, 204]), np.array([98.0, 62, 148])
_SCALE = {"mpp": "0.5"}
_SPACING = {"sparse": 40, "dense": 17, "fibrous": 30}


def tissue(seed: int, kind: str = "dense", side: int = SIDE) -> Pixels:
    """Draw a field of a class, (side, side, 3) uint8."""
    rng = np.random.default_rng([seed, CLASSES.index(kind)])
    y, x = np.mgrid[:side, :side].astype(float)
    spacing = _SPACING[kind]
    nuclei = np.zeros((side, side))
    for top in range(spacing // 2, side, spacing):
        for left in range(spacing // 2, side, spacing):
            down, right = np.array([top, left]) + rng.uniform(-4, 4, 2)
            radius = rng.uniform(4, 7)
            nuclei = np.maximum(nuclei, (np.hypot(y - down, x - right) < radius) * 1.0)
    wave = 0.25 if kind == "fibrous" else 0.05
    turn = rng.uniform(0, np.pi)
    fibres = wave * np.sin((x * np.cos(turn) + y * np.sin(turn)) / 2.5)
    grain = ndimage.gaussian_filter(rng.normal(0, 1, (side, side)), 1.2) * 0.15
    ground = _GROUND * (1 - 0.3 * (fibres + grain))[..., None]
    shade = ndimage.gaussian_filter(nuclei, 0.7)[..., None]
    pixels = ground * (1 - shade) + (_NUCLEUS + 40 * grain[..., None]) * shade
    return np.clip(pixels + rng.normal(0, 2, pixels.shape), 0, 255).astype(np.uint8)


def make_data(folder: Path) -> Path:
    """Draw data sets of all names that reproductions take, once.

    Returns
    -------
    Path
        The folder that holds them.
    """
    if (folder / "done").exists():
        return folder
    for name, first, count in (("he_clean_train", 0, 8), ("he_clean_val", 100, 6)):
        rows = []
        for turn in range(count):
            kind = CLASSES[turn % len(CLASSES)]
            file = f"{kind}-{turn}.png"
            _write(folder / name / file, tissue(first + turn, kind))
            rows.append({"file": file, "slide": f"{name}-{turn % 2}", "mpp": "0.5"})
        _list(folder / name, rows)
    rows = []
    for number, kind in enumerate(CLASSES):
        for turn in range(16):
            file = f"{kind}/{turn}.png"
            split = "train" if turn < 10 else "test"
            _write(folder / "labelled_tissue" / file, tissue(200 + 16 * number + turn, kind, 64))
            rows.append(
                {
                    "file": file,
                    "class": kind,
                    "split": split,
                    "mpp": "0.5",
                    "slide": f"{kind}-{split}",
                }
            )
    _list(folder / "labelled_tissue", rows)
    rows = []
    for turn in range(2):
        file, mask = f"spot-{turn}.png", f"masks/spot-{turn}.png"
        pixels, where = tissue(300 + turn), np.zeros((SIDE, SIDE), np.uint8)
        where[50:74, 50 + 8 * turn : 74 + 8 * turn] = 255
        pixels[where > 0] = 20
        _write(folder / "he_artifacts" / file, pixels)
        _write(folder / "he_artifacts" / mask, where)
        rows.append({"file": file, "kind": "dark_spot", "mask": mask, "slide": "spots"} | _SCALE)
    _list(folder / "he_artifacts", rows)
    (folder / "done").touch()
    return folder


def _write(path: Path, pixels: Pixels) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _list(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
