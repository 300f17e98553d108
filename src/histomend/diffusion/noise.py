"""Noise that depends only on the seed and the place, never on how work is cut up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 64


class NoiseField:
    """Standard normal noise over the whole plane, as a pure function.

    A value depends on the seed, its row and column on the space's own grid, its channel, and the
    number of the draw. It is made in aligned 64×64 blocks by a counter-based generator on the
    CPU, so windows that overlap see the same noise, and neither batch nor order nor device
    matters.

    Parameters
    ----------
    seed : int in [0, 2^63)
    """

    def __init__(self, seed: int):
        self.seed = seed

    def _block(self, row: int, column: int, draw: int, channels: int) -> np.ndarray:
        # Philox is keyed by the seed and counts from the block's own place: streams of
        # different blocks or draws can never meet, as the low counter word covers a block.
        counter = np.array([0, draw, row % 2**63, column % 2**63], dtype=np.uint64)
        bits = np.random.Philox(key=np.array([self.seed, 0], dtype=np.uint64), counter=counter)
        return np.random.Generator(bits).standard_normal((channels, BLOCK, BLOCK), np.float32)

    def patch(self, draw: int, channels: int, y: int, x: int, height: int, width: int) -> Tensor:
        """Return (channels, height, width) float32 noise whose corner is at row y, column x."""
        out = np.empty((channels, height, width), np.float32)
        for row in range(y // BLOCK, (y + height - 1) // BLOCK + 1):
            top, bottom = max(row * BLOCK, y), min((row + 1) * BLOCK, y + height)
            for column in range(x // BLOCK, (x + width - 1) // BLOCK + 1):
                left, right = max(column * BLOCK, x), min((column + 1) * BLOCK, x + width)
                block = self._block(row, column, draw, channels)
                out[:, top - y : bottom - y, left - x : right - x] = block[
                    :,
                    top - row * BLOCK : bottom - row * BLOCK,
                    left - column * BLOCK : right - column * BLOCK,
                ]
        return torch.from_numpy(out)


def further_seed(seed: int, number: int) -> int:
    """Return the seed of draw `number`: the seed itself, then others far away from it."""
    return (seed + number * 0x5851F42D4C957F2D) % 2**63


class NoiseStream:
    """Successive draws of noise for a batch of windows, counted per sample.

    Parameters
    ----------
    fields : one NoiseField per sample of the batch
    origins : one (row, column) per sample
        Where the sample's corner lies on the space's own grid.
    """

    def __init__(self, fields: Sequence[NoiseField], origins: Sequence[tuple[int, int]]):
        self.fields = list(fields)
        self.origins = list(origins)
        self._draws = [0] * len(self.fields)

    def draw(self, like: Tensor, which: Tensor | None = None) -> Tensor:
        """Return noise with the shape, dtype and device of `like` (B, C, H, W).

        Parameters
        ----------
        which : (B,) bool, optional
            Samples that get noise; the others get zeros and their counters stand still.
        """
        _, channels, height, width = like.shape
        out = torch.zeros(like.shape)
        for row, (y, x) in enumerate(self.origins):
            if which is None or which[row]:
                field = self.fields[row]
                out[row] = field.patch(self._draws[row], channels, y, x, height, width)
                self._draws[row] += 1
        return out.to(like)
