from __future__ import annotations

import cv2
import numpy as np
import pytest

from histomend.damage.photons import counted
from histomend.damage.specimens import draw_specimen
from histomend.image.model_range import camera_range
from histomend.image.pixels import Intensity
from histomend.image.stabilise import CameraNoise, StabilisedRange
from histomend.image.stacks import Stack, as_stack


def exposed(gain: float, dtype: str = "uint16", photons: float = 60.0) -> np.ndarray:
    light = 0.05 + 0.9 * draw_specimen(np.random.default_rng(3), 256)
    values = gain * counted(light, photons, 1.0, np.random.default_rng(0))
    return np.clip(np.rint(values), 0, np.iinfo(dtype).max).astype(dtype)


def stack(values: np.ndarray) -> Stack:
    return as_stack(values, channels=1)


def test_a_model_sees_the_same_whatever_the_bits() -> None:
    """12-bit values in a 16-bit file lost 4 dB when only the type told the range."""
    twelve, sixteen = exposed(40.0), exposed(640.0)
    seen = []
    for values in (twelve, sixteen):
        found, notices = camera_range(stack(values), most_sigma=0.5)
        assert isinstance(found, StabilisedRange)
        assert not notices
        seen.append(found.encode(values))
    assert np.abs(seen[0] - seen[1]).mean() < 0.01
    assert found.sigma == pytest.approx(2 / (1.1 * 2 * (np.sqrt(57) - np.sqrt(3.4))), rel=0.15)


def test_a_named_camera_is_taken_at_its_word_and_compared() -> None:
    values = exposed(40.0)
    right, notices = camera_range(stack(values), 0.5, CameraNoise(40.0, 0.0, 40.0))
    assert isinstance(right, StabilisedRange)
    assert right.noise.gain == 40.0
    assert not notices
    _, notices = camera_range(stack(values), 0.5, CameraNoise(1000.0))
    assert "times the noise that is seen" in notices[0]


def test_filtered_images_are_told_of() -> None:
    blurred = cv2.GaussianBlur(exposed(40.0), (0, 0), 1.2)
    _, notices = camera_range(stack(blurred), 0.5)
    assert "neighbouring pixels is alike" in notices[0]


def test_without_noise_the_range_is_that_of_the_type() -> None:
    steps = np.full((128, 128), 50_000, np.uint16)
    steps[:, 64:] = 200
    found, _ = camera_range(stack(steps), 0.5)
    assert found == Intensity(0.0, 65535.0)
