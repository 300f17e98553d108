"""Simulated artifacts: seeded, only where the mask says, and like what they are named after."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.damage.artifacts import EVERY_KIND, simulate
from histomend.errors import (
    ImageSizeError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
)


@pytest.fixture(scope="module")
def field(tissue):
    """Return real tissue at a size that is quick to damage, (256, 256, 3) uint8."""
    return np.ascontiguousarray(tissue[100:356, 100:356])


def textured(height, width, seed):
    """Return pink noise with blue dots: anything with tissue in it will do."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (height, width, 3)) + np.array([190, 130, 170])
    pixels[rng.random((height, width)) < 0.1] = (90, 60, 140)
    return pixels.astype(np.uint8)


@settings(max_examples=45, deadline=None)
@given(
    kind=st.sampled_from(EVERY_KIND),
    height=st.integers(64, 180),
    width=st.integers(64, 180),
    seed=st.integers(0, 10_000),
    area=st.floats(0.02, 0.6),
    mpp=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
)
def test_nothing_changes_outside_the_mask(kind, height, width, seed, area, mpp):
    pixels = textured(height, width, seed)
    before = pixels.copy()
    damaged = simulate(pixels, kind, seed=seed, area=area, mpp=mpp)
    np.testing.assert_array_equal(pixels, before)
    assert damaged.pixels.dtype == np.uint8
    assert damaged.pixels.shape == pixels.shape
    assert damaged.mask.sum() == round(area * (height * width))
    np.testing.assert_array_equal(damaged.pixels[~damaged.mask], pixels[~damaged.mask])


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_the_seed_decides_the_bytes(field, kind):
    first, again = (simulate(field, kind, seed=5) for _ in range(2))
    other = simulate(field, kind, seed=6)
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.mask, again.mask)
    assert (first.pixels != other.pixels).any()
    assert (first.kind, first.seed) == (kind, 5)


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_most_of_the_masked_tissue_is_visibly_altered(field, kind):
    changed = []
    for seed in range(4):
        damaged = simulate(field, kind, seed=seed, area=0.15)
        difference = np.abs(damaged.pixels.astype(int) - field).max(axis=2)
        changed.append((difference[damaged.mask] > 2).mean())
    assert np.mean(changed) > 0.6


@pytest.mark.parametrize("kind", ["fold", "ink", "dark_spot", "debris"])
def test_what_lies_in_the_light_path_takes_light_away(field, kind):
    for seed in range(3):
        damaged = simulate(field, kind, seed=seed, area=0.15)
        assert damaged.pixels[damaged.mask].mean() < field[damaged.mask].mean() - 10


def test_out_of_focus_tissue_loses_its_detail(field):
    damaged = simulate(field, "out_of_focus", seed=1, area=0.3)
    inside = cv2.erode(damaged.mask.astype(np.uint8), np.ones((15, 15))) > 0

    def detail(pixels):
        return cv2.Laplacian(pixels.mean(axis=2), cv2.CV_64F)[inside].var()

    assert detail(damaged.pixels.astype(float)) < 0.3 * detail(field.astype(float))


@pytest.mark.parametrize("kind", ["out_of_focus", "illumination", "stain"])
def test_soft_artifacts_fade_in_from_the_edge_of_the_mask(field, kind):
    damaged = simulate(field, kind, seed=2, area=0.3)
    change = np.abs(damaged.pixels.astype(int) - field).mean(axis=2)
    depth = cv2.distanceTransform(damaged.mask.astype(np.uint8), cv2.DIST_L2, 5)
    edge, middle = (depth > 0) & (depth <= 2), depth > 0.5 * depth.max()
    assert change[edge].mean() < 0.3 * change[middle].mean()


def test_rims_are_sized_in_micrometres(field):
    def darkened(mpp):
        shares = []
        for seed in range(6):
            damaged = simulate(field, "bubble", seed=seed, area=0.2, mpp=mpp)
            loss = field.mean(axis=2) - damaged.pixels.mean(axis=2)
            shares.append((loss[damaged.mask] > 30).mean())
        return np.mean(shares)

    # The same rim covers twice the pixels at half the pixel size.
    assert darkened(0.25) > 1.3 * darkened(1.0)


def test_an_unknown_kind_is_answered_with_those_that_exist(field):
    with pytest.raises(SettingError, match=r"scratch.*fold, bubble, ink, debris, dark_spot"):
        simulate(field, "scratch", seed=0)


def test_a_negative_seed_is_refused(field):
    with pytest.raises(SettingError, match="-1"):
        simulate(field, "fold", seed=-1)


@pytest.mark.parametrize("area", [0.0, 1.0, 12.0])
def test_an_impossible_area_is_refused(field, area):
    with pytest.raises(SettingError, match="between 0 and 1"):
        simulate(field, "fold", seed=0, area=area)


@pytest.mark.parametrize("mpp", [0.0, -0.5, 100.0, float("nan")])
def test_an_impossible_pixel_size_is_refused(field, mpp):
    with pytest.raises(PixelSizeError, match="mpp"):
        simulate(field, "fold", seed=0, mpp=mpp)


@pytest.mark.parametrize("shape", [(63, 200, 3), (200, 40, 3)])
def test_an_image_that_is_too_small_is_refused(shape):
    with pytest.raises(ImageSizeError, match="64 px"):
        simulate(np.zeros(shape, np.uint8), "fold", seed=0)


@pytest.mark.parametrize(
    ("pixels", "word"),
    [
        (np.zeros((80, 80), np.uint8), "RGB"),
        (np.zeros((80, 80, 4), np.uint8), "RGB"),
        (np.zeros((80, 80, 3), np.uint16), "uint16"),
        (np.zeros((80, 80, 3), np.float32), "float32"),
    ],
)
def test_other_arrays_are_refused_by_what_is_wrong_with_them(pixels, word):
    with pytest.raises(UnsupportedImageError, match=word):
        simulate(pixels, "fold", seed=0)


@pytest.mark.parametrize("kind", EVERY_KIND)
@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_images_do_no_harm(kind, value):
    pixels = np.full((70, 90, 3), value, np.uint8)
    damaged = simulate(pixels, kind, seed=0)
    np.testing.assert_array_equal(damaged.pixels[~damaged.mask], pixels[~damaged.mask])
