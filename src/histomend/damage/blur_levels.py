"""The blurs of Histo-Diffusion's two quality data sets: eleven levels, scored from 10 to 0.

Section 3.3 of the paper raises the radius of a box blur, or the standard deviation of a Gaussian,
step by step, and lowers the score from 10 (as it was) to 0 (most blurred). It says neither how many
steps there are nor how large one is: ten of 1 px, a whole score each, are our choice.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError

BEST_SCORE = 10
LEVELS = range(BEST_SCORE + 1)
"""0 is sharp; level n is a box of radius n px, or a Gaussian whose sigma is n px."""
BLUR_SETS: dict[str, tuple[str, ...]] = {
    "box": ("box",),
    "gaussian": ("gaussian",),
    "both": ("box", "gaussian"),
}
# Where the Gaussian's kernel ends, in sigmas.
_ENDS_AT = 3
REACH_PX = _ENDS_AT * LEVELS[-1]
"""How far the strongest blur sees; what is nearer to a border is made of mirrored pixels."""


def blurs_in(name: str) -> tuple[str, ...]:
    """Return the blurs of the data set of this name.

    Raises
    ------
    SettingError
        If there is none.
    """
    if name not in BLUR_SETS:
        raise SettingError(f"No blur is called {name!r}. There are {', '.join(BLUR_SETS)}.")
    return BLUR_SETS[name]


def score_of(level: int) -> float:
    """Return the score of a blur level: 10 for level 0, 0 for level 10."""
    return float(BEST_SCORE - level)


def blurred(pixels: npt.NDArray[np.uint8], blur: str, level: int) -> npt.NDArray[np.uint8]:
    """Return an image at a blur level, in 8 bits.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    blur : "box" or "gaussian"
    level : int
        0 to 10.

    Returns
    -------
    (H, W, 3) uint8
        A new array. Mirrored pixels stand in for those beyond the border.

    Raises
    ------
    SettingError
        A blur or a level that does not exist.
    """
    if blur not in BLUR_SETS["both"] or level not in LEVELS:
        raise SettingError(
            f"There is no {blur!r} blur of level {level}. There are "
            f"{' and '.join(BLUR_SETS['both'])} blurs of levels {LEVELS[0]} to {LEVELS[-1]}."
        )
    source = np.ascontiguousarray(pixels)
    if level == 0:
        return source.copy()
    if blur == "box":
        return np.asarray(cv2.blur(source, (2 * level + 1,) * 2), dtype=np.uint8)
    side = 2 * _ENDS_AT * level + 1
    return np.asarray(cv2.GaussianBlur(source, (side, side), level), dtype=np.uint8)
