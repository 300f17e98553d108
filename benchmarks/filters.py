"""What a microscopist has at hand against noise: filters, plain and after variance stabilisation.

Used by camera_table.py; nothing to run here. BM3D's package is for research that earns nothing,
so it is never a dependency: its rows are there where it is installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter, median_filter
from skimage.restoration import (
    denoise_nl_means,
    denoise_tv_chambolle,
    denoise_wavelet,
    estimate_sigma,
)

from histomend.image.camera_noise import estimate_noise

# Values in [0, 1] (H, W) -> the same, denoised.
Filter = Callable[[np.ndarray], np.ndarray]
# The truth says which of these is best for an image: more than any user can have.
SIGMAS = (0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)
TV_WEIGHTS = (0.03, 0.06, 0.1, 0.15, 0.25, 0.4)


def families() -> Mapping[str, Sequence[Filter]]:
    """Return the filters by name; where there are several, the best for each image counts."""
    found: dict[str, Sequence[Filter]] = {
        "Gaussian, sigma 1.5 px": [partial(gaussian_filter, sigma=1.5)],
        "Gaussian at its best": [partial(gaussian_filter, sigma=s) for s in SIGMAS],
        "median 5x5": [partial(median_filter, size=5)],
        "total variation at its best": [
            partial(denoise_tv_chambolle, weight=weight) for weight in TV_WEIGHTS
        ],
        "wavelets (BayesShrink)": [partial(denoise_wavelet, rescale_sigma=True)],
        "non-local means": [_nl_means],
    }
    if importlib.util.find_spec("bm3d") is not None:
        found["BM3D"] = [_bm3d]
    return found


def stabilised(denoise: Filter) -> Filter:
    """Return a filter that works on stabilised values, whose noise is the same everywhere."""

    def run(values: np.ndarray) -> np.ndarray:
        found = estimate_noise([values])
        if found is None:
            return denoise(values)
        seen = found.noise.stabilised(values)
        low, high = float(seen.min()), float(seen.max())
        return found.noise.unstabilised(
            low + (high - low) * denoise((seen - low) / max(high - low, 1e-9))
        )

    return run


def _nl_means(values: np.ndarray) -> np.ndarray:
    sigma = float(estimate_sigma(values))
    return denoise_nl_means(
        values, patch_size=5, patch_distance=7, h=0.8 * sigma, sigma=sigma, fast_mode=True
    )


def _bm3d(values: np.ndarray) -> np.ndarray:
    bm3d: Any = importlib.import_module("bm3d")
    return np.asarray(bm3d.bm3d(values, float(estimate_sigma(values))))
