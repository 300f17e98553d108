"""Deep Image Prior (Ulyanov et al. 2018): a network is fitted to one image, but not to the end.

It learns structure before it learns noise, and nothing but the image itself is needed.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from histomend.networks.conv_unet import ConvUNet

FITTING_STEPS = 200
RATE = 2e-3
# Channels of the fixed noise from which the image is made, and what is added to it at each step
# (the paper's section 4, "noise-based regularisation").
ENTRY, JITTER = 8, 0.03


@dataclass(frozen=True)
class DeepImagePrior:
    """Fits a fresh network to each tile.

    Parameters
    ----------
    network : ConvUNet
        As it is before it is fitted; copied for each tile.
    steps : int
        Of the fit. More of them bring detail back, and then noise.
    """

    network: nn.Module
    steps: int

    def __call__(self, tile: Tensor, entry: Tensor, seed: int) -> Tensor:
        """Return the fitted tile (C, h, w).

        Parameters
        ----------
        tile : (C, h, w) in [-1, 1]
        entry : (ENTRY, h, w) standard normal
        seed : int
            Of what is added to the entry.
        """
        draws = torch.Generator().manual_seed(seed)
        time = torch.zeros(1, dtype=torch.int64, device=tile.device)
        with torch.inference_mode(False), torch.enable_grad():
            network = copy.deepcopy(self.network).to(tile.device)
            wanted, fixed = tile.clone()[None], entry.clone()[None].to(tile.device)
            optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
            for _ in range(self.steps):
                jitter = JITTER * torch.randn(fixed.shape, generator=draws).to(fixed)
                loss = (network(fixed + jitter, time) - wanted).square().mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            with torch.no_grad():
                fitted: Tensor = network(fixed, time)[0]
        return fitted


def fresh_prior(channels: int, seed: int, steps: int | None = None) -> DeepImagePrior:
    """Return a Deep Image Prior for images of `channels` channels.

    Parameters
    ----------
    seed : int
        Of the network's first weights.
    steps : int, optional
        Of the fit.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConvUNet(ENTRY, channels, 64, (1, 2), blocks=1, patch=2)
    return DeepImagePrior(network, FITTING_STEPS if steps is None else steps)
