from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from histomend.errors import (
    ImageSizeError,
    MaskError,
    SettingError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.evaluate import metrics

BOTH = [metrics.mse, metrics.psnr, metrics.ssim, metrics.sre, metrics.fsim]
SIMILARITY = [metrics.psnr, metrics.ssim, metrics.sre, metrics.fsim]


def rounded(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def field(height: int, width: int, phase: float = 0.0) -> np.ndarray:
    """Draw waves and dark blobs by formula, so that others can make the very same image."""
    y, x = np.mgrid[:height, :width].astype(float)
    waves = np.sin(x / 5 + phase) * np.cos(y / 7) + 0.5 * np.sin((x + 2 * y) / 23)
    blobs = np.zeros((height, width))
    for k in range(25):
        cy, cx = (37 * k + 11) % height, (61 * k + 23) % width
        blobs += np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (4 + k % 5) ** 2))
    red, green = 190 - 40 * waves - 90 * blobs, 140 - 30 * waves - 100 * blobs
    return rounded(np.stack([red, green, 180 - 20 * waves - 60 * np.clip(blobs, 0, 1)], axis=-1))


def blurred(image: np.ndarray, sigma: float = 1.5) -> np.ndarray:
    return rounded(ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0)))


def speckled(image: np.ndarray, amplitude: float = 40.0) -> np.ndarray:
    height, width, _ = image.shape
    y, x, band = np.mgrid[:height, :width, :3].astype(float)
    noise = np.modf(np.sin(x * 12.9898 + y * 78.233 + band * 37.719) * 43758.5453)[0]
    return rounded(image + amplitude * noise)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "blurred": blurred,
    "speckled": speckled,
    "shifted": lambda image: field(*image.shape[:2], phase=0.7),
}


def test_psnr_and_mse_of_a_known_difference() -> None:
    truth = np.full((16, 16, 3), 100, np.uint8)
    image = truth + np.uint8(10)
    assert metrics.mse(truth, image) == 100
    assert metrics.psnr(truth, image) == pytest.approx(20 * math.log10(255 / 10))
    assert metrics.psnr(image, truth) == metrics.psnr(truth, image)


def test_unsigned_values_do_not_wrap_around() -> None:
    dark, bright = (np.full((8, 8, 3), value, np.uint8) for value in (3, 253))
    assert metrics.mse(dark, bright) == metrics.mse(bright, dark) == 250**2
    assert metrics.l2(dark, bright, np.ones((8, 8), bool)) == pytest.approx(250 * math.sqrt(192))


def test_sre_is_signal_power_over_error_power() -> None:
    truth = np.full((16, 16, 3), 100, np.uint8)
    assert metrics.sre(truth, truth + np.uint8(10)) == pytest.approx(20.0)


def test_l2_sums_over_the_mask_only() -> None:
    truth = np.zeros((20, 20, 3), np.uint8)
    image = truth.copy()
    image[:5] = 200
    image[10, 10] = (3, 4, 0)
    mask = np.zeros((20, 20), bool)
    mask[9:12, 9:12] = True
    assert metrics.l2(truth, image, mask) == pytest.approx(5.0)


@pytest.mark.parametrize("measure", SIMILARITY)
def test_equal_images_are_perfect(measure: Callable[..., float]) -> None:
    image = field(64, 48)
    perfect = math.inf if measure in (metrics.psnr, metrics.sre) else 1.0
    assert measure(image, image) == pytest.approx(perfect)


@pytest.mark.parametrize("measure", SIMILARITY)
def test_a_stronger_change_scores_lower(measure: Callable[..., float]) -> None:
    image = field(96, 96)
    assert measure(image, blurred(image, 1.0)) > measure(image, blurred(image, 3.0))
    assert measure(image, speckled(image, 10)) > measure(image, speckled(image, 60))


@pytest.mark.parametrize("measure", SIMILARITY)
@given(seed=st.integers(0, 1000))
@settings(max_examples=5, deadline=None)
def test_turning_and_mirroring_both_changes_nothing(
    measure: Callable[..., float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    truth = field(64, 64, phase=float(rng.uniform(0, 6)))
    image = speckled(truth, float(rng.uniform(5, 60)))
    same = measure(np.rot90(truth)[:, ::-1], np.rot90(image)[:, ::-1])
    # Zero padding of the gradient and the odd frequency of an even side are not symmetric.
    tolerance = 1e-3 if measure is metrics.fsim else 1e-9
    assert same == pytest.approx(measure(truth, image), rel=tolerance)


@pytest.mark.parametrize("measure", SIMILARITY)
def test_sixteen_bits_score_as_eight_do(measure: Callable[..., float]) -> None:
    truth, image = field(64, 64), speckled(field(64, 64))
    wide = [x.astype(np.uint16) * 257 for x in (truth, image)]
    assert measure(*wide, data_range=65535) == pytest.approx(measure(truth, image))


@pytest.mark.parametrize("name", CHANGES)
def test_paper_psnr_is_ours_plus_a_constant(name: str) -> None:
    truth = field(96, 128)
    image = CHANGES[name](truth)
    offset = metrics.psnr(truth, image, compat="paper") - metrics.psnr(truth, image)
    assert offset == pytest.approx(24.11, abs=0.005)


# Figures of image-similarity-measures 0.3.6 with its defaults, on field(96, 128).
PAPER = {
    "blurred": {"psnr": 65.34657, "ssim": 0.99965396, "sre": 60.15505},
    "speckled": {"psnr": 45.04354, "ssim": 0.96639913, "sre": 49.51600},
    "shifted": {"psnr": 51.50689, "ssim": 0.99491848, "sre": 53.35279},
}


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.parametrize("measure", [metrics.psnr, metrics.ssim, metrics.sre])
def test_paper_figures_equal_those_of_the_package_behind_table_1(
    measure: Callable[..., float], name: str
) -> None:
    truth = field(96, 128)
    figure = measure(truth, CHANGES[name](truth), compat="paper")
    assert figure == pytest.approx(PAPER[name][measure.__name__], rel=1e-6)


def test_paper_ssim_is_inflated() -> None:
    truth = field(96, 96)
    image = speckled(truth)
    assert metrics.ssim(truth, image) < 0.5 < 0.95 < metrics.ssim(truth, image, compat="paper")


# FSIM and FSIMc of piq 0.8.0, data_range 255, in double precision.
FSIM = {
    ("blurred", 128, 128): (0.997120, 0.997098),
    ("speckled", 128, 128): (0.829897, 0.825039),
    ("shifted", 128, 128): (0.965616, 0.965049),
    ("blurred", 96, 160): (0.995797, 0.995702),
    ("speckled", 96, 160): (0.821039, 0.816426),
    ("speckled", 512, 400): (0.956355, 0.955121),
    ("shifted", 512, 400): (0.921497, 0.921030),
}


@pytest.mark.parametrize(("name", "height", "width"), FSIM)
def test_fsim_equals_an_independent_implementation(name: str, height: int, width: int) -> None:
    truth = field(height, width)
    image = CHANGES[name](truth)
    plain, chromatic = FSIM[name, height, width]
    assert metrics.fsim(truth, image) == pytest.approx(plain, abs=5e-6)
    # There the absolute value of a negative chroma similarity is taken, here the real part.
    assert metrics.fsim(truth, image, chromatic=True) == pytest.approx(chromatic, abs=5e-5)


def test_fsim_equals_piq() -> None:
    piq = pytest.importorskip("piq", exc_type=ImportError)
    torch = pytest.importorskip("torch")
    truth = field(192, 144)
    image = blurred(speckled(truth), 0.8)
    batches = [torch.from_numpy(x.astype(float)).permute(2, 0, 1)[None] for x in (truth, image)]
    theirs = float(piq.fsim(*batches, data_range=255, chromatic=False))
    assert metrics.fsim(truth, image) == pytest.approx(theirs, abs=1e-5)


def test_fsim_of_a_blank_field_is_defined() -> None:
    blank = np.full((32, 32, 3), 240, np.uint8)
    assert metrics.fsim(blank, blank) == pytest.approx(1.0)
    assert 0 <= metrics.fsim(blank, field(32, 32)) < 1


@pytest.mark.parametrize("measure", BOTH)
def test_images_that_cannot_be_compared_are_refused(measure: Callable[..., float]) -> None:
    image = field(32, 32)
    with pytest.raises(ImageSizeError, match=r"32x32 pixels and the image 30x32"):
        measure(image, image[:, :30])
    with pytest.raises(UnsupportedImageError, match=r"image is uint8 of shape \(32, 32\)"):
        measure(image, image[..., 0])
    with pytest.raises(UnsupportedImageError, match="truth is float64"):
        measure(image / 255, image)
    with pytest.raises(ImageSizeError):
        measure(image[:0], image[:0])


@pytest.mark.parametrize("measure", SIMILARITY)
def test_a_range_that_does_not_fit_is_refused(measure: Callable[..., float]) -> None:
    wide = field(32, 32).astype(np.uint16) * 257
    with pytest.raises(ValueRangeError, match="data_range=65535"):
        measure(wide, wide)
    with pytest.raises(SettingError, match="data_range is -1"):
        measure(wide, wide, data_range=-1)


def test_small_images_unknown_settings_and_bad_masks_are_refused() -> None:
    image = field(32, 32)
    with pytest.raises(ImageSizeError, match="at least 7x7"):
        metrics.ssim(image[:5], image[:5])
    with pytest.raises(SettingError, match="authors"):
        metrics.psnr(image, image[::-1], compat="authors")  # type: ignore[arg-type]
    for mask in (np.zeros((32, 32), bool), np.ones((8, 8), bool), np.ones((32, 32))):
        with pytest.raises(MaskError):
            metrics.l2(image, image, mask)
