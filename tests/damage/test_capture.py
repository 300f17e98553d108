from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.damage.capture import (
    compressed,
    scanned,
    sharpened,
    with_gaussian_noise,
    with_poisson_noise,
)
from histomend.errors import ImageSizeError, SettingError

RNG = np.random.default_rng


@settings(max_examples=25, deadline=None)
@given(st.integers(16, 70), st.integers(16, 70), st.floats(1.5, 8))
def test_a_scanner_averages_areas_as_opencv_does(height: int, width: int, factor: float) -> None:
    image = torch.from_numpy(RNG(height * width).random((3, height, width)))
    found = scanned(image, factor)
    size = (round(width / factor), round(height / factor))
    assert found.shape == (3, size[1], size[0])
    expected = cv2.resize(image.permute(1, 2, 0).numpy(), size, interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_larger_pixels_are_means_of_blocks(factor: int) -> None:
    images = torch.rand(2, 3, 32, 48)
    blocks = torch.nn.functional.avg_pool2d(images, factor)
    torch.testing.assert_close(scanned(images, factor), blocks)


def test_impossible_scans_are_refused() -> None:
    with pytest.raises(SettingError, match="not 0"):
        scanned(torch.rand(3, 32, 32), 0.5)
    with pytest.raises(ImageSizeError, match="no pixel left"):
        scanned(torch.rand(3, 32, 3), 8)


def test_gaussian_noise_has_its_strength_in_colour_or_in_grey() -> None:
    image = torch.full((3, 64, 64), 0.5)
    colour = 255 * (with_gaussian_noise(image, 12.0, False, RNG(0)) - image)
    grey = 255 * (with_gaussian_noise(image, 12.0, True, RNG(0)) - image)
    for noise in (colour, grey):
        assert float(noise.std()) == pytest.approx(12, rel=0.05)
    assert float(grey.std(0).max()) < 1e-4 < float(colour.std(0).mean())


def test_poisson_noise_grows_with_the_light() -> None:
    # 256 values, so that white counts 256 photons.
    image = (torch.arange(256).repeat(3, 64, 1) / 255).float()
    noise = with_poisson_noise(image, 2.0, False, RNG(0)) - image
    for level in (32, 128):
        expected = 2 * (level / 255 / 256) ** 0.5
        assert float(noise[..., level - 4 : level + 4].std()) == pytest.approx(expected, rel=0.1)
    grey = with_poisson_noise(image, 2.0, True, RNG(0)) - image
    assert float(grey[..., 60:200].std(0).max()) < 1e-6


def test_compression_is_a_file_of_that_quality() -> None:
    image = torch.rand(3, 40, 56)
    errors = [float((compressed(image, q) - image).abs().mean()) for q in (30, 60, 95)]
    assert errors == sorted(errors, reverse=True)
    levels = compressed(image, 50) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_sharpening_steepens_edges_and_leaves_plain_areas() -> None:
    image = torch.full((3, 64, 64), 0.3)
    image[..., 32:] = 0.6
    sharp = sharpened(image)
    assert float(sharp[..., 32].mean()) > 0.65
    assert float(sharp[..., 31].mean()) < 0.25
    plain = torch.full((3, 64, 64), 0.4)
    torch.testing.assert_close(sharpened(plain), plain)
