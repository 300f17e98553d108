from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from skimage.feature import graycomatrix, graycoprops

from histomend.errors import ImageSizeError, InputError, MaskError, UnsupportedImageError
from histomend.evaluate.nuclear_features import (
    INTENSITY,
    TEXTURE,
    grey_levels,
    intensity_features,
    nuclear_l1,
    over_images,
    texture_features,
)


def field(seed: int, size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Make an image of few colours, so that pairs repeat, and nuclei of odd shapes on it."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 12, (size, size, 3)).astype(np.uint8) * 20
    y, x = np.mgrid[:size, :size]
    labels = np.zeros((size, size), np.int32)
    for number in (3, 1, 70):
        cy, cx, a, b = rng.uniform([0, 0, 1, 1], [size - 1, size - 1, 9, 9])
        labels[((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 <= 1] = number
    return pixels, labels


def test_grey_values_of_a_drawn_nucleus_are_exact() -> None:
    grey = np.full((6, 6), 200, np.uint8)
    grey[2, 1:5] = [0, 0, 0, 4]
    labels = np.zeros((6, 6), np.int32)
    labels[2, 1:5] = 9
    # Mean 1; deviations -1, -1, -1, 3: variance 3, third moment 6, fourth 21.
    expected = [1.0, math.sqrt(3), 6 / 3**1.5, 21 / 9 - 3]
    np.testing.assert_allclose(intensity_features(grey, labels), [expected], rtol=1e-14)


def test_texture_of_a_drawn_nucleus_is_that_of_its_matrix() -> None:
    # Of [[0, 0], [0, 2]] each direction has one pair of equal values (1 in the matrix) and one of
    # unequal ones (half a count in two cells), or one pair alone.
    grey = np.zeros((4, 4), np.uint8)
    grey[2, 2] = 2
    labels = np.zeros((4, 4), np.int32)
    labels[1:3, 1:3] = 1
    across = np.array([4 / 2, 2 / 2, (1 + 1 / 5) / 2, math.sqrt(0.25 + 2 * 0.0625)])
    falling = np.array([4, 2, 1 / 5, math.sqrt(2 * 0.25)])
    rising = np.array([0, 0, 1, 1])
    expected = (2 * across + falling + rising) / 4
    np.testing.assert_allclose(texture_features(grey, labels), [expected], rtol=1e-14)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=6, deadline=None)
def test_features_are_those_of_the_libraries(seed: int) -> None:
    pixels, labels = field(seed)
    grey = grey_levels(pixels)
    intensity, texture = intensity_features(grey, labels), texture_features(grey, labels)
    numbers = np.unique(labels[labels > 0])
    assert len(intensity) == len(texture) == len(numbers)
    angles = [0, math.pi / 4, math.pi / 2, 3 * math.pi / 4]
    for number, of_grey, of_pairs in zip(numbers, intensity, texture, strict=True):
        own = grey[labels == number].astype(float)
        assert of_grey[:2] == pytest.approx([own.mean(), own.std()])
        if own.std():
            assert of_grey[2:] == pytest.approx([stats.skew(own), stats.kurtosis(own)])
        rows, columns = np.nonzero(labels == number)
        box = grey[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if min(box.shape) > 1:
            matrix = graycomatrix(box, [1], angles, 256, symmetric=True, normed=True)
            expected = [graycoprops(matrix, name).mean() for name in TEXTURE]
            np.testing.assert_allclose(of_pairs, expected, rtol=1e-9, atol=1e-12)


def test_boxes_without_neighbours_in_some_direction_have_a_texture_all_the_same() -> None:
    labels = np.zeros((5, 5), np.int32)
    labels[0, 0] = 1
    labels[4, 1:4] = 2
    grey = np.zeros((5, 5), np.uint8)
    grey[4, 1:4] = [10, 11, 12]
    texture = texture_features(grey, labels)
    np.testing.assert_allclose(texture[0], [0, 0, 1, 1])
    np.testing.assert_allclose(texture[1], [1, 1, 0.5, math.sqrt(4 / 16)])


@given(seed=st.integers(0, 10_000), turns=st.integers(0, 3))
@settings(max_examples=5, deadline=None)
def test_what_is_the_same_differs_by_nothing_and_turning_changes_nothing(
    seed: int, turns: int
) -> None:
    truth, labels = field(seed)
    restored = field(seed + 1)[0]
    same = nuclear_l1(truth, truth.copy(), labels)
    assert (same.intensity, same.texture) == (0.0, 0.0)
    assert same.nuclei == len(np.unique(labels)) - 1
    there = nuclear_l1(truth, restored, labels)
    back = nuclear_l1(restored, truth, labels)
    turned = nuclear_l1(*(np.rot90(x, turns) for x in (truth, restored, labels)))
    for other in (back, turned):
        assert other.intensity == pytest.approx(there.intensity)
        assert other.texture == pytest.approx(there.texture)
    assert there.intensity == pytest.approx(sum(there.parts[name] for name in INTENSITY))
    assert there.texture == pytest.approx(sum(there.parts[name] for name in TEXTURE))


def test_only_nuclei_count_and_a_blur_is_told() -> None:
    truth, labels = field(3)
    rows, columns = np.nonzero(labels)
    elsewhere = truth.copy()
    boxes = np.zeros(labels.shape, bool)
    for number in np.unique(labels[labels > 0]):
        r, c = np.nonzero(labels == number)
        boxes[r.min() : r.max() + 1, c.min() : c.max() + 1] = True
    elsewhere[~boxes] = 0
    assert nuclear_l1(truth, elsewhere, labels).texture == 0
    assert nuclear_l1(truth, elsewhere, labels).intensity == 0
    brighter = truth.copy()
    brighter[rows, columns] = np.minimum(brighter[rows, columns] + 5, 255)
    told = nuclear_l1(truth, brighter, labels)
    assert told.parts["mean"] == pytest.approx(5, abs=0.05)  # but for rounding to grey levels
    assert told.parts["sd"] == pytest.approx(0, abs=0.05)
    flat = np.full_like(truth, 100)
    assert nuclear_l1(truth, flat, labels).parts["energy"] > 0
    assert math.isfinite(nuclear_l1(truth, flat, labels).intensity)


def test_grey_has_256_levels_whatever_the_depth() -> None:
    pixels = np.array([[[255, 255, 255], [0, 0, 0], [100, 50, 200]]], np.uint8)
    expected = [[255, 0, round(0.2125 * 100 + 0.7154 * 50 + 0.0721 * 200)]]
    np.testing.assert_array_equal(grey_levels(pixels), expected)
    np.testing.assert_array_equal(grey_levels(pixels.astype(np.uint16) * 257), expected)


def test_no_nuclei_is_no_agreement() -> None:
    truth, labels = field(1)
    none = nuclear_l1(truth, truth, np.zeros_like(labels))
    assert math.isnan(none.intensity)
    assert math.isnan(none.texture)
    assert all(math.isnan(part) for part in none.parts.values())
    assert none.nuclei == 0
    assert "No nuclei" in none.message
    some = nuclear_l1(truth, field(2)[0], labels)
    assert over_images([none, some]) == some
    assert "No nuclei" in over_images([none, none]).message


def test_images_count_the_same_however_many_nuclei_they_have() -> None:
    truth, labels = field(1)
    one = nuclear_l1(truth, field(2)[0], np.where(labels == labels.max(), labels, 0))
    other = nuclear_l1(truth, field(3)[0], labels)
    both = over_images([one, other])
    assert both.texture == pytest.approx((one.texture + other.texture) / 2)
    assert both.parts["sd"] == pytest.approx((one.parts["sd"] + other.parts["sd"]) / 2)
    assert both.nuclei == one.nuclei + other.nuclei


def test_what_cannot_be_compared_is_refused() -> None:
    truth, labels = field(1)
    with pytest.raises(ImageSizeError):
        nuclear_l1(truth, truth[:-1], labels)
    with pytest.raises(UnsupportedImageError, match="float64"):
        nuclear_l1(truth, truth.astype(float), labels)
    with pytest.raises(MaskError, match="bool"):
        nuclear_l1(truth, truth, labels > 0)
    with pytest.raises(MaskError, match="of shape"):
        nuclear_l1(truth, truth, labels[1:])
    with pytest.raises(InputError, match="no images"):
        over_images([])
