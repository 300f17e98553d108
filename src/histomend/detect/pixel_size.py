"""The pixel size of an image that does not say it, from the size of its nuclei."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from histomend.detect.features import USUAL_MPP

Pixels = npt.NDArray[np.uint8]

# Blobs of red density are nuclei: hematoxylin absorbs red, eosin hardly. Where differences of
# Gaussians respond most, their mean sigma is this: median of 18 H&E slides, of which 16 lie within
# a factor of 1.5 (flat collagen with few nuclei looks finer than it is).
NUCLEUS_UM = 1.55
_SIGMAS_PX = np.exp(np.linspace(np.log(1.0), np.log(12.0), 16))
# An estimate is a matter of a factor, so it only chooses between the usual magnifications.
_MAGNIFICATIONS = ((0.32, 0.25), (0.85, USUAL_MPP), (np.inf, 1.0))
_TISSUE, _LEAST_SHARE = 0.15, 0.1


def estimate_mpp(squares: Sequence[Pixels]) -> float | None:
    """Estimate the pixel size of H&E: 0.25, 0.5 or 1 um (40x, 20x, 10x); None without tissue.

    Parameters
    ----------
    squares : (h, w, 3) uint8 each
        Parts of the image at full resolution.
    """
    sigma = nuclear_sigma_px(squares)
    if sigma is None:
        return None
    estimate = NUCLEUS_UM / sigma
    return next(usual for below, usual in _MAGNIFICATIONS if estimate < below)


def nuclear_sigma_px(squares: Sequence[Pixels]) -> float | None:
    """Return at which scale blobs of red density stand out most, px; None without tissue."""
    energy = np.zeros(len(_SIGMAS_PX))
    for pixels in squares:
        od = -np.log(np.maximum(pixels, 1).astype(np.float32) / 255)
        tissue = od.mean(axis=2) > _TISSUE
        if tissue.mean() < _LEAST_SHARE:
            continue
        red = np.minimum(od[..., 0], 1.5)
        for k, sigma in enumerate(_SIGMAS_PX):
            fine, coarse = (cv2.GaussianBlur(red, (0, 0), sigma * f) for f in (0.8, 1.25))
            blobs = np.maximum(fine - coarse, 0)
            # The third power lets few strong blobs count more than much faint texture.
            energy[k] += float((blobs[tissue] ** 3).sum())
    if not energy.any():
        return None
    return float(_SIGMAS_PX[int(energy.argmax())])
