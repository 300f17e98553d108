from __future__ import annotations

import cv2
import numpy as np
import pytest

from histomend.damage.photons import counted
from histomend.damage.specimens import draw_specimen
from histomend.image.camera_noise import estimate_noise


def field(seed: int = 3) -> np.ndarray:
    return 0.05 + 0.95 * draw_specimen(np.random.default_rng(seed), 384)


def exposed(photons: float, read: float, gain: float, offset: float) -> np.ndarray:
    rng = np.random.default_rng(1)
    return np.clip(np.rint(gain * counted(field(), photons, read, rng) + offset), 0, 65535)


@pytest.mark.parametrize(
    ("photons", "read", "gain", "offset"), [(50, 2, 2.0, 100), (200, 3, 0.5, 50), (1000, 3, 4, 10)]
)
def test_stabilised_by_the_estimate_noise_has_one_strength(
    photons: float, read: float, gain: float, offset: float
) -> None:
    found = estimate_noise([exposed(photons, read, gain, offset)])
    assert found is not None
    assert found.noise.gain == pytest.approx(gain, rel=0.2)
    rng = np.random.default_rng(2)
    for level in (0.1, 0.5, 0.9):
        light = np.full((200, 200, 1), level, np.float32)
        seen = gain * counted(light, photons, read, rng) + offset
        assert found.noise.stabilised(seen).std() == pytest.approx(1, abs=0.08)
    assert found.is_white


def test_noise_of_one_strength_is_told_as_that() -> None:
    rng = np.random.default_rng(4)
    flat = 1000 * field() + 500 + 20 * rng.standard_normal((384, 384))
    found = estimate_noise([flat])
    assert found is not None
    assert found.noise.variance(np.array([500.0, 1500.0])) ** 0.5 == pytest.approx(20, rel=0.15)


def test_filtered_noise_is_not_white() -> None:
    blurred = cv2.GaussianBlur(exposed(50, 2, 2.0, 100).astype(np.float32), (0, 0), 1.0)
    found = estimate_noise([blurred])
    assert found is not None
    assert not found.is_white


@pytest.mark.parametrize("plane", [np.zeros((64, 64)), np.full((128, 128), 7.0)])
def test_where_there_is_no_noise_none_is_told(plane: np.ndarray) -> None:
    assert estimate_noise([plane]) is None


def test_the_same_data_in_another_unit_is_stabilised_alike() -> None:
    values = exposed(200, 3, 0.5, 50)
    one, other = estimate_noise([values]), estimate_noise([64 * values])
    assert one is not None
    assert other is not None
    assert one.noise.stabilised(values) == pytest.approx(
        other.noise.stabilised(64 * values), rel=1e-3
    )


@pytest.mark.parametrize("ends", [(0.05, 0.95), (0.0, 0.8), (0.15, 0.82)])
def test_what_the_camera_could_not_hold_says_nothing_of_its_noise(
    ends: tuple[float, float],
) -> None:
    """Up to a third of the places are darker than the camera's zero, or too bright for it."""
    counts = exposed(200, 3, 2.0, 0)
    low, high = np.quantile(counts, ends)
    found = estimate_noise([np.clip(counts - low, 0, high - low)])
    assert found is not None
    assert found.noise.gain == pytest.approx(2.0, rel=0.3)
