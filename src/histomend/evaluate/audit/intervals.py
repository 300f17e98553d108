"""Intervals for restored values that hold as often as they say, by conformal prediction.

A value is expected within its mean over seeds, give or take a factor times their spread (Lei,
G'Sell, Rinaldo, Tibshirani and Wasserman 2018, section 5.2). The factor is the one that would have
held in the trials, whose truth is known; that it holds for the wanted share of the pixels of a
further trial follows from conformal risk control (Angelopoulos, Bates, Fisch, Lei and Schuster
2022, eq. 4, with the share of pixels outside as the loss).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from histomend.evaluate.audit.trials import Trials
from histomend.evaluate.texture import LUMA

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LEVEL = 0.9
# Standard deviations of a few seeds are rough: they are averaged over so many pixels.
SMOOTH_PX = 4.0
# Seeds that agree by chance have no spread, and are no better for it: this share of how much sound
# tissue varies is added, and two grey levels at least. Without it one wrong place that all seeds
# agree on makes all intervals as wide as the range.
ADDED_SHARE, LEAST_ADDED = 0.5, 2 / 255


@dataclass(frozen=True)
class Intervals:
    """Where the luma of each restored pixel is expected.

    Attributes
    ----------
    factor : float
        Half the width of an interval over the spread of the seeds; infinite where too few trials
        were made to promise the level.
    middle, half_width : (H, W) float32
        Luma from 0 to 1.
    coverage : float
        Share of the pixels of each trial that lie within its interval, with the factor of all
        other trials; mean over trials. NaN with fewer than two.
    trials : int
    level : float
    """

    factor: float
    middle: Floats
    half_width: Floats
    coverage: float
    trials: int
    level: float = LEVEL


def intervals(
    truth: npt.NDArray[np.uint8], mask: Mask, trials: Trials, *, level: float = LEVEL
) -> Intervals:
    """Return intervals that hold for a share `level` of the pixels, trials being what tells.

    Parameters
    ----------
    truth : (H, W, 3) uint8
        The image before it was restored: the truth in all trials.
    mask : (H, W) bool
        What was damaged, of which the truth is not known.
    trials : Trials
        Restored with at least two seeds.
    level : float in (0, 1)
    """
    lumas = np.stack([luma(drawn) for drawn in trials.drawn])
    known = luma(truth)
    low, high = np.quantile(known[~mask], [0.25, 0.75])
    added = np.float32(max(ADDED_SHARE * (high - low), LEAST_ADDED))
    middle, spread = lumas.mean(0), _smooth(lumas.std(0, ddof=1)) + added
    scores = []
    for number, (_, shape) in enumerate(trials.masks):
        here = trials.place(number)
        off = np.abs(known[here] - middle[here])[shape]
        scores.append(off / spread[here][shape])
    factor = conformal_factor(scores, level)
    held = [
        float((own <= conformal_factor(scores[:k] + scores[k + 1 :], level)).mean())
        for k, own in enumerate(scores)
    ]
    coverage = float(np.mean(held)) if len(held) > 1 else math.nan
    half = np.minimum(factor * spread, 1.0).astype(np.float32)
    return Intervals(factor, middle, half, coverage, len(scores), level)


def conformal_factor(scores: list[Floats], level: float) -> float:
    """Return the quantile of scores that holds for a share `level` of a further trial's pixels.

    Trials are exchangeable, pixels of one are not independent: each trial counts as one, and the
    one to come could be anything.

    Parameters
    ----------
    scores : list of (N,) float
        Of the pixels of each trial.
    level : float

    Returns
    -------
    float
        Infinite where there are too few trials for the level.
    """
    count = len(scores)
    wanted = level * (count + 1) / max(count, 1)
    if count == 0 or wanted > 1:
        return math.inf
    values = np.concatenate(scores)
    weights = np.concatenate([np.full(len(own), 1 / (count * len(own))) for own in scores])
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    at = min(int(np.searchsorted(reached, wanted - 1e-9)), len(values) - 1)
    return float(values[order][at])


def luma(pixels: npt.NDArray[np.uint8]) -> Floats:
    """Return (H, W) luma from 0 to 1 of (H, W, 3) uint8."""
    return np.asarray(pixels.astype(np.float32) @ LUMA.astype(np.float32) / 255, np.float32)


def _smooth(spread: Floats) -> Floats:
    """Average variances, where there are any: outside masks there are none."""
    there = (spread > 0).astype(np.float32)
    total = cv2.GaussianBlur(np.square(spread), (0, 0), SMOOTH_PX)
    weight = cv2.GaussianBlur(there, (0, 0), SMOOTH_PX)
    mean = np.sqrt(total / np.maximum(weight, 1e-3))
    return np.where(there > 0, mean, 0).astype(np.float32)
