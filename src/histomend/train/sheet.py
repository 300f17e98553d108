"""Sample grids: rows of images in one picture, to be looked at while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as PilImage
from torch import Tensor


def write_sheet(path: Path, rows: Sequence[Tensor]) -> None:
    """Write batches (B, 3, H, W) in [-1, 1] as the rows of one PNG."""
    lines = [np.concatenate(list(row.cpu().permute(0, 2, 3, 1).numpy()), 1) for row in rows]
    pixels = np.rint((np.concatenate(lines, 0).clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    PilImage.fromarray(pixels).save(path)
