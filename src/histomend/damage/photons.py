"""Noise of a detector that counts light: Poisson, which grows with the signal, and Gaussian."""

from __future__ import annotations

import numpy as np

from histomend.damage.optics import Picture


def counted(light: Picture, photons: float, read_noise: float, rng: np.random.Generator) -> Picture:
    """Return what a detector measures of light, in photons, not clipped.

    The mean over many measurements is `photons * light`; single ones may be negative.

    Parameters
    ----------
    light : (H, W, C) in [0, 1], as a share of full scale
    photons : float
        Counted at full scale.
    read_noise : float
        Standard deviation of the noise that does not depend on the signal, in photons.

    Returns
    -------
    (H, W, C) float32
    """
    found = rng.poisson(photons * light).astype(np.float32)
    found += read_noise * rng.standard_normal(found.shape, dtype=np.float32)
    return found
