"""Sixteen bits as eight, for what knows no finer steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def eight_bit(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Return the upper 8 bits of an image of 16, others as they are."""
    return np.asarray(pixels >> 8 if pixels.dtype == np.uint16 else pixels, np.uint8)
