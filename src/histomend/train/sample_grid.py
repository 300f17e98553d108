"""Sample grids: rows of images in one picture, to be looked at while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PilImage
from torch import Tensor

from histomend.errors import TrainingError


def write_sample_grid(path: Path, rows: Sequence[Tensor]) -> None:
    """Write batches (B, C, H, W) in [-1, 1] as the rows of one PNG.

    One channel is shown grey. Two are shown as red and green with their difference as blue.

    Raises
    ------
    TrainingError
        What a network made is no numbers.
    """
    if not all(bool(row.isfinite().all()) for row in rows):
        raise TrainingError(
            "What the network makes is no numbers: the training diverged. Give a smaller --lr; "
            "what was saved before is in the folder as it was."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [_as_rgb(row) for row in rows]
    lines = [np.concatenate(list(row.cpu().permute(0, 2, 3, 1).numpy()), 1) for row in rows]
    pixels = np.rint((np.concatenate(lines, 0).clip(-1, 1) + 1) * 127.5).astype(np.uint8)
    PilImage.fromarray(pixels).save(path)


def _as_rgb(row: Tensor) -> Tensor:
    if row.shape[1] == 1:
        return row.expand(-1, 3, -1, -1)
    if row.shape[1] == 2:
        return torch.cat([row, row[:, 1:] - row[:, :1]], 1)
    return row
