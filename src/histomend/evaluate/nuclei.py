"""Nuclei in H&E by colour deconvolution, thresholds and a watershed; no learned weights.

Good enough to ask whether a restored region holds about as many nuclei of about the same size as
the truth does, since both are segmented in the same way; not a diagnostic count.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from scipy import ndimage

from histomend.errors import MaskError, PixelSizeError
from histomend.image import check_rgb

# Optical densities of haematoxylin and eosin in red, green and blue (Ruifrok and Johnston 2001).
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
GLASS = 245.0  # value of empty glass on a bright-field scanner

SMOOTHING_UM = 0.5
# A nucleus is darker than its surroundings within about this distance.
SURROUNDINGS_UM = 12.0
# Share of the global threshold in the mixture with the local one.
GLOBAL_SHARE = 0.5
# Below this density of haematoxylin a pixel is never nuclear, whatever a threshold says: fields
# of collagen or of glass have none.
LEAST_DENSITY = 0.12
SMALLEST_UM2 = 10.0
LARGEST_UM2 = 400.0
DEPTH_SMOOTHING_UM = 0.5
# Two peaks of the distance map belong to one nucleus if the saddle is less than this below.
SPLIT_DEPTH_UM = 0.12
# Most steps of flooding before it is left to a library that sorts.
FLOODING_STEPS = 200
# Cell membranes and fibres are stained too, but thinner than nuclei.
LEAST_HALF_WIDTH_UM = 1.4
# Red blood cells absorb less red for the green they absorb than nuclei do. How much haematoxylin
# does differs from slide to slide, so a candidate is compared with the median of its image.
LEAST_RELATIVE_RED = 0.83


def optical_density(pixels: np.ndarray) -> np.ndarray:
    """Convert bright-field values to absorbance, which adds up over stains.

    Parameters
    ----------
    pixels : (H, W, 3) uint8

    Returns
    -------
    (H, W, 3) float64
        ``-log10(value / 245)``, 0 on glass and not below.
    """
    density: np.ndarray = -np.log10(np.clip(pixels.astype(np.float64), 1.0, GLASS) / GLASS)
    return density


def stain_amounts(density: np.ndarray) -> np.ndarray:
    """Separate the haematoxylin from the eosin.

    Parameters
    ----------
    density : (..., 3) float
        Absorbance, see :func:`optical_density`.

    Returns
    -------
    (..., 2) float64
        Amounts of haematoxylin, about 0.3 to 1.5 in nuclei, and of eosin; about 0 on glass, and
        below it for what neither stain explains.

    Notes
    -----
    Ruifrok and Johnston 2001, with the residual's direction at right angles to both stains.
    """
    stains = np.array([HAEMATOXYLIN, EOSIN])
    stains /= np.linalg.norm(stains, axis=1, keepdims=True)
    residual = np.cross(stains[0], stains[1])
    basis = np.vstack([stains, residual / np.linalg.norm(residual)])
    amounts: np.ndarray = (density @ np.linalg.inv(basis))[..., :2]
    return amounts


def haematoxylin(density: np.ndarray) -> np.ndarray:
    """Return the amount of haematoxylin, 0 or more, (H, W) float64; see :func:`stain_amounts`."""
    amount: np.ndarray = np.maximum(stain_amounts(density)[..., 0], 0.0)
    return amount


def segment_nuclei(pixels: np.ndarray, mpp: float = 0.5) -> np.ndarray:
    """Outline the nuclei of an H&E image.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    mpp : float
        Micrometres per pixel; sizes and distances follow from it.

    Returns
    -------
    (H, W) int32
        0 outside nuclei, 1..N inside.

    Raises
    ------
    UnsupportedImageError
        ``pixels`` is not (H, W, 3) uint8.
    PixelSizeError
        ``mpp`` is not a positive number.
    """
    check_field(pixels, mpp)
    density = optical_density(pixels)
    stained = ndimage.gaussian_filter(haematoxylin(density), SMOOTHING_UM / mpp)
    return _nuclei_of(_split(_foreground(stained, mpp), mpp), density, mpp)


def check_field(pixels: np.ndarray, mpp: float) -> None:
    """Check that nuclei can be looked for in an image.

    Raises
    ------
    UnsupportedImageError, PixelSizeError
        See :func:`segment_nuclei`.
    """
    _check_mpp(mpp)
    check_rgb(pixels, "Segmenting nuclei", hint="Convert the image first.")


def nuclei_in(labels: np.ndarray, mask: np.ndarray, mpp: float = 0.5) -> tuple[int, float]:
    """Count the nuclei of a region and add up their area.

    A nucleus is counted if its centroid lies in the region; of its area, the part inside is.

    Parameters
    ----------
    labels : (H, W) int
        See :func:`segment_nuclei`.
    mask : (H, W) bool
        The region.
    mpp : float
        Micrometres per pixel.

    Returns
    -------
    tuple[int, float]
        Number of nuclei, and nuclear area inside the region in square micrometres.

    Raises
    ------
    MaskError
        The mask is not boolean, or of another size than the labels.
    PixelSizeError
        ``mpp`` is not a positive number.
    """
    _check_mpp(mpp)
    if mask.dtype != np.bool_ or mask.shape != labels.shape:
        raise MaskError(
            f"The region is {mask.dtype} of shape {mask.shape}; a boolean one of shape "
            f"{labels.shape}, the labels', is needed."
        )
    area = float(np.count_nonzero(labels[mask])) * mpp**2
    numbers = np.unique(labels[labels > 0])
    if numbers.size == 0:
        return 0, area
    centroids = np.rint(ndimage.center_of_mass(labels > 0, labels, numbers)).astype(int)
    return int(np.count_nonzero(mask[centroids[:, 0], centroids[:, 1]])), area


def _check_mpp(mpp: float) -> None:
    if not (math.isfinite(mpp) and mpp > 0):
        raise PixelSizeError(f"mpp is {mpp}: give the pixel size in micrometres, such as 0.5.")


def _foreground(stained: np.ndarray, mpp: float) -> np.ndarray:
    from skimage.filters import threshold_otsu
    from skimage.morphology import disk

    present = stained[stained > LEAST_DENSITY]
    if present.size < 2 or present.min() == present.max():
        return stained > LEAST_DENSITY
    # In a field of packed nuclei the surroundings are nuclei too, so the local level alone
    # would lose their interiors; the global one alone merges them where staining is heavy.
    nearby = ndimage.gaussian_filter(stained, SURROUNDINGS_UM / mpp)
    level = GLOBAL_SHARE * threshold_otsu(present) + (1 - GLOBAL_SHARE) * nearby
    found = stained > np.maximum(level, LEAST_DENSITY)
    found = ndimage.binary_opening(found, disk(max(1, round(1.0 / mpp))))
    filled: np.ndarray = ndimage.binary_fill_holes(found)
    return filled


def _split(found: np.ndarray, mpp: float) -> np.ndarray:
    """Cut touching nuclei apart where the distance to the background has a saddle."""
    from skimage.measure import label
    from skimage.segmentation import watershed

    depth = ndimage.distance_transform_edt(np.pad(found, 1))[1:-1, 1:-1]
    depth = ndimage.gaussian_filter(depth, DEPTH_SMOOTHING_UM / mpp)
    markers = label(high_maxima(depth, SPLIT_DEPTH_UM / mpp))
    labels: np.ndarray = watershed(-depth, markers, mask=found)
    return labels


def high_maxima(values: np.ndarray, height: float) -> np.ndarray:
    """Find maxima that rise by a height above the saddles around them.

    It is `skimage.morphology.h_maxima`, value for value, and several times faster where flooding
    ends after some steps, as it does among nuclei: that sorts all pixels of an image.

    Parameters
    ----------
    values : (H, W) float64
    height : float

    Returns
    -------
    (H, W) bool
    """
    lowered = values - height - 2 * np.finfo(values.dtype).resolution * np.abs(values)
    flooded = lowered
    for _ in range(FLOODING_STEPS):
        risen = np.minimum(cv2.dilate(flooded, np.ones((3, 3), np.uint8)), values)
        if np.array_equal(risen, flooded):
            break
        flooded = risen
    else:
        from skimage.morphology import reconstruction

        flooded = reconstruction(flooded, values, method="dilation")
    raised: np.ndarray = values - flooded >= height
    return raised


def _nuclei_of(labels: np.ndarray, density: np.ndarray, mpp: float) -> np.ndarray:
    """Drop what has not the size, width or colour of a nucleus, and renumber."""
    from skimage.segmentation import relabel_sequential

    if not labels.any():
        return labels.astype(np.int32)
    numbers = np.arange(1, labels.max() + 1)
    area = ndimage.sum_labels(np.ones(labels.shape), labels, numbers) * mpp**2
    depth = ndimage.distance_transform_edt(labels > 0)
    deepest = np.zeros(len(numbers) + 1)
    np.maximum.at(deepest, labels.ravel(), depth.ravel())
    half_width = deepest[1:] * mpp
    red, green = (ndimage.mean(density[..., band], labels, numbers) for band in (0, 1))
    wrong = (area < SMALLEST_UM2) | (area > LARGEST_UM2) | (half_width < LEAST_HALF_WIDTH_UM)
    red_share = red / np.maximum(green, 1e-3)
    if not wrong.all():
        wrong |= red_share < LEAST_RELATIVE_RED * np.median(red_share[~wrong])
    dropped = np.concatenate([[False], wrong])
    kept = np.where(dropped[labels], 0, labels)
    numbered: np.ndarray = relabel_sequential(kept)[0]
    return numbered.astype(np.int32)
