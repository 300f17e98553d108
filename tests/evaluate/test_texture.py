from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from histomend.errors import MaskError
from histomend.evaluate import texture


def tissue(seed: int, size: int = 128) -> np.ndarray:
    """Make a pink field with structure of every size, different for every seed."""
    rng = np.random.default_rng(seed)
    noise = np.zeros((size, size))
    for sigma in (0.7, 2.0, 6.0):
        layer = ndimage.gaussian_filter(rng.standard_normal((size, size)), sigma, mode="wrap")
        noise += layer / layer.std()
    return np.clip(np.array([200, 140, 190]) + 15 * noise[..., None], 0, 255).astype(np.uint8)


def blob(size: int = 128) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.hypot(y, x) < 0.3 + 0.06 * np.sin(5 * np.arctan2(y, x))


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0)).astype(np.uint8)


def test_equal_images_have_ratios_of_one_and_no_colour_difference() -> None:
    image, mask = tissue(0), blob()
    assert texture.laplacian_ratio(image, image, mask) == 1
    assert texture.spectrum_ratio(image, image, mask).ratios == (1, 1, 1, 1)
    assert texture.mean_ciede2000(image, image, mask) == 0
    assert texture.border_step(image, image, mask) == 1


def test_other_tissue_of_the_same_kind_scores_near_one() -> None:
    mask = blob()
    pairs = [(tissue(2 * i), tissue(2 * i + 1)) for i in range(8)]
    laplacians = [texture.laplacian_ratio(a, b, mask) for a, b in pairs]
    spectra = [texture.spectrum_ratio(a, b, mask).summary for a, b in pairs]
    assert np.exp(np.mean(np.log(laplacians))) == pytest.approx(1, abs=0.1)
    assert np.exp(np.mean(np.log(spectra))) == pytest.approx(1, abs=0.15)


def test_a_blur_loses_detail_and_noise_adds_it_from_the_fine_end() -> None:
    image, mask = tissue(1), blob()
    soft = texture.spectrum_ratio(image, blurred(image, 2), mask)
    assert texture.laplacian_ratio(image, blurred(image, 2), mask) < 0.1
    assert soft.ratios[0] > soft.ratios[1] > soft.ratios[2] > soft.ratios[3]
    assert soft.ratios[3] < 0.05
    noise = np.random.default_rng(0).integers(-20, 21, image.shape)
    noisy = np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)
    assert texture.laplacian_ratio(image, noisy, mask) > 1.5
    rough = texture.spectrum_ratio(image, noisy, mask)
    assert rough.ratios[3] > 1.5 > 1.2 > rough.ratios[0]
    assert rough.summary == pytest.approx(math.prod(rough.ratios) ** 0.25)


def test_half_the_contrast_is_a_quarter_of_the_power() -> None:
    image, mask = tissue(2), blob()
    level = image[mask].mean(axis=0)
    flatter = np.rint(level + 0.5 * (image - level)).astype(np.uint8)
    assert texture.spectrum_ratio(image, flatter, mask).summary == pytest.approx(0.25, rel=0.1)
    assert texture.laplacian_ratio(image, flatter, mask) == pytest.approx(0.25, rel=0.1)


@given(seed=st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_pixels_outside_the_mask_do_not_count(seed: int) -> None:
    image, mask = tissue(seed), blob()
    restored = np.where(mask[..., None], blurred(image, 1), image)
    other = np.random.default_rng(seed).integers(0, 256, image.shape).astype(np.uint8)
    truth_2 = np.where(mask[..., None], image, other)
    restored_2 = np.where(mask[..., None], restored, other)
    for measure in (texture.laplacian_ratio, texture.mean_ciede2000):
        assert measure(truth_2, restored_2, mask) == measure(image, restored, mask)
    one, two = (
        texture.spectrum_ratio(a, b, mask) for a, b in ((image, restored), (truth_2, restored_2))
    )
    assert one == two


def test_colour_difference_is_of_the_mean_colours() -> None:
    mask = blob()
    grey = np.full((128, 128, 3), 119, np.uint8)
    assert texture.mean_ciede2000(grey, np.full_like(grey, 143), mask) == pytest.approx(9.2, abs=1)
    # Dots of opposite colour cancel out: it is texture, not a shift of the stain.
    dots = grey.copy()
    dots[::2, ::2] += np.uint8(20)
    dots[1::2, 1::2] -= np.uint8(20)
    assert texture.mean_ciede2000(grey, dots, mask) < 0.2


def test_a_seam_shows_in_the_border_step() -> None:
    image, mask = tissue(3), blob()
    brighter = np.where(mask[..., None], np.minimum(image, 225) + np.uint8(30), image)
    assert texture.border_step(image, brighter, mask) > 1.3


def test_blank_fields_have_no_ratio() -> None:
    mask = blob()
    blank = np.full((128, 128, 3), 240, np.uint8)
    assert math.isnan(texture.laplacian_ratio(blank, blank, mask))
    assert math.isnan(texture.spectrum_ratio(blank, blank, mask).summary)
    assert texture.laplacian_ratio(blank, tissue(0), mask) == math.inf
    assert texture.laplacian_ratio(tissue(0), blank, mask) == 0
    assert texture.spectrum_ratio(tissue(0), blank, mask).summary == 0


def test_masks_too_thin_or_without_a_border_are_refused() -> None:
    image = tissue(0)
    line = np.zeros((128, 128), bool)
    line[50:52] = True
    with pytest.raises(MaskError, match="3 pixels wide"):
        texture.laplacian_ratio(image, image, line)
    assert texture.spectrum_ratio(image, image, line).summary == pytest.approx(1)
    with pytest.raises(MaskError, match="no border"):
        texture.border_step(image, image, np.ones((128, 128), bool))
    with pytest.raises(MaskError, match="empty"):
        texture.spectrum_ratio(image, image, np.zeros((128, 128), bool))
