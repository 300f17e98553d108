from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.damage.kernels import Kernel, KernelRange, computed, convolved, sinc

RANGE = KernelRange(tuple(range(7, 22, 2)), (0.2, 3.0))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_kernels_sum_to_one_within_their_size(seeds: list[int]) -> None:
    kernels = [RANGE.draw(np.random.default_rng(seed)) for seed in seeds]
    weights = computed(kernels)
    side = max(kernel.size_px for kernel in kernels)
    assert weights.shape == (len(seeds), side, side)
    torch.testing.assert_close(weights.sum((1, 2)), torch.ones(len(seeds)))
    for kernel, own in zip(kernels, weights, strict=True):
        edge = (side - kernel.size_px) // 2
        if edge:
            assert not own[:edge].any()
            assert not own[:, -edge:].any()
        # Each looks the same from both sides.
        torch.testing.assert_close(own, own.flip((0, 1)))
        assert kernel.family == "sinc" or bool((own >= 0).all())


def test_the_gaussian_is_opencvs() -> None:
    ours = computed([Kernel("gaussian", 21, (2.5, 2.5))])[0].numpy()
    line = cv2.getGaussianKernel(21, 2.5)
    np.testing.assert_allclose(ours, line @ line.T, atol=1e-7)


def test_a_kernel_of_two_widths_lies_along_its_angle() -> None:
    weights = computed([Kernel("gaussian", 41, (4.0, 1.0), angle=math.pi / 6)])[0].double()
    place = torch.arange(-20, 21, dtype=torch.float64)
    y, x = torch.meshgrid(place, place, indexing="ij")
    along = x * math.cos(math.pi / 6) + y * math.sin(math.pi / 6)
    across = y * math.cos(math.pi / 6) - x * math.sin(math.pi / 6)
    assert float((weights * along**2).sum()) == pytest.approx(16, rel=0.01)
    assert float((weights * across**2).sum()) == pytest.approx(1, rel=0.01)


def test_beta_makes_flat_tops_or_long_tails() -> None:
    size, sigma = 21, (2.0, 2.0)
    plain, flat, tailed, plateau = computed(
        [
            Kernel("gaussian", size, sigma),
            Kernel("generalised", size, sigma, beta=3.0),
            Kernel("generalised", size, sigma, beta=0.5),
            Kernel("plateau", size, sigma, beta=2.0),
        ]
    )
    near = [float(w[10, 11] / w[10, 10]) for w in (plain, flat, tailed, plateau)]
    assert near == pytest.approx(
        [math.exp(-1 / 8), math.exp(-((1 / 4) ** 3) / 2), math.exp(-1 / 4), 1 / (1 + (1 / 4) ** 2)]
    )


def test_a_sinc_takes_fine_waves_away_and_keeps_coarse_ones() -> None:
    x = torch.arange(128).expand(1, 1, 128, 128)
    weights = computed([Kernel("sinc", 21, cutoff=math.pi / 2)])
    for frequency, kept in ((0.3, 1.0), (2.6, 0.0)):
        wave = torch.cos(frequency * x)
        middle = convolved(wave, weights)[..., 32:96, 32:96]
        assert float(middle.std() / wave.std()) == pytest.approx(kept, abs=0.1)


def test_cutoffs_follow_the_paper() -> None:
    rng = np.random.default_rng(0)
    cutoffs = [sinc(21, rng, wider=wider).cutoff for wider in (False, True) for _ in range(200)]
    assert min(cutoffs[:200]) >= math.pi / 3
    assert math.pi / 5 <= min(cutoffs[200:]) < math.pi / 3
    assert max(cutoffs) <= math.pi


@pytest.mark.parametrize("size", [(40, 33), (9, 12)])
def test_filtering_is_opencvs_for_each_image(size: tuple[int, int]) -> None:
    images = torch.rand(3, 3, *size)
    rng = np.random.default_rng(1)
    weights = computed([RANGE.draw(rng) for _ in images])
    done = convolved(images, weights)
    reach = weights.shape[-1] // 2
    for image, own, found in zip(images, weights, done, strict=True):
        wide = np.pad(image.numpy(), ((0, 0), (reach, reach), (reach, reach)), "reflect")
        for plane, other in zip(wide, found.numpy(), strict=True):
            expected = cv2.filter2D(plane, -1, own.numpy())[reach:-reach, reach:-reach]
            np.testing.assert_allclose(other, expected, atol=1e-5)
