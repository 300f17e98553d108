"""Which t a field looks like, from its pixels alone: no weights, no training.

The estimator of Chen, Zhu and Heng 2015 ("An Efficient Statistical Method for Image Noise Level
Estimation"), which RSCD is compared with in place of its calibrator, and which Regularized Reverse
Diffusion starts from. It takes noise for white, Gaussian and of one strength over the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.diffusion.schedule import Schedule
from histomend.errors import ImageSizeError, ValueRangeError

PATCH_PX = 8
"""Side of the patches, as in the paper."""
# Patches overlap by all but a pixel while there are no more than so many; the eigenvalues of
# larger fields do not become better by more.
MOST_PATCHES = 100_000
_CHUNK = 8192


def noise_level(values: npt.NDArray[np.floating]) -> float:
    """Estimate the standard deviation of the noise in a field.

    Clean patches fill only a few dimensions of the space of patches, and noise fills all of them
    alike. So the smallest eigenvalues of the patches' covariance are the variance of the noise,
    and the largest set of them whose mean is not above its median holds noise alone (section 4).

    Parameters
    ----------
    values : (H, W, C) float
        In any unit. The noise is taken to be as strong in each channel.

    Returns
    -------
    float
        In the unit of `values`; 0 for a constant field.

    Raises
    ------
    ImageSizeError
        If the field holds fewer patches than a patch has values: 16 px a side are enough for one
        channel, and 22 for three.
    ValueRangeError
        NaN or infinite values.
    """
    height, width, channels = values.shape
    across, down = width - PATCH_PX + 1, height - PATCH_PX + 1
    size = PATCH_PX * PATCH_PX * channels
    if min(across, down) < 1 or across * down < size:
        raise ImageSizeError(
            f"The noise of a field of {width}x{height} px cannot be estimated: it holds fewer "
            f"than {size} patches of {PATCH_PX}x{PATCH_PX} px. Use a larger field."
        )
    if not np.isfinite(values).all():
        raise ValueRangeError(
            "The noise cannot be estimated: there are NaN or infinite values. Put measured ones "
            "in their places."
        )
    eigenvalues = np.linalg.eigvalsh(_covariance(values, size))[::-1].clip(min=0)
    # Mean and median of the eigenvalues from the i-th on, for each i.
    count = np.arange(size, 0, -1)
    means = np.cumsum(eigenvalues[::-1])[::-1] / count
    first = np.arange(size)
    lower, upper = first + (count - 1) // 2, first + count // 2
    medians = (eigenvalues[lower] + eigenvalues[upper]) / 2
    # The last set is one eigenvalue, its own mean and median; rounding must not make it miss.
    found = int(np.argmax(means <= medians * (1 + 1e-9)))
    return float(np.sqrt(means[found]))


def _covariance(values: npt.NDArray[np.floating], size: int) -> npt.NDArray[np.float64]:
    """Return the covariance (size, size) of the field's patches."""
    views = np.lib.stride_tricks.sliding_window_view(values, (PATCH_PX, PATCH_PX), axis=(0, 1))
    step = int(np.ceil(np.sqrt(views.shape[0] * views.shape[1] / MOST_PATCHES)))
    views = views[::step, ::step]
    # Of values far from 0 the squares would swamp their spread.
    middle = values.mean(axis=(0, 1), dtype=np.float64)[:, None, None]
    rows = max(1, _CHUNK // views.shape[1])
    total, products, number = np.zeros(size), np.zeros((size, size)), 0
    for start in range(0, len(views), rows):
        patches = (views[start : start + rows] - middle).reshape(-1, size)
        total += patches.sum(axis=0)
        products += patches.T @ patches
        number += len(patches)
    mean = total / number
    covariance: npt.NDArray[np.float64] = products / number - np.outer(mean, mean)
    return covariance


def step_of(sigma: float, schedule: Schedule, *, dimmed: bool = False) -> int:
    """Return the t at which a schedule's noise is nearest to `sigma`.

    Parameters
    ----------
    sigma : float
        Standard deviation of the noise in an image in [-1, 1].
    schedule : Schedule
    dimmed : bool
        Whether alpha_t times the image is taken to be x_t, and not the image as it is.
    """
    levels = schedule.sigma / schedule.alpha if dimmed else schedule.sigma
    return int((levels - sigma).abs().argmin())


@dataclass(frozen=True)
class NoiseEstimator:
    """Tells t from the estimated noise; takes a calibrator's place.

    Parameters
    ----------
    schedule : Schedule
        Whose t it tells.
    dimmed : bool
        See `step_of`.
    """

    schedule: Schedule
    dimmed: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """Return t (B,) for x (B, C, H, W) in [-1, 1], float32 on the device of x.

        Raises
        ------
        ImageSizeError, ValueRangeError
            See `noise_level`.
        """
        fields = x.detach().float().cpu().permute(0, 2, 3, 1).numpy()
        found = [
            float(step_of(noise_level(field), self.schedule, dimmed=self.dimmed))
            for field in fields
        ]
        return torch.tensor(found, device=x.device)
