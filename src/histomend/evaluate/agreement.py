"""Does a quality score follow the true quality: over all images, and for each by itself?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from histomend.errors import InputError


@dataclass(frozen=True)
class Agreement:
    """Correlations of scores with true ones, each in [-1, 1]; NaN where all scores are equal.

    Attributes
    ----------
    spearman : float
        Of ranks.
    kendall : float
        Tau-b: how many more pairs are in the right order than in the wrong one.
    pearson : float
        Of the values, so that a curved relation lowers it.
    """

    spearman: float
    kendall: float
    pearson: float


def agreement(scores: npt.ArrayLike, true: npt.ArrayLike) -> Agreement:
    """Compare scores with true ones.

    Parameters
    ----------
    scores, true : (N,) float

    Raises
    ------
    InputError
        They differ in number, are fewer than two, or are not all finite.
    """
    found, wanted = (np.asarray(values, dtype=np.float64) for values in (scores, true))
    if found.ndim != 1 or found.shape != wanted.shape or len(found) < 2:
        raise InputError(
            f"Scores of shape {found.shape} and true ones of shape {wanted.shape} cannot be "
            "compared: give two lists of one length, of at least two values."
        )
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        raise InputError("Scores that are NaN or infinite cannot be ranked: leave them out.")
    if np.ptp(found) == 0 or np.ptp(wanted) == 0:
        return Agreement(math.nan, math.nan, math.nan)
    return Agreement(
        *(
            float(measure(found, wanted).statistic)
            for measure in (stats.spearmanr, stats.kendalltau, stats.pearsonr)
        )
    )


@dataclass(frozen=True)
class Monotony:
    """How a score falls from level to level of a degradation, image by image.

    Attributes
    ----------
    in_order : float in [0, 1]
        Share of steps to the next level at which an image's score falls.
    wholly : float in [0, 1]
        Share of images whose score falls at each step.
    explained : float in [0, 1]
        Share of the scores' variance that the level explains; the rest is the images' content.
    spread : float
        How much images of one level differ, in levels: the standard deviation of their scores
        over the mean fall per level. NaN where the score does not fall.
    """

    in_order: float
    wholly: float
    explained: float
    spread: float


def monotony(scores: npt.ArrayLike) -> Monotony:
    """Tell how much scores depend on the level, and how much on the image.

    Parameters
    ----------
    scores : (N, L) float
        Of each image at each level, from the best level to the worst.

    Raises
    ------
    InputError
        There is no image, fewer than two levels, or a score that is not finite.
    """
    found = np.asarray(scores, dtype=np.float64)
    if found.ndim != 2 or not len(found) or found.shape[1] < 2 or not np.isfinite(found).all():
        raise InputError(
            f"Scores of shape {found.shape} cannot be judged by level: give a row for each image, "
            "with a finite score at each of at least two levels."
        )
    falls = np.diff(found, axis=1) < 0
    by_level = found.mean(axis=0)
    fall = float(by_level[0] - by_level[-1]) / (found.shape[1] - 1)
    total = float(found.var())
    within = float(((found - by_level) ** 2).mean())
    return Monotony(
        in_order=float(falls.mean()),
        wholly=float(falls.all(axis=1).mean()),
        explained=1 - within / total if total else 0.0,
        spread=math.sqrt(within) / fall if fall > 0 else math.nan,
    )
