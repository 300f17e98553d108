"""Lay restored nuclei beside the true ones, at four times their size, to be looked at.

Of each crop the part is shown that has most masked pixels on nuclei of the truth. Run from the
repository root::

    python benchmarks/restoration_pictures.py --crops 6
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from experiment import options, systems
from histomend.evaluate.crops import Crop, crops
from histomend.evaluate.nuclei import segment_nuclei
from histomend.evaluate.rows import model_row
from histomend.models import load_model
from latent_one_shot import CEILING, ceiling_row
from sheets import sheet

ZOOM = 4
BORDER = (255, 220, 0)


def main() -> None:
    """Restore the crops and write the sheet."""
    parser = options(__doc__, records="", limit=24)
    parser.add_argument("--crops", type=int, default=6, help="of them, those with most nuclei")
    parser.add_argument("--part", type=int, default=80, help="side in px of the part shown")
    parser.add_argument("--picture", type=Path, default=Path("runs/look/restored-nuclei.png"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    named = systems(chosen)
    rows = [model_row(name, folder, device=chosen.device) for name, folder in named.items()]
    ceiling = ceiling_row(load_model(named["LatentArtiFusion"], chosen.device))
    found = [
        (*busiest(crop, chosen.part), crop)
        for crop in crops(chosen.data, per_tile=1, limit=chosen.limit)
    ]
    found.sort(key=lambda each: -each[0])
    pictures = []
    for _, y, x, crop in found[: chosen.crops]:
        images = [crop.truth, outlined(crop.damaged, crop.mask)]
        images += [row.restore(crop.damaged, crop.mask, crop.seed) for row in rows]
        images.append(ceiling.restore(crop.truth, crop.mask, crop.seed))
        pictures.append([image[y : y + chosen.part, x : x + chosen.part] for image in images])
    titles = ("truth", "damaged, mask outlined", *named, CEILING)
    sheet(chosen.picture, titles, pictures, ZOOM)
    print(f"wrote {chosen.picture}")


def busiest(crop: Crop, side: int) -> tuple[float, int, int]:
    """Return how many masked pixels of nuclei a square of the crop has at most, and its place."""
    hidden = (segment_nuclei(crop.truth, mpp=crop.mpp) > 0) & crop.mask
    sums = cv2.integral(hidden.astype(np.uint8))
    inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(inside.max()), int(y), int(x)


def outlined(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the image with the mask's border drawn into it."""
    shown = pixels.copy()
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(shown, contours, -1, BORDER, 1)
    return shown


if __name__ == "__main__":
    main()
