from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.morphology import h_maxima

from histomend.errors import MaskError, PixelSizeError, UnsupportedImageError
from histomend.evaluate import nuclei
from histomend.evaluate.nuclei import nuclei_in, segment_nuclei

DATA = Path(__file__).parents[3] / "shared" / "data" / "nuclei"
STROMA = (225, 170, 205)
CHROMATIN = (95, 65, 140)


def stained(
    centres: list[tuple[int, int]], *, radius: float = 8, size: int = 200, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw discs of chromatin in stroma, and return the truth as a mask."""
    y, x = np.mgrid[:size, :size]
    truth = np.zeros((size, size), bool)
    for cy, cx in centres:
        truth |= np.hypot(y - cy, x - cx) <= radius
    clean = np.where(truth[..., None], CHROMATIN, STROMA).astype(float)
    soft = ndimage.gaussian_filter(clean, (0.8, 0.8, 0))
    noise = np.random.default_rng(seed).normal(0, 6, soft.shape)
    return np.clip(soft + noise, 0, 255).astype(np.uint8), truth


def grid(step: int = 40) -> list[tuple[int, int]]:
    return [(y, x) for y in range(25, 190, step) for x in range(25, 190, step)]


@given(seed=st.integers(0, 100), radius=st.floats(5, 12))
@settings(max_examples=6, deadline=None)
def test_every_disc_is_found_at_its_size(seed: int, radius: float) -> None:
    pixels, truth = stained(grid(), radius=radius, seed=seed)
    labels = segment_nuclei(pixels)
    assert labels.dtype == np.int32
    assert labels.max() == len(np.unique(labels)) - 1 == len(grid())
    overlap = 2 * np.count_nonzero(truth & (labels > 0))
    assert overlap / (np.count_nonzero(truth) + np.count_nonzero(labels)) > 0.9


def test_touching_nuclei_are_cut_apart() -> None:
    pairs = [(y, x + d) for y, x in grid(60) for d in (0, 15)]
    pixels, _ = stained(pairs, radius=8.5)
    assert segment_nuclei(pixels).max() == len(pairs)


def test_sizes_are_physical() -> None:
    pixels, _ = stained(grid(), radius=8)
    assert segment_nuclei(pixels, mpp=0.5).max() == len(grid())
    # The same discs at 0.1 um per pixel would be 0.8 um wide, at 2 um per pixel 32 um.
    assert segment_nuclei(pixels, mpp=0.1).max() == 0
    assert segment_nuclei(pixels, mpp=2.0).max() == 0


def test_neither_glass_nor_stroma_nor_blood_is_nuclear() -> None:
    glass = np.full((96, 96, 3), 243, np.uint8)
    assert segment_nuclei(glass).max() == 0
    stroma, _ = stained([])
    assert segment_nuclei(stroma).max() <= 1
    # Red cells among nuclei: as dark, but they let red through.
    pixels, _ = stained(grid(60))
    y, x = np.mgrid[:200, :200]
    for cy, cx in [(55, 55), (55, 115), (115, 55)]:
        pixels[np.hypot(y - cy, x - cx) < 8] = (190, 60, 90)
    assert segment_nuclei(pixels).max() == len(grid(60))


def test_counting_in_a_region_goes_by_centroid_and_area_by_pixel() -> None:
    labels = np.zeros((40, 40), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 25:35] = 2
    mask = np.zeros((40, 40), bool)
    mask[:, :12] = True
    count, area = nuclei_in(labels, mask, mpp=0.5)
    assert count == 1
    assert area == 10 * 7 * 0.25
    assert nuclei_in(labels, ~mask, mpp=0.5) == (1, (30 + 100) * 0.25)
    assert nuclei_in(np.zeros_like(labels), mask) == (0, 0.0)


def test_bad_arguments_are_refused() -> None:
    pixels, _ = stained([(50, 50)], size=96)
    with pytest.raises(PixelSizeError, match="mpp is 0"):
        segment_nuclei(pixels, mpp=0)
    with pytest.raises(UnsupportedImageError, match="uint16"):
        segment_nuclei(pixels.astype(np.uint16))
    with pytest.raises(MaskError):
        nuclei_in(np.zeros((10, 10), np.int32), np.zeros((10, 11), bool))


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared nuclei images are not here")
def test_agrees_with_hand_drawn_nuclei() -> None:
    scores = []
    for path in sorted((DATA / "images").glob("*.png"))[:15]:
        with Image.open(path) as image, Image.open(DATA / "labels" / path.name) as labels:
            pixels, truth = np.asarray(image.convert("RGB")), np.asarray(labels)
        # Their pixel size is unstated: take a median nucleus for one of 45 square micrometres.
        areas = np.bincount(truth.ravel())[1:]
        mpp = float(np.clip(np.sqrt(45 / np.median(areas[areas > 0])), 0.15, 1.2))
        found = segment_nuclei(pixels, mpp) > 0
        overlap = 2 * np.count_nonzero(found & (truth > 0))
        scores.append(overlap / (np.count_nonzero(found) + np.count_nonzero(truth)))
    assert np.mean(scores) > 0.74


@pytest.mark.parametrize("steps", [1, 200])
def test_high_maxima_are_those_of_scikit_image(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuclei, "FLOODING_STEPS", steps)
    rng = np.random.default_rng(0)
    for smooth, height in ((1.5, 0.05), (3, 0.02), (0, 0.3)):
        values = ndimage.gaussian_filter(rng.random((60, 80)), smooth)
        values[10:30, 10:30] = values.max()  # a plateau
        expected = h_maxima(values, height).astype(bool)
        assert expected.any()
        np.testing.assert_array_equal(nuclei.high_maxima(values, height), expected)
