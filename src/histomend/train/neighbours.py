"""Noise2Noise of single noisy images: a pixel is predicted from its neighbour.

Neighbor2Neighbor (Huang, Li, Jia, Lu and Liu 2021): of each 2×2 pixels two neighbours are taken,
one for either of two images of half the size. They show nearly the same scene with noise of their
own, so one is predicted from the other as in Noise2Noise. The noise of neighbouring pixels has to
be independent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.baselines.noise2noise import without_noise
from histomend.methods.noise2noise import Noise2NoiseRestorer
from histomend.train.lesson import Figures
from histomend.train.paired import SHOWN, PairedLesson
from histomend.train.validation import device_of, held_out_rng, noise_streams, psnr

# Weight of what corrects for neighbours that show different things (the paper's gamma, section 3).
CORRECTION = 2.0
# Two neighbours of a cell, in either order: its pixels are numbered by rows.
_PAIRS = torch.tensor([(0, 1), (1, 0), (2, 3), (3, 2), (0, 2), (2, 0), (1, 3), (3, 1)])


def neighbour_choice(shape: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    """Choose two neighbours for each cell of images (B, C, h, w); returns (B, h / 2, w / 2, 2)."""
    cells = (shape[0], shape[2] // 2, shape[3] // 2)
    return _PAIRS[torch.from_numpy(rng.integers(len(_PAIRS), size=cells))]


def neighbours(images: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """Return the chosen pixels as two images of half the size.

    Parameters
    ----------
    images : (B, C, h, w)
        An odd last row or column is left out.
    choice : (B, h / 2, w / 2, 2) int from 0 to 3
    """
    high, wide = choice.shape[1:3]
    cells = images[..., : 2 * high, : 2 * wide].unflatten(3, (wide, 2)).unflatten(2, (high, 2))
    flat = cells.permute(0, 1, 2, 4, 3, 5).flatten(4)
    one, other = (
        flat.gather(4, choice[:, None, ..., k : k + 1].expand(-1, flat.shape[1], -1, -1, -1))
        for k in (0, 1)
    )
    return one[..., 0], other[..., 0]


class NeighbourPairs:
    """Let the network predict one neighbour from the other; no clean image is seen."""

    def loss(self, network: nn.Module, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the squared error, corrected by what the whole image says of the neighbours.

        Parameters
        ----------
        clean : (B, C, h, w) in [-1, 1]
            The images, which are noisy here.
        """
        choice = neighbour_choice(clean.shape, rng).to(clean.device)
        first, second = neighbours(clean, choice)
        off = without_noise(network, first) - second
        with torch.no_grad():
            one, other = neighbours(without_noise(network, clean), choice)
        return F.mse_loss(off, torch.zeros_like(off)) + CORRECTION * F.mse_loss(off, one - other)

    def damaged(self, clean: Tensor, rng: np.random.Generator) -> Tensor:
        """Return the images, which are noisy already."""
        return clean

    def restores(self, network: nn.Module) -> Noise2NoiseRestorer:
        """Return the method with a network."""
        return Noise2NoiseRestorer(network)


@dataclass
class NeighbourLesson(PairedLesson):
    """The lesson on noisy images, of which the truth is not known."""

    def figures(self, network: nn.Module) -> Figures:
        """Return how well held-out pixels are predicted from their neighbours, as PSNR in dB.

        It is bounded by the noise of what is predicted, and says only whether it still gets better.
        """
        device = device_of(network)
        choice = neighbour_choice(self.clean.shape, held_out_rng(3))
        first, second = neighbours(self.clean, choice)
        method = self.pairing.restores(network)

        def restored(x: Tensor) -> Tensor:
            return method(x.to(device), None, noise_streams(len(x), 0))[0].cpu()

        found = {
            "psnr_of_neighbours": psnr(restored(first), second),
            "psnr_of_neighbours_before": psnr(first, second),
        }
        few = self.clean[:SHOWN]
        return Figures(found, [few, restored(few)])
