"""Pairs of images, made from clean crops, for the networks that are trained on pairs."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from histomend.damage.optical import degrade
from histomend.damage.photons import counted

# Tissue above a crop that is degraded, in um: evenly distributed from 0.
DEEPEST_UM = 80.0
# Noise of a crop that is made noisy: photons at full scale, and noise of reading as a share of full
# scale, both evenly distributed on a logarithmic scale. Around those of `OPTICS`, from ten times
# less light on, as deep tissue lets through.
PHOTONS = (12.0, 1200.0)
READ_NOISE = (0.003, 0.15)


def under_tissue(clean: Tensor, rng: np.random.Generator, mpp: float) -> Tensor:
    """Return crops as if each lay under tissue, at a depth of its own (`degrade`).

    Parameters
    ----------
    clean : (B, C, H, W) in [-1, 1]
    mpp : float
        Micrometres per pixel.
    """
    seen = [
        degrade(
            light,
            seed=int(rng.integers(2**31)),
            depth_um=float(rng.uniform(0, DEEPEST_UM)),
            mpp=mpp,
        ).pixels
        for light in _light(clean)
    ]
    return _shown(seen)


def noisy_twice(clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return two measurements of each crop, with noise of the same strength (Poisson-Gaussian).

    The first ends where a file's range ends, as images do. The second does not: only so is its mean
    the clean crop, which is all that Noise2Noise asks of it.

    Parameters
    ----------
    clean : (B, C, H, W) in [-1, 1]
    """
    first, second = [], []
    for light in _light(clean):
        photons, share = (_log_uniform(rng, *ends) for ends in (PHOTONS, READ_NOISE))
        one, other = (counted(light, photons, share * photons, rng) / photons for _ in range(2))
        first.append(np.clip(one, 0, 1))
        second.append(other)
    return _shown(first), _shown(second)


def _light(clean: Tensor) -> list[np.ndarray]:
    """Return crops as (H, W, C) float32 in [0, 1]."""
    pixels = clean.cpu().permute(0, 2, 3, 1).numpy()
    return list(np.clip((pixels + 1) / 2, 0, 1))


def _shown(light: list[np.ndarray]) -> Tensor:
    pixels = np.ascontiguousarray(np.stack(light).transpose(0, 3, 1, 2), dtype=np.float32)
    return torch.from_numpy(2 * pixels - 1)


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
