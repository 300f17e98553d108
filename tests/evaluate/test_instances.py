from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import ImageSizeError
from histomend.evaluate.instances import instance_scores, lost_and_gained


def strips(*ends: tuple[int, int]) -> np.ndarray:
    """Draw nuclei side by side in one row of 40 pixels."""
    labels = np.zeros((1, 40), np.int32)
    for number, (start, stop) in enumerate(ends, 1):
        labels[0, start:stop] = number
    return labels


def test_scores_of_drawn_nuclei_are_counted_by_hand() -> None:
    truth = strips((0, 10), (20, 24), (30, 34))
    found = strips((0, 8), (22, 26), (36, 40))
    # Intersections 8, 2 and 0; unions 10 and 6; the third drawn and the third found stand alone.
    scores = instance_scores(truth, found)
    assert scores.dice == pytest.approx(2 * 10 / (18 + 16))
    assert scores.aji == pytest.approx(10 / (10 + 6 + 4 + 4))
    assert scores.detection == pytest.approx(2 * 1 / 6)
    assert scores.outline == pytest.approx(0.8)
    assert scores.pq == pytest.approx(0.8 / 3)


def test_merged_nuclei_keep_the_area_and_lose_the_instances() -> None:
    truth, merged = strips((0, 10), (10, 20)), strips((0, 20))
    scores = instance_scores(truth, merged)
    assert scores.dice == 1
    assert scores.detection == 0
    assert scores.pq == 0
    assert math.isnan(scores.outline)


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_same_nuclei_by_other_numbers_are_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 5, (6, 6)), np.ones((3, 3), int))
    scores = instance_scores(labels, np.where(labels, (labels * 7) % 50 + 100, 0))
    if labels.any():
        assert (scores.dice, scores.aji, scores.detection, scores.pq) == (1, 1, 1, 1)


def test_nothing_found_is_0_and_nothing_there_is_no_figure() -> None:
    nothing = strips()
    assert instance_scores(strips((0, 5)), nothing).aji == 0
    assert instance_scores(nothing, strips((0, 5))).dice == 0
    assert math.isnan(instance_scores(nothing, nothing).pq)
    with pytest.raises(ImageSizeError):
        instance_scores(nothing, nothing[:, 1:])


def test_nuclei_that_came_or_went_are_counted() -> None:
    before, after = strips((0, 5), (10, 15)), strips((2, 8), (20, 25), (30, 35))
    assert lost_and_gained(before, after) == (1, 2)
    assert lost_and_gained(before, before) == (0, 0)
    assert lost_and_gained(before, strips()) == (2, 0)
    with pytest.raises(ImageSizeError):
        lost_and_gained(before, after[:, 1:])
