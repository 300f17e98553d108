"""Sheets of images side by side, to be looked at.

Used by other scripts; nothing to run here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

TITLE_PX = 16


def sheet(
    path: Path, titles: Sequence[str], rows: Sequence[Sequence[np.ndarray]], zoom: int
) -> None:
    """Write rows of images as one PNG, a title above each column.

    Parameters
    ----------
    rows : (S, S, 3) uint8 each, all of one size
    zoom : int
        How many times larger they are shown, without smoothing.
    """
    lines = [
        np.concatenate([im.repeat(zoom, axis=0).repeat(zoom, axis=1) for im in row], axis=1)
        for row in rows
    ]
    pixels = np.concatenate(lines)
    page = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + TITLE_PX), "white")
    page.paste(Image.fromarray(pixels), (0, TITLE_PX))
    wide = pixels.shape[1] // len(titles)
    for column, title in enumerate(titles):
        ImageDraw.Draw(page).text((column * wide + 4, 2), title, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path, quality=92)  # of JPEG; PNG has none


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """Return the middle square of an image, or all of it along sides that are shorter."""
    y, x = ((length - side) // 2 if length > side else 0 for length in image.shape[:2])
    return image[y : y + side, x : x + side]
