"""What the answers of raters say: shares with intervals, and how far raters agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from histomend.errors import InputError


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a share (Wilson 1927), which holds near 0 and 1 too.

    Parameters
    ----------
    successes, trials : int
    level : float in (0, 1)

    Returns
    -------
    (low, high)
        (0, 1) without any trial.

    Raises
    ------
    InputError
        More successes than trials, or fewer than none.
    """
    if not 0 <= successes <= trials or not 0 < level < 1:
        raise InputError(
            f"{successes} of {trials} at a level of {level} is no share: count successes from 0 "
            "to the number of trials, and name a level between 0 and 1."
        )
    if trials == 0:
        return 0.0, 1.0
    z2 = float(stats.norm.ppf((1 + level) / 2)) ** 2
    share = successes / trials
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(z2 * (share * (1 - share) / trials + z2 / (4 * trials**2)))
    spread /= 1 + z2 / trials
    # At the ends exactly 0 and 1, whatever rounding says.
    low = 0.0 if successes == 0 else middle - spread
    return low, 1.0 if successes == trials else middle + spread


def fleiss_kappa(counts: npt.ArrayLike) -> float:
    """Return how far several raters agree beyond chance (Fleiss 1971): 1 wholly, 0 by chance.

    Parameters
    ----------
    counts : (N, K) int
        How many raters put each of N subjects into each of K classes; of each subject as many.

    Returns
    -------
    float
        NaN where all answers are of one class, so that nothing can be said.

    Raises
    ------
    InputError
        Not all subjects have as many answers, or fewer than two.
    """
    found = np.asarray(counts, np.float64)
    if found.ndim != 2 or not found.size or found.min() < 0 or np.ptp(found.sum(axis=1)) > 0:
        raise InputError(
            "Fleiss' kappa needs as many answers for each subject: a row of counts for each."
        )
    raters = found[0].sum()
    if raters < 2:
        raise InputError("One rater agrees with nobody: kappa needs two or more.")
    observed = float(((found**2).sum(axis=1) - raters).mean() / (raters * (raters - 1)))
    by_chance = float(((found.sum(axis=0) / found.sum()) ** 2).sum())
    return math.nan if by_chance == 1 else (observed - by_chance) / (1 - by_chance)


def matthews(truth: Sequence[bool], said: Sequence[bool]) -> float:
    """Return the correlation of two-way answers with the truth (Matthews 1975), in [-1, 1].

    0 is guessing. NaN where the answers, or the truths, are all alike.

    Raises
    ------
    InputError
        They differ in number.
    """
    if len(truth) != len(said):
        raise InputError(f"{len(said)} answers to {len(truth)} truths cannot be compared.")
    is_true, says_true = np.asarray(truth, bool), np.asarray(said, bool)
    tp = float(np.count_nonzero(is_true & says_true))
    tn = float(np.count_nonzero(~is_true & ~says_true))
    fp = float(np.count_nonzero(~is_true & says_true))
    fn = float(np.count_nonzero(is_true & ~says_true))
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return math.nan if below == 0 else (tp * tn - fp * fn) / math.sqrt(below)
