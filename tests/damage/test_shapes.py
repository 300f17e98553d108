"""Masks have the area asked for, whatever their shape, and come again with the same generator."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from histomend.damage.shapes import FAMILIES, random_mask
from histomend.errors import ImageSizeError, SettingError


@settings(max_examples=40, deadline=None)
@example(height=119, width=35, area=0.3, family=None, seed=0)
@given(
    height=st.integers(2, 300),
    width=st.integers(2, 300),
    area=st.floats(0.001, 0.95),
    family=st.sampled_from([None, *FAMILIES]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_mask_has_exactly_the_area_asked_for(height, width, area, family, seed):
    mask = random_mask((height, width), np.random.default_rng(seed), area=area, family=family)
    assert mask.shape == (height, width)
    assert mask.dtype == np.bool_
    # Of 1249.5 px both neighbours are right: how the product is rounded decides.
    exact = area * mask.size
    assert abs(mask.sum() - min(max(exact, 1), mask.size - 1)) < 0.5 + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_the_generator_decides_the_mask(family):
    def draw(seed):
        return random_mask((96, 128), np.random.default_rng(seed), area=0.1, family=family)

    np.testing.assert_array_equal(draw(3), draw(3))
    assert (draw(3) != draw(4)).any()


def test_masks_lie_in_the_middle_and_at_the_border():
    rng = np.random.default_rng(0)
    at_the_top = [random_mask((64, 64), rng, area=0.1)[0].any() for _ in range(40)]
    assert 5 < sum(at_the_top) < 35


@pytest.mark.parametrize("area", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_an_impossible_area_is_refused(area):
    with pytest.raises(SettingError, match="between 0 and 1"):
        random_mask((64, 64), np.random.default_rng(0), area=area)


def test_an_unknown_family_is_answered_with_those_that_exist():
    with pytest.raises(SettingError, match="blob, band, stroke, specks, bite"):
        random_mask((64, 64), np.random.default_rng(0), area=0.1, family="star")


def test_a_line_of_pixels_is_no_image():
    with pytest.raises(ImageSizeError, match="1x64"):
        random_mask((64, 1), np.random.default_rng(0), area=0.1)
