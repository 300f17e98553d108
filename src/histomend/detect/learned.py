"""Find artifacts with a network that learned them, and say how sure it is.

The bundled detector was trained on simulated artifacts (`histomend.train.detector`); what it
reaches on real ones is in ``docs/results/detection.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.detect.features import USUAL_MPP
from histomend.detect.found import Found, Limits, gather
from histomend.detect.pixel_size import estimate_mpp
from histomend.detect.places import Progress, Read, look
from histomend.detect.suitability import check_bright_field, odd_stain
from histomend.image import MIN_SIDE, check_rgb
from histomend.image.pixels import Region
from histomend.masks.artifact_classes import ARTIFACTS, INSTEAD
from histomend.models.detector import Detector, load_detector

BUNDLED = "detector-he"
# Of an image this much is looked at to know its background and its stain.
_SAMPLES, _SAMPLE_PX = 9, 512


@dataclass(frozen=True)
class Detection:
    """What was found, and what the user should know of it.

    Attributes
    ----------
    found : Found
    notices : tuple of str
    """

    found: Found
    notices: tuple[str, ...]


def bundled_detector(device: str = "auto") -> Detector:
    """Return the detector that comes with the package, loaded once."""
    return _loaded(BUNDLED, device)


@lru_cache(maxsize=2)
def _loaded(name: str, device: str) -> Detector:
    return load_detector(name, device)


def detector_named(model: str | Path | Detector | None, device: str = "auto") -> Detector:
    """Return a detector: the bundled one, one by name or folder, or that which was given."""
    if isinstance(model, Detector):
        return model
    return bundled_detector(device) if model is None else load_detector(model, device)


def find(
    pixels: npt.NDArray[Any],
    *,
    mpp: float | None = None,
    detector: Detector | None = None,
    limits: Limits | None = None,
    where: str = "the image",
) -> Detection:
    """Find the artifacts of an image in memory.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16 RGB, each side at least 64 px; of 16 bits the upper 8 count.
    mpp : micrometres per pixel; None is estimated from nuclei (`estimate_mpp`), which is told.
    detector : the bundled one unless given.
    limits : those of the detector unless given.
    where : what messages call the image.

    Raises
    ------
    UnsupportedImageError
        When ``pixels`` is not an (H, W, 3) array of either type, or shows fluorescence.
    ImageSizeError
        When a side is shorter than 64 px.
    PixelSizeError
        When ``mpp`` is no possible pixel size, or too coarse for the detector.
    """
    values = pixels
    if getattr(pixels, "dtype", None) == np.uint16:
        values = (pixels >> 8).astype(np.uint8)
    check_rgb(
        values,
        "Detecting artifacts",
        hint="Scale values to 0..255, drop an alpha channel; a grey image needs a mask made by "
        "hand, as the detector knows stained tissue only.",
        least=MIN_SIDE,
    )

    def read(region: Region) -> npt.NDArray[np.uint8]:
        x, y, w, h = region
        return np.asarray(values[y : y + h, x : x + w])

    shape = (int(values.shape[0]), int(values.shape[1]))
    return find_in_parts(read, shape, mpp=mpp, detector=detector, limits=limits, where=where)


def find_in_parts(
    read: Read,
    shape: tuple[int, int],
    *,
    mpp: float | None = None,
    detector: Detector | None = None,
    limits: Limits | None = None,
    where: str = "the image",
    progress: Progress | None = None,
) -> Detection:
    """Find the artifacts of an image that is read part by part, in little memory.

    Of a slide, give the level whose pixels are nearest to the detector's (1 um): finer ones cost
    time and bring nothing. The result is then in pixels of that level.

    Parameters
    ----------
    read : function of a region (x, y, w, h) -> (h, w, 3) uint8
    shape : (height, width) of the image, px
    progress : function of (windows done, windows in all), optional
    mpp, detector, limits, where
        See `find`.
    """
    detector = bundled_detector() if detector is None else detector
    notices: list[str] = []
    squares = _sampled(read, shape)
    pixels = np.concatenate([square.reshape(-1, 1, 3) for square in squares])
    check_bright_field(pixels, where)
    if mpp is None:
        estimated = estimate_mpp(squares)
        mpp = USUAL_MPP if estimated is None else estimated
        how = "is assumed" if estimated is None else "is what the size of nuclei suggests"
        notices.append(f"the file says no pixel size; {mpp:g} um {how} (--mpp says another)")
    odd = odd_stain(pixels)
    if odd is not None:
        notices.append(odd)
    places = look(read, shape, mpp, detector, progress)
    found = gather(places, limits_of(detector, limits))
    notices += advice(found)
    return Detection(found, tuple(notices))


def limits_of(detector: Detector, limits: Limits | None = None) -> Limits:
    """Return limits in which the detector's own thresholds stand where the user names none."""
    limits = Limits(peak=detector.config.peak) if limits is None else limits
    return replace(limits, by_class={**detector.config.thresholds, **limits.by_class})


def limits_for(
    detector: Detector, probability: float | None = None, smallest_um2: float | None = None
) -> Limits:
    """Return the limits of a detector, with what a user sets instead.

    Parameters
    ----------
    probability : float, optional
        Of all classes; the peak that a region must reach is at least as high.
    smallest_um2 : float, optional
    """
    limits = limits_of(detector)
    if probability is not None:
        peak = max(probability, min(limits.peak, (1 + probability) / 2))
        limits = replace(
            limits,
            probability=probability,
            peak=peak,
            by_class=dict.fromkeys(ARTIFACTS, probability),
        )
    return limits if smallest_um2 is None else replace(limits, smallest_um2=smallest_um2)


def advice(found: Found) -> list[str]:
    """Say what helps where tissue is there and seen badly."""
    shares = found.shares()
    return [
        f"{shares[name]:.1%} of the tissue is {what}, which is not restored: {INSTEAD[name]}"
        for name, what in (
            ("out_of_focus", "out of focus"),
            ("haze", "veiled by haze"),
            ("scanner", "marked by the scanner"),
        )
        if shares[name] >= 0.0005
    ]


def _sampled(read: Read, shape: tuple[int, int]) -> list[npt.NDArray[np.uint8]]:
    """Read some squares of an image that lie evenly over it."""
    height, width = shape
    side_y, side_x = min(height, _SAMPLE_PX), min(width, _SAMPLE_PX)
    per_axis = round(_SAMPLES**0.5)
    parts = []
    for row in range(1 if height <= side_y else per_axis):
        for column in range(1 if width <= side_x else per_axis):
            y = round((height - side_y) * (row + 0.5) / per_axis)
            x = round((width - side_x) * (column + 0.5) / per_axis)
            y, x = (0 if height <= side_y else y), (0 if width <= side_x else x)
            parts.append(read((x, y, side_x, side_y)))
    return parts
