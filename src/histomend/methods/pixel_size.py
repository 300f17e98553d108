"""Pixel sizes of images and of models."""

from __future__ import annotations

# Pixel sizes that differ by more than this are bridged by resampling, or told.
MPP_TOLERANCE = 0.3


def differs(mpp: float, model_mpp: float) -> bool:
    """Return whether a pixel size is another than the model's."""
    return not 1 / (1 + MPP_TOLERANCE) <= mpp / model_mpp <= 1 + MPP_TOLERANCE
