"""Paired tests say what textbooks do, and never find what is not there."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histomend.errors import InputError
from histomend.evaluate.harness.significance import (
    compare,
    corrected,
    holm,
    rank_biserial,
)

# The differences of Wilcoxon's own table of 1945 (Darwin's maize): W- = 24 of 120, p = 0.041.
MAIZE = np.array([49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48])
NAMES = [str(k) for k in range(15)]


def test_darwins_maize_comes_out_as_wilcoxon_found_it() -> None:
    found = compare(MAIZE, np.zeros(15), NAMES)
    assert found.p == pytest.approx(0.0413, abs=5e-4)
    # Ranks of the two negative ones: 14 and 10 of 120 in all.
    assert found.effect == pytest.approx((96 - 24) / 120)
    assert found.difference.value == pytest.approx(MAIZE.mean())
    assert found.groups == 15


def test_crops_of_one_tile_are_one_observation() -> None:
    one = np.repeat(MAIZE, 4)
    found = compare(one, np.zeros(60), [name for name in NAMES for _ in range(4)])
    assert found.p == pytest.approx(compare(MAIZE, np.zeros(15), NAMES).p)
    assert found.groups == 15


def test_what_cannot_be_compared_says_so() -> None:
    equal = compare(np.ones(4), np.ones(4), list("abcd"))
    assert (equal.p, math.isnan(equal.effect)) == (1.0, True)
    assert equal.text() == "+0.00, equal"
    nothing = compare(np.full(3, np.nan), np.ones(3), list("abc"))
    assert nothing.text() == "–"
    infinite = compare(np.array([np.inf, 2.0, 3.0]), np.ones(3), list("abc"))
    assert infinite.groups == 2
    with pytest.raises(InputError, match="same cases"):
        compare(np.ones(3), np.ones(4), list("abc"))


def test_holm_is_that_of_the_textbook() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    found = holm([math.nan, 0.04])
    assert math.isnan(found[0])
    assert found[1] == 0.04


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_and_keeps_their_order(values: list[float]) -> None:
    found = holm(values)
    assert all(
        0 <= p <= 1 and after >= p for p, after in zip(values, found, strict=True) for p in [p]
    )
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= 0)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_the_effect_turns_with_the_sign(values: list[int]) -> None:
    differences = np.array(values, dtype=np.float64)
    found, turned = rank_biserial(differences), rank_biserial(-differences)
    if not differences.any():
        assert math.isnan(found)
    else:
        assert -1 <= found <= 1
        assert found == pytest.approx(-turned)


def test_correction_is_over_the_rows() -> None:
    found = {"a": compare(MAIZE, np.zeros(15), NAMES), "b": compare(-MAIZE, np.zeros(15), NAMES)}
    after = corrected(found)
    assert after["a"].p == pytest.approx(2 * found["a"].p)
    assert after["b"].effect == -after["a"].effect


def test_without_a_difference_few_are_found() -> None:
    rng = np.random.default_rng(0)
    found = [
        compare(rng.normal(size=12), rng.normal(size=12), [str(k) for k in range(12)]).p
        for _ in range(300)
    ]
    # 5 % in the long run; more than 9 % of 300 by chance once in two thousand times.
    assert np.mean(np.array(found) < 0.05) < 0.09
