"""The noise of a camera, estimated from an image: how the variance grows with the mean.

The idea is that of Foi, Trimeche, Katkovnik and Egiazarian 2008 ("Practical Poissonian-Gaussian
noise modeling and fitting for single-image raw-data"): where an image is smooth, what a high-pass
filter leaves is noise, and its variance against the local mean is a line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.image.stabilise import CameraNoise

Array = npt.NDArray[np.floating[Any]]
# Immerkær's kernel (1996): no response to planes, nor to any sum of a row and a column. White
# noise of variance 1 becomes noise of variance 1.
HIGH_PASS = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6
# Levels of brightness at which the variance is taken, each from as many pixels.
LEVELS = 32
# Share of a level's pixels that are used: those on the smoothest ground.
SMOOTH_SHARE = 0.4
# A cell of which more than this share lies at the ends of the range is clipped.
CLIPPED_SHARE = 0.02
# Pixels that are looked at, at most, of all planes together.
MOST_PIXELS = 4_000_000
# Noise below this share of the values is rounding of the arithmetic here.
ROUNDING = 1e-5
# The noise of neighbouring pixels is alike where averaging 2×2 of them leaves more than so many
# times the variance that it leaves of white noise.
CORRELATED = 1.6


@dataclass(frozen=True)
class NoiseEstimate:
    """What an image says of its camera.

    Parameters
    ----------
    noise : CameraNoise
    correlation : float
        Variance of 2×2 means over what it is for white noise: above 1 where the noise of
        neighbouring pixels is alike, as in images that were filtered, enlarged or compressed.
    """

    noise: CameraNoise
    correlation: float

    @property
    def is_white(self) -> bool:
        """Whether the noise of neighbouring pixels is independent."""
        return self.correlation <= CORRELATED


def estimate_noise(planes: Iterable[npt.NDArray[Any]]) -> NoiseEstimate | None:
    """Estimate the noise of the camera that took some planes.

    Parameters
    ----------
    planes : (H, W) arrays of one channel
        Of the same exposure; both sides at least 16 px.

    Returns
    -------
    NoiseEstimate or None
        None where there is no noise to be seen: constant, synthetic or perfectly clean planes.
        Only the line variance = gain mean + b is known; the offset and the read noise are the
        smallest that give it.
    """
    means, variances, coarse = _samples(list(planes))
    if len(means) < 2 * LEVELS:
        return None
    order = np.argsort(means, kind="stable")
    levels = np.array_split(order, LEVELS)
    x = np.array([means[part].mean() for part in levels])
    y = np.array([variances[part].mean() for part in levels])
    if not y.max() > (ROUNDING * np.abs(x).max()) ** 2:
        return None
    gain, b = _line(x, y)
    reach = float(x.max() - x.min())
    # Noise of one strength: the smallest gain that is no division by nothing.
    gain = max(gain, 1e-4 * float(np.median(y)) / max(reach, 1e-12))
    noise = (
        CameraNoise(gain, 0.0, float(np.sqrt(b))) if b >= 0 else CameraNoise(gain, -b / gain, 0.0)
    )
    # Structure looks like correlated noise too, but hardly at each brightness.
    ratios = [4 * coarse[part].mean() / max(variances[part].mean(), 1e-30) for part in levels]
    correlation = float(np.quantile(ratios, 0.2))
    return NoiseEstimate(noise, correlation)


def _samples(planes: list[npt.NDArray[Any]]) -> tuple[Array, Array, Array]:
    """Return local mean, noise variance, and that of 2×2 means, at the smoothest places."""
    budget = MOST_PIXELS // max(len(planes), 1)
    found = [_of_plane(_central(plane, budget)) for plane in planes]
    means, variances, coarse = (np.concatenate(part) for part in zip(*found, strict=True))
    return means, variances, coarse


def _central(plane: npt.NDArray[Any], budget: int) -> Array:
    """Return the middle of a plane, at most `budget` pixels and both sides even."""
    height, width = plane.shape
    shrink = min(1.0, np.sqrt(budget / (height * width)))
    rows, columns = (2 * max(8, int(n * shrink) // 2) for n in (height, width))
    y, x = (height - rows) // 2, (width - columns) // 2
    return np.asarray(plane[max(y, 0) : y + rows, max(x, 0) : x + columns], np.float32)


def _of_plane(plane: Array) -> tuple[Array, Array, Array]:
    # Cells of 8×8 px: each gives one mean, one variance, and how smooth its ground is.
    side = 8
    height, width = (n // side * side for n in plane.shape)
    plane = plane[:height, :width]
    half = cv2.resize(plane, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    means = _cell_means(plane, side)
    variances = _cell_means(cv2.filter2D(plane, -1, HIGH_PASS) ** 2, side)
    coarse = _cell_means(cv2.filter2D(half, -1, HIGH_PASS) ** 2, side // 2)
    smooth = cv2.GaussianBlur(plane, (0, 0), 2.0)
    slope = cv2.Sobel(smooth, -1, 1, 0) ** 2 + cv2.Sobel(smooth, -1, 0, 1) ** 2
    rough = _cell_means(slope, side)
    ends = (plane == plane.min()) | (plane == plane.max())
    clipped = _cell_means(ends.astype(np.float32), side)
    # Where hardly a cell is whole, those that are clipped least.
    fewest = np.sort(clipped)[min(8 * LEVELS, len(clipped)) - 1]
    usable = clipped <= max(CLIPPED_SHARE, float(fewest))
    chosen = _smoothest(means[usable], rough[usable])
    return means[usable][chosen], variances[usable][chosen], coarse[usable][chosen]


def _cell_means(values: npt.NDArray[Any], side: int) -> Array:
    height, width = (n // side for n in values.shape)
    cells = values.reshape(height, side, width, side)
    return np.asarray(cells.mean(axis=(1, 3), dtype=np.float64)).ravel()


def _smoothest(means: Array, rough: Array) -> npt.NDArray[np.intp]:
    """Return the cells on the smoothest ground, as many at each brightness."""
    parts = np.array_split(np.argsort(means, kind="stable"), LEVELS)
    kept = [
        part[np.argsort(rough[part], kind="stable")[: max(1, int(SMOOTH_SHARE * len(part)))]]
        for part in parts
        if len(part)
    ]
    return np.concatenate(kept)


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Return slope and intercept of a line, for points some of which lie too high.

    Structure adds to the variance and nothing takes from it, so points above the line count less
    the higher they are. A variance counts relative to itself: its error grows with it.
    """
    design = np.stack([x, np.ones_like(x)], 1)
    floor = max(float(np.median(y)) * 1e-3, 1e-30)
    weights = 1 / np.maximum(y, floor)
    fit: Array = np.zeros(2)
    for _ in range(20):
        fit, *_ = np.linalg.lstsq(design * weights[:, None], y * weights, rcond=None)
        expected = np.maximum(design @ fit, floor)
        off = (y - expected) / expected
        # About twice the error of a level's variance lies within the noise of the estimate.
        robust = np.where(off > 0.1, 0.1 / np.maximum(off, 0.1), 1.0)
        weights = robust / expected
    slope, intercept = float(fit[0]), float(fit[1])
    if slope <= 0:
        return 0.0, float(np.average(y, weights=weights))
    return slope, intercept
