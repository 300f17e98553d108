"""Detection finds what was put in, is calm on clean tissue, and says what it cannot work on."""

import dataclasses

import cv2
import numpy as np
import pytest
from PIL import Image

from histomend.damage.artifacts import simulate
from histomend.detect import features as measuring
from histomend.detect.features import measure
from histomend.detect.threshold import Thresholds, detect
from histomend.errors import ImageSizeError, PixelSizeError, UnsupportedImageError

HEMATOXYLIN, EOSIN = np.array([0.66, 0.68, 0.32]), np.array([0.24, 0.84, 0.48])


def stained(side=384, seed=0):
    """Return sharp H&E-like tissue: fibrous pink, with a nucleus every 11 um; mpp 0.5."""
    rng = np.random.default_rng(seed)
    fibres = cv2.GaussianBlur(rng.standard_normal((side, side)), (0, 0), 0.8)
    fibres = np.clip(0.45 + 0.35 * fibres / fibres.std() * 0.6, 0.05, 1.2)
    nuclei = np.zeros((side, side))
    for _ in range((side // 22) ** 2):
        at = tuple(int(v) for v in rng.integers(0, side, 2))
        axes = tuple(int(v) for v in rng.integers(4, 8, 2))
        cv2.ellipse(nuclei, at, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
    nuclei *= 0.9 + 0.2 * rng.standard_normal((side, side))
    od = fibres[..., None] * EOSIN + np.clip(nuclei, 0, 2)[..., None] * HEMATOXYLIN + 0.05
    return np.clip(255 * np.exp(-od), 0, 255).astype(np.uint8)


def dice(found, truth):
    return 2 * (found & truth).sum() / (found.sum() + truth.sum())


def test_clean_tissue_stays_empty():
    for seed in range(3):
        assert detect(stained(seed=seed), mpp=0.5).mean() < 0.005


def test_empty_glass_stays_empty():
    rng = np.random.default_rng(0)
    glass = rng.integers(238, 246, (200, 300, 3)).astype(np.uint8)
    assert not detect(glass, mpp=0.5).any()


@pytest.mark.parametrize("kind", ["fold", "ink", "dark_spot"])
def test_simulated_artifacts_are_found(kind):
    # Two of the eight inks are red, which is taken for blood: the median is not theirs.
    scores = []
    for seed in range(8):
        damaged = simulate(stained(seed=seed), kind, seed=seed, area=0.1, mpp=0.5)
        scores.append(dice(detect(damaged.pixels, mpp=0.5), damaged.mask))
    assert np.median(scores) > 0.6


def test_a_blurred_region_is_found():
    damaged = simulate(stained(), "out_of_focus", seed=1, area=0.3, mpp=0.5)
    found = detect(damaged.pixels, mpp=0.5)
    assert dice(found, damaged.mask) > 0.5


def test_dirt_on_glass_is_found_and_its_hole_filled():
    glass = np.full((256, 256, 3), 243, np.uint8)
    cv2.circle(glass, (128, 128), 40, (120, 120, 118), 5)
    found = detect(glass, mpp=0.5)
    assert found[128, 128]
    assert found[128, 88]
    assert not found[20, 20]


def test_blood_and_brown_stain_are_no_artifacts():
    pixels = stained()
    for colour in ((205, 60, 75), (140, 95, 55)):
        spotted = pixels.copy()
        cv2.circle(spotted, (190, 190), 60, colour, -1)
        inside = np.zeros(pixels.shape[:2], np.uint8)
        cv2.circle(inside, (190, 190), 50, 1, -1)
        rules = dataclasses.replace(Thresholds(), sharpness=0.0)
        assert detect(spotted, mpp=0.5, thresholds=rules)[inside > 0].mean() < 0.1


def test_thresholds_can_be_set():
    damaged = simulate(stained(), "fold", seed=0, area=0.1, mpp=0.5).pixels
    deaf = Thresholds(dark_offset=9, grey_on_glass=9, grey_on_tissue=9, ink_excess=9, sharpness=0)
    assert not detect(damaged, mpp=0.5, thresholds=deaf).any()
    eager = dataclasses.replace(Thresholds(), dark_offset=0.1)
    assert detect(damaged, mpp=0.5, thresholds=eager).sum() > detect(damaged, mpp=0.5).sum()


@pytest.mark.parametrize("shape", [(64, 64), (65, 301), (257, 130)])
@pytest.mark.parametrize("mpp", [None, 0.25, 0.5, 1.0, 2.1])
def test_a_mask_has_the_size_of_its_image(shape, mpp):
    pixels = stained(side=320)[: shape[0], : shape[1]]
    mask = detect(pixels, mpp=mpp)
    assert mask.shape == pixels.shape[:2]
    assert mask.dtype == np.bool_


def test_the_pixel_size_is_taken_into_account():
    damaged = simulate(stained(), "fold", seed=0, area=0.1, mpp=0.5)
    found = detect(damaged.pixels, mpp=0.5)
    doubled = cv2.resize(damaged.pixels, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    again = detect(doubled, mpp=0.25)
    assert dice(found, again[::2, ::2]) > 0.95


def test_detecting_twice_gives_the_same_and_changes_nothing():
    pixels = simulate(stained(), "debris", seed=3).pixels
    before = pixels.copy()
    np.testing.assert_array_equal(detect(pixels), detect(pixels))
    np.testing.assert_array_equal(pixels, before)


def test_large_images_are_measured_in_strips_without_a_trace(monkeypatch):
    pixels = simulate(stained(), "out_of_focus", seed=2, area=0.2).pixels
    whole = measure(pixels, mpp=0.5)
    monkeypatch.setattr(measuring, "_STRIP_PX", 40 * pixels.shape[1])
    strips = measure(pixels, mpp=0.5)
    for field in dataclasses.fields(whole):
        expected, got = getattr(whole, field.name), getattr(strips, field.name)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pixels", [np.zeros((80, 80), np.uint8), np.zeros((80, 80, 4), np.uint8)])
def test_grey_and_transparent_arrays_are_refused(pixels):
    with pytest.raises(UnsupportedImageError, match="RGB"):
        detect(pixels)


def test_sixteen_bits_are_searched_as_eight():
    pixels = np.full((100, 100, 3), 240, np.uint8)
    pixels[30:70, 30:70] = (20, 30, 120)
    found = detect(pixels, mpp=0.5)
    assert found.any()
    assert (detect(pixels.astype(np.uint16) * 257, mpp=0.5) == found).all()


def test_an_image_that_is_too_small_is_refused():
    with pytest.raises(ImageSizeError, match="64 px"):
        detect(np.zeros((63, 80, 3), np.uint8))


@pytest.mark.parametrize("mpp", [0.0, -1.0, float("inf"), 50.0])
def test_an_impossible_pixel_size_is_refused(mpp):
    with pytest.raises(PixelSizeError, match="mpp"):
        detect(np.zeros((80, 80, 3), np.uint8), mpp=mpp)


def test_real_clean_tissue_stays_mostly_empty(shared_data):
    tiles = sorted((shared_data / "he_clean_val").glob("*.jpg"))[::20]
    areas = [detect(np.asarray(Image.open(tile).convert("RGB")), mpp=0.5).mean() for tile in tiles]
    assert np.mean(areas) < 0.01


def test_a_real_fold_is_found(shared_data):
    folder = shared_data / "he_artifacts"
    name = "fold__PDAC-tru-cut-HE2_x28698_y14982"
    pixels = np.asarray(Image.open(folder / f"{name}.jpg").convert("RGB"))
    truth = np.asarray(Image.open(folder / "masks" / f"{name}_mask.png").convert("L")) > 127
    assert dice(detect(pixels, mpp=0.5048), truth) > 0.7
