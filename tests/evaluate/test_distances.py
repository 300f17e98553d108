from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from histomend.errors import InputError
from histomend.evaluate.distances import Sets, cmmd, fid, kid, kid_over_subsets


def normal(rows: int, features: int, seed: int, shift: float = 0.0, scale: float = 1.0):
    return shift + scale * np.random.default_rng(seed).standard_normal((rows, features))


@pytest.mark.parametrize(("rows", "features"), [(40, 6), (12, 30)])
def test_fid_is_the_textbook_formula(rows: int, features: int) -> None:
    a, b = normal(rows, features, 0, 0.5), normal(rows + 5, features, 1, 0, 2)
    product = np.cov(a.T) @ np.cov(b.T)
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(np.cov(a.T) + np.cov(b.T))
    if rows > features:
        root = np.real(sqrtm(product))
        trace = np.trace(root)
    else:
        trace = np.sqrt(np.linalg.eigvals(product).real.clip(min=0)).sum()
    assert fid(Sets(a, b), draws=20).value == pytest.approx(expected - 2 * trace, rel=1e-4)


def test_kid_and_cmmd_are_their_sums_over_pairs() -> None:
    a, b = normal(7, 4, 0, 0.3), normal(9, 4, 1)

    def mmd2(kernel, x, y, unbiased):
        def within(z):
            pairs = [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j or not unbiased]
            return np.mean([kernel(z[i], z[j]) for i, j in pairs])

        return within(x) + within(y) - 2 * np.mean([kernel(p, q) for p in x for q in y])

    cubic = mmd2(lambda p, q: (p @ q / 4 + 1) ** 3, a, b, True)
    assert kid(Sets(a, b), draws=20).value == pytest.approx(cubic)
    unit = [z / np.linalg.norm(z, axis=1, keepdims=True) for z in (a, b)]
    gaussian = mmd2(lambda p, q: np.exp(-np.square(p - q).sum() / 200), *unit, False)  # type: ignore[call-arg]
    assert cmmd(Sets(a, b), draws=20).value == pytest.approx(1000 * gaussian)


@settings(max_examples=10, deadline=None)
@given(rows=st.integers(3, 40), features=st.integers(1, 12), seed=st.integers(0, 99))
def test_equal_sets_are_at_no_distance(rows: int, features: int, seed: int) -> None:
    a = normal(rows, features, seed)
    order = np.random.default_rng(seed).permutation(rows)
    same = Sets(a, a[order])
    assert fid(same, draws=10).value == pytest.approx(0, abs=1e-6)
    assert cmmd(same, draws=10).value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("distance", [fid, kid, cmmd])
def test_the_farther_the_larger(distance) -> None:
    good = normal(150, 8, 0)
    found = [distance(Sets(normal(150, 8, 1, shift), good)) for shift in (0.0, 0.5, 1.5)]
    assert [f.value for f in found] == sorted(f.value for f in found)
    assert found[0].high < found[1].low
    assert found[1].high < found[2].low
    assert found[0].low < found[0].value < found[0].high
    assert found[0] == distance(Sets(normal(150, 8, 1), good))


def test_kid_does_not_depend_on_how_many_there_are() -> None:
    def mean_of(rows: int) -> float:
        return float(
            np.mean(
                [
                    kid(Sets(normal(rows, 8, k), normal(rows, 8, k + 100)), draws=2).value
                    for k in range(60)
                ]
            )
        )

    assert mean_of(10) == pytest.approx(0, abs=0.06)
    assert mean_of(60) == pytest.approx(0, abs=0.03)


def test_the_interval_covers_what_other_samples_give() -> None:
    found = kid(Sets(normal(120, 6, 0, 0.4), normal(120, 6, 1)), draws=400)
    others = [
        kid(Sets(normal(120, 6, 2 * k, 0.4), normal(120, 6, 2 * k + 1)), draws=2).value
        for k in range(5, 65)
    ]
    width = 2 * 1.96 * float(np.std(others))
    assert found.high - found.low == pytest.approx(width, rel=0.5)


def test_truth_and_restoration_are_drawn_together() -> None:
    truth = normal(60, 6, 0)
    near = truth + normal(60, 6, 1, 0.2, 0.05)
    names = [str(k) for k in range(60)]
    joint, apart = Sets(near, truth, names, names), Sets(near, truth)
    for distance in (fid, cmmd):
        together, alone = distance(joint), distance(apart)
        assert together.value == pytest.approx(alone.value)
        assert together.high - together.low < 0.5 * (alone.high - alone.low)


def test_kid_of_restorations_is_not_flattered_by_their_own_truth() -> None:
    found, independent = [], []
    for seed in range(40):
        truth = normal(30, 6, seed)
        names = [str(k) for k in range(30)]
        near = truth + normal(30, 6, seed + 100, 0.4, 0.05)
        found.append(kid(Sets(near, truth, names, names), draws=2).value)
        independent.append(kid(Sets(near, normal(30, 6, seed + 200)), draws=2).value)
    assert np.mean(found) == pytest.approx(np.mean(independent), rel=0.2)


def test_copies_in_a_group_do_not_narrow_the_interval() -> None:
    a, b = normal(30, 6, 0, 0.5), normal(30, 6, 1)
    names = [str(k) for k in range(30)]
    fivefold = Sets(np.tile(a, (5, 1)), np.tile(b, (5, 1)), names * 5, names * 5)
    alone, copied = (cmmd(sets) for sets in (Sets(a, b, names, names), fivefold))
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_subsets_have_a_mean_and_a_deviation() -> None:
    sets = Sets(normal(90, 6, 0, 0.5), normal(80, 6, 1))
    mean, deviation = kid_over_subsets(sets, size=40)
    assert mean == pytest.approx(kid(sets, draws=2).value, rel=0.1)
    assert 0 < deviation < mean
    whole = Sets(normal(80, 6, 0, 0.5), normal(80, 6, 1))
    assert kid_over_subsets(whole) == (pytest.approx(kid(whole, draws=2).value), pytest.approx(0))


@pytest.mark.parametrize(
    ("judged", "good", "word"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "same network"),
        (np.zeros((1, 3)), np.zeros((5, 3)), "at least two"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "finite"),
        (np.zeros(5), np.zeros((5, 3)), "at least two"),
    ],
)
def test_features_that_cannot_be_compared_are_refused(judged, good, word) -> None:
    with pytest.raises(InputError, match=word):
        Sets(judged, good)


def test_as_many_groups_as_images_are_needed() -> None:
    with pytest.raises(InputError, match="group"):
        kid(Sets(normal(5, 3, 0), normal(5, 3, 1), ["a"]))
