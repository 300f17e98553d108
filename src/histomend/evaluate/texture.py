"""Is the restored region tissue, or a blur, or noise? Texture and colour inside the mask.

Fidelity measures reward a blur over an invented nucleus in the wrong place. These compare how
much detail of which size there is, wherever it lies, so a plausible restoration scores 1. They
look at pixels inside the mask only, since those outside are the same in both images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from histomend.errors import MaskError
from histomend.evaluate.pairs import checked_pair, checked_region

# Rec. 709 luma, for images in file values.
LUMA = np.array([0.2125, 0.7154, 0.0721])
# Octaves in cycles per pixel; at 0.5 um per pixel the first is a cell, the last a speck.
BANDS = ((1 / 32, 1 / 16), (1 / 16, 1 / 8), (1 / 8, 1 / 4), (1 / 4, 1 / 2))
# The window rises from the mask's border over this distance, or over the whole depth if less.
TAPER_PX = 8.0


@dataclass(frozen=True)
class SpectrumRatio:
    """Power of an image's texture over that of the truth.

    Attributes
    ----------
    bands : tuple of (float, float)
        Spatial frequencies from and to, in cycles per pixel.
    ratios : tuple of float
        One per band, 1 where both have the same power.
    summary : float
        Their geometric mean.
    """

    bands: tuple[tuple[float, float], ...]
    ratios: tuple[float, ...]
    summary: float


def laplacian_ratio(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Compare the finest detail: variance of the Laplacian inside the mask, image over truth.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    mask : (H, W) bool
        It is eroded by a pixel first, so that the 3x3 Laplacian sees none outside.

    Returns
    -------
    float
        Below 1 for a blur, above for noise; NaN where both are flat, infinite where only the
        truth is.

    Raises
    ------
    MaskError
        The mask does not fit the image, or is nowhere 3 pixels wide.
    UnsupportedImageError, ImageSizeError
        See :func:`histomend.evaluate.metrics.mse`.
    """
    true, seen = checked_pair(truth, image)
    region = checked_region(mask, true.shape[:2])
    inner = ndimage.binary_erosion(region, np.ones((3, 3), dtype=bool))
    if not inner.any():
        raise MaskError("The mask is nowhere 3 pixels wide, too thin to measure texture in.")
    before, after = (float(np.var(ndimage.laplace(x @ LUMA)[inner])) for x in (true, seen))
    return _ratio(after, before)


def spectrum_ratio(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> SpectrumRatio:
    """Compare detail of every size: radially averaged power spectra inside the mask.

    Both images' luma has its mean inside the mask taken off and is multiplied by the same window,
    which is 0 outside the mask and rises as a squared sine over 8 pixels from its border. So the
    irregular shape smears both spectra alike. Power is averaged over all frequencies of an octave.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    mask : (H, W) bool

    Returns
    -------
    SpectrumRatio
        Image over truth, per octave from 1/32 to 1/2 cycles per pixel, and their geometric mean;
        NaN and infinite as in :func:`laplacian_ratio`.

    Raises
    ------
    MaskError, UnsupportedImageError, ImageSizeError
        See :func:`laplacian_ratio`; any mask that is not empty will do.
    """
    true, seen = checked_pair(truth, image)
    region = checked_region(mask, true.shape[:2])
    # The image's own border is no border of the damage, but the field ends there.
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    window = np.sin(np.pi / 2 * np.minimum(depth / min(TAPER_PX, depth.max()), 1.0)) ** 2
    rows, columns = np.nonzero(region)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    before, after = (_band_power((x @ LUMA)[box], window[box]) for x in (true, seen))
    ratios = tuple(_ratio(a, b) for a, b in zip(after, before, strict=True))
    with np.errstate(divide="ignore"):
        summary = float(np.exp(np.mean(np.log(ratios))))
    return SpectrumRatio(BANDS, ratios, summary)


def mean_ciede2000(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Compute how far apart the mean colours inside the mask are.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16, sRGB
    mask : (H, W) bool

    Returns
    -------
    float
        CIEDE2000 difference of the two mean CIELAB colours; about 1 is just visible side by side.

    Raises
    ------
    MaskError, UnsupportedImageError, ImageSizeError
        See :func:`laplacian_ratio`; any mask that is not empty will do.
    """
    from skimage.color import deltaE_ciede2000

    checked_pair(truth, image)
    region = checked_region(mask, truth.shape[:2])
    before, after = (_lab(x[region]).mean(axis=0) for x in (truth, image))
    return float(deltaE_ciede2000(before, after))


def border_step(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Compare the colour step across the mask's border, image over truth.

    The step is the mean CIEDE2000 difference of all pairs of neighbouring pixels of which one is
    inside and one outside.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16, sRGB
    mask : (H, W) bool

    Returns
    -------
    float
        1 where the border shows no more than anywhere else, above 1 for a visible seam; NaN and
        infinite as in :func:`laplacian_ratio`.

    Raises
    ------
    MaskError
        The mask does not fit the image, or has no border within it.
    UnsupportedImageError, ImageSizeError
        See :func:`histomend.evaluate.metrics.mse`.
    """
    from skimage.color import deltaE_ciede2000

    checked_pair(truth, image)
    region = checked_region(mask, truth.shape[:2])
    down, right = region[1:] != region[:-1], region[:, 1:] != region[:, :-1]
    if not (down.any() or right.any()):
        raise MaskError("The mask covers the whole image, so it has no border to look at.")
    steps = []
    for pixels in (truth, image):
        one = np.concatenate([pixels[:-1][down], pixels[:, :-1][right]])
        other = np.concatenate([pixels[1:][down], pixels[:, 1:][right]])
        steps.append(float(deltaE_ciede2000(_lab(one), _lab(other)).mean()))
    return _ratio(steps[1], steps[0])


def _lab(colours: np.ndarray) -> np.ndarray:
    from skimage.color import rgb2lab

    return rgb2lab(colours)


def _band_power(luma: np.ndarray, window: np.ndarray) -> list[float]:
    level = np.sum(luma * window) / np.sum(window)
    power = np.abs(fft.fft2((luma - level) * window)) ** 2
    height, width = luma.shape
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None, :])
    means = []
    for low, high in BANDS:
        inside = (frequency >= low) & (frequency < high)
        means.append(float(power[inside].mean()) if inside.any() else 0.0)
    return means


def _ratio(after: float, before: float) -> float:
    # A flat region's variance is not exactly 0 in floating point.
    tiny = 1e-9
    if before > tiny:
        return after / before
    return math.nan if after <= tiny else math.inf
