"""Figures of ratings against values that others published or computed."""

import math

import numpy as np
import pytest

from histomend.errors import InputError
from histomend.evaluate.ratings import fleiss_kappa, matthews, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_of_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=5e-5)
    turned = wilson(trials - successes, trials)
    assert turned == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(5, 5)[1] == 1
    with pytest.raises(InputError, match="no share"):
        wilson(3, 2)


def test_kappa_of_the_example_of_fleiss() -> None:
    """Ten subjects, fourteen raters, five classes: 0.210, as in the encyclopedia's example."""
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(counts) == pytest.approx(0.210, abs=5e-4)


def test_kappa_of_full_and_of_no_agreement() -> None:
    assert fleiss_kappa([[3, 0], [0, 3]]) == 1
    assert fleiss_kappa([[1, 1], [1, 1]]) == -1
    assert math.isnan(fleiss_kappa([[3, 0], [3, 0]]))
    for wrong in ([[1, 2], [1, 1]], [[1, 0]], [], [[-1, 2]]):
        with pytest.raises(InputError):
            fleiss_kappa(wrong)


def test_matthews_of_twelve_cats_and_dogs() -> None:
    """Of eight cats six are found, of four dogs three: 0.478."""
    truth = [True] * 8 + [False] * 4
    said = [True] * 6 + [False] * 2 + [False] * 3 + [True]
    assert matthews(truth, said) == pytest.approx(0.478, abs=5e-4)


def test_matthews_as_another_library_computes_it() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth, said = rng.random((2, 30)) > 0.4
        wanted = metrics.matthews_corrcoef(truth, said)
        assert matthews(list(truth), list(said)) == pytest.approx(wanted, abs=1e-12)
    assert math.isnan(matthews([True, False], [True, True]))
    with pytest.raises(InputError, match="1 answers to 2 truths"):
        matthews([True, False], [True])
