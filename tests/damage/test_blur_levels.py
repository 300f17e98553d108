from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from histomend.damage.blur_levels import LEVELS, REACH_PX, blurred, blurs_in, score_of
from histomend.errors import SettingError


def test_eleven_levels_have_the_scores_10_to_0() -> None:
    assert [score_of(level) for level in LEVELS] == [10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("level", [1, 4, 10])
def test_a_level_of_box_blur_is_the_mean_over_its_radius(level: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 50, 3)).astype(np.uint8)
    mean = ndimage.uniform_filter(
        pixels.astype(float), (2 * level + 1, 2 * level + 1, 0), mode="mirror"
    )
    assert np.abs(blurred(pixels, "box", level) - mean).max() <= 0.51  # rounded to 8 bits


@pytest.mark.parametrize("level", [1, 4, 10])
def test_a_level_of_gaussian_blur_is_its_sigma_in_pixels(level: int) -> None:
    line = np.zeros((5, 2 * REACH_PX + 1, 3), np.uint8)
    line[:, REACH_PX] = 255
    spread = blurred(line, "gaussian", level)[2, :, 0] / 255
    offsets = np.arange(-REACH_PX, REACH_PX + 1)
    expected = np.exp(-(offsets**2) / (2 * level**2))
    expected[np.abs(offsets) > 3 * level] = 0
    assert np.abs(spread - expected / expected.sum()).max() < 1 / 255


def test_level_0_is_the_image_itself_and_a_new_one() -> None:
    pixels = np.full((40, 40, 3), 7, np.uint8)
    same = blurred(pixels, "box", 0)
    same[:] = 0
    assert (pixels == 7).all()


def test_blurs_and_levels_that_do_not_exist_are_named() -> None:
    assert blurs_in("both") == ("box", "gaussian")
    with pytest.raises(SettingError, match=r"'motion'.*box, gaussian, both"):
        blurs_in("motion")
    for blur, level in (("both", 1), ("box", 11), ("gaussian", -1)):
        with pytest.raises(SettingError, match="levels 0 to 10"):
            blurred(np.zeros((40, 40, 3), np.uint8), blur, level)
