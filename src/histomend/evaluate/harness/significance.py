"""Is one row better than another on the same cases: paired tests, effect sizes, correction."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import stats

from histomend.errors import InputError
from histomend.evaluate.tables import Interval, bootstrap


@dataclass(frozen=True)
class Comparison:
    """One row against another, case by case.

    Attributes
    ----------
    difference : Interval
        Mean of the differences, with a 95 % interval from drawing groups.
    effect : float in [-1, 1]
        Matched-pairs rank-biserial correlation (Kerby 2014): by how much the ranks of positive
        differences outweigh those of negative ones. 0: none; NaN without any difference to rank.
    p : float
        Two-sided, of the Wilcoxon signed-rank test on the groups' means, which are independent
        where crops of one tile are not; corrected over rows after `corrected`.
    groups : int
        How many there are. Of fewer than 6 no p can be under 0.05.
    """

    difference: Interval
    effect: float
    p: float
    groups: int

    def text(self, digits: int = 2) -> str:
        """Write it, ``+0.31 (0.10 to 0.52), r 0.62, p 0.03``."""
        if self.groups == 0:
            return "–"
        shown = f"{self.difference.value:+.{digits}f}"
        if self.difference.low < self.difference.high:
            shown += f" ({self.difference.low:.{digits}f} to {self.difference.high:.{digits}f})"
        if math.isnan(self.effect):
            return f"{shown}, equal"
        p = "p < 0.001" if self.p < 0.001 else f"p {self.p:.3f}"
        return f"{shown}, r {self.effect:+.2f}, {p}"


def compare(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], groups: Sequence[str]
) -> Comparison:
    """Compare the figures of two rows.

    Parameters
    ----------
    one, other : (N,) float
        Cases of which either is NaN or infinite are left out.
    groups : sequence of str
        What each case belongs to.

    Raises
    ------
    InputError
        They differ in number.
    """
    if not len(one) == len(other) == len(groups):
        raise InputError(
            f"{len(one)} figures, {len(other)} and {len(groups)} groups cannot be compared: rows "
            "have to be of the same cases."
        )
    known = np.isfinite(one) & np.isfinite(other)
    differences = (one - np.where(known, other, 0))[known]
    names = np.asarray(groups, dtype=str)[known]
    if not len(differences):
        return Comparison(Interval(math.nan, math.nan, math.nan, 0), math.nan, math.nan, 0)
    distinct = np.unique(names)
    means = np.array([differences[names == name].mean() for name in distinct])
    return Comparison(
        bootstrap(differences, groups=list(names)),
        rank_biserial(means),
        _wilcoxon(means),
        len(distinct),
    )


def rank_biserial(differences: npt.NDArray[np.float64]) -> float:
    """Return the matched-pairs rank-biserial correlation; NaN where all differences are 0."""
    some = differences[differences != 0]
    if not len(some):
        return math.nan
    ranks = stats.rankdata(np.abs(some))
    return float((ranks[some > 0].sum() - ranks[some < 0].sum()) / ranks.sum())


def _wilcoxon(differences: npt.NDArray[np.float64]) -> float:
    if not differences.any():
        return 1.0
    with warnings.catch_warnings():
        # Of few or tied differences the exact distribution does not hold, which SciPy says.
        warnings.simplefilter("ignore")
        return float(stats.wilcoxon(differences).pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """Return p values corrected for how many there are (Holm 1979); NaN stays NaN.

    Of all tests the chance that any one is taken for a difference where there is none stays under
    the level, whatever they have to do with each other.
    """
    known = [k for k, p in enumerate(values) if not math.isnan(p)]
    found = list(values)
    highest = 0.0
    for turn, k in enumerate(sorted(known, key=lambda k: values[k])):
        highest = max(highest, min(1.0, (len(known) - turn) * values[k]))
        found[k] = highest
    return found


def corrected(found: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """Return the comparisons of several rows with one, p corrected over the rows."""
    values = holm([one.p for one in found.values()])
    return {name: replace(one, p=p) for (name, one), p in zip(found.items(), values, strict=True)}
