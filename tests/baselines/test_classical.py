from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.baselines.classical import navier_stokes, telea
from histomend.errors import MaskError, UnsupportedImageError

METHODS = [telea, navier_stokes]


@pytest.mark.parametrize("inpaint", METHODS)
@given(seed=st.integers(0, 10_000), height=st.integers(3, 40), width=st.integers(3, 40))
@settings(max_examples=15, deadline=None)
def test_nothing_changes_outside_the_mask(
    inpaint: Callable[..., np.ndarray], seed: int, height: int, width: int
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    mask = rng.random((height, width)) < 0.3
    mask[0, 0] = False
    before = pixels.copy()
    restored = inpaint(pixels, mask)
    assert restored.dtype == np.uint8
    assert np.array_equal(restored[~mask], pixels[~mask])
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("inpaint", METHODS)
def test_a_ramp_is_continued_into_the_hole(inpaint: Callable[..., np.ndarray]) -> None:
    ramp = np.repeat(np.linspace(60, 220, 64)[None, :, None], 64, axis=0).repeat(3, axis=2)
    truth = ramp.astype(np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[26:38, 26:38] = True
    damaged = np.where(mask[..., None], np.uint8(0), truth)
    restored = inpaint(damaged, mask)
    assert np.abs(restored.astype(int) - truth)[mask].mean() < 8


@pytest.mark.parametrize("inpaint", METHODS)
def test_views_with_strides_and_empty_masks_work(inpaint: Callable[..., np.ndarray]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    view = pixels[::2, ::-1]
    mask = np.zeros(view.shape[:2], bool)
    assert np.array_equal(inpaint(view, mask), view)


@pytest.mark.parametrize("inpaint", METHODS)
def test_what_cannot_be_inpainted_is_refused(inpaint: Callable[..., np.ndarray]) -> None:
    pixels, mask = np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), bool)
    with pytest.raises(UnsupportedImageError, match="uint16"):
        inpaint(pixels.astype(np.uint16), mask)
    with pytest.raises(UnsupportedImageError, match=r"\(16, 16\)"):
        inpaint(pixels[..., 0], mask)
    with pytest.raises(MaskError, match=r"\(8, 8\)"):
        inpaint(pixels, mask[:8, :8])
    with pytest.raises(MaskError, match="whole image"):
        inpaint(pixels, ~mask)
