from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from histomend.errors import InputError
from histomend.evaluate.agreement import agreement, monotony


def test_correlations_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(11.0), 5)  # with ties, as levels have them
    scores = true + rng.normal(0, 3, 55)
    found = agreement(scores, true)
    assert found.spearman == pytest.approx(stats.spearmanr(scores, true)[0])
    assert found.kendall == pytest.approx(stats.kendalltau(scores, true)[0])
    assert found.pearson == pytest.approx(np.corrcoef(scores, true)[0, 1])


def test_a_curved_relation_lowers_pearson_alone() -> None:
    true = np.arange(11.0)
    found = agreement(np.exp(true), true)
    assert found.spearman == found.kendall == pytest.approx(1)
    assert found.pearson < 0.9


def test_equal_scores_have_no_rank() -> None:
    assert np.isnan(agreement([0.5] * 4, [1, 2, 3, 4]).spearman)
    with pytest.raises(InputError, match="one length"):
        agreement([1, 2], [1, 2, 3])
    with pytest.raises(InputError, match="NaN"):
        agreement([1, np.nan], [1, 2])


def test_content_and_level_are_told_apart() -> None:
    level = -np.arange(5.0)
    follows = monotony(np.stack([level, level]))
    assert (follows.in_order, follows.wholly, follows.explained) == (1, 1, 1)
    assert follows.spread == 0
    # The same fall in each image, but images lie two levels apart: one standard deviation each.
    apart = monotony(np.stack([level - 1, level + 1]))
    assert (apart.in_order, apart.spread) == (1, pytest.approx(1))
    assert apart.explained == pytest.approx(2 / 3)
    once_wrong = monotony([[4, 3, 2, 1], [4, 3, 3, 1]])
    assert (once_wrong.in_order, once_wrong.wholly) == (pytest.approx(5 / 6), 0.5)


def test_a_score_of_content_alone_explains_nothing() -> None:
    blind = monotony([[1, 1, 1], [5, 5, 5]])
    assert (blind.in_order, blind.explained) == (0, 0)
    assert np.isnan(blind.spread)
    with pytest.raises(InputError, match="at least two levels"):
        monotony([[1], [2]])
