"""L1-intensity and L1-texture: do restored nuclei look like the true ones (Histo-Diffusion)?

Nuclei are outlined in the clean image, and both images are measured inside those outlines: an
invented nucleus elsewhere does not count, a nucleus that was lost or blurred does. The paper
(section 3.3) leaves the definition of its features open. This one is fixed: grey is Rec. 709 luma
in 256 levels, the grey-level co-occurrence matrix (GLCM) is symmetric, normalised, at distance 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from histomend.errors import InputError, MaskError
from histomend.evaluate.pairs import checked_pair
from histomend.evaluate.texture import LUMA

INTENSITY = ("mean", "sd", "skewness", "kurtosis")
TEXTURE = ("contrast", "dissimilarity", "homogeneity", "energy")
LEVELS = 256
# (down, right) at 0, 45, 90 and 135 degrees.
NEIGHBOURS = ((0, 1), (1, 1), (1, 0), (1, -1))
# Below this variance, in squared grey levels, a nucleus is flat: one of grey integers that are not
# all equal has at least (N - 1) / N², which is more for any N below a million pixels.
FLAT = 1e-6

NO_NUCLEI = (
    "No nuclei were found in the clean image, so there is nothing to compare: check its stain and "
    "its pixel size, or leave this image out."
)


@dataclass(frozen=True)
class NuclearL1:
    """How far a restored image's nuclei are from the true ones, 0 where they are the same.

    Attributes
    ----------
    intensity : float
        L1-intensity: the mean over nuclei of the summed differences of :data:`INTENSITY`.
    texture : float
        L1-texture: the same of :data:`TEXTURE`. Contrast has by far the largest values.
    parts : dict of str to float
        The mean absolute difference of each of the eight features.
    nuclei : int
        How many nuclei the figures rest on.
    message : str
        Why all figures are NaN; empty if they are not.
    """

    intensity: float
    texture: float
    parts: dict[str, float]
    nuclei: int
    message: str = ""


def nuclear_l1(truth: np.ndarray, image: np.ndarray, labels: np.ndarray) -> NuclearL1:
    """Compare grey values and texture nucleus by nucleus.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
        Clean and restored image of the same field. 16 bits are brought to 8.
    labels : (H, W) int
        The nuclei of the clean image: 0 outside, another number for each nucleus, as
        :func:`histomend.evaluate.nuclei.segment_nuclei` or
        :class:`histomend.evaluate.hover.HoverNuclei` find them.

    Returns
    -------
    NuclearL1
        NaN with a message, never 0, where there are no nuclei.

    Raises
    ------
    UnsupportedImageError, ImageSizeError
        See :func:`histomend.evaluate.pairs.checked_pair`.
    MaskError
        The labels are no whole numbers, or of another size than the images.

    Notes
    -----
    Histo-Diffusion, section 3.3 and Fig. 7 (a).
    """
    checked_pair(truth, image)
    greys = grey_levels(truth), grey_levels(image)
    names = (*INTENSITY, *TEXTURE)
    before, after = (
        np.concatenate([intensity_features(grey, labels), texture_features(grey, labels)], axis=1)
        for grey in greys
    )
    if not len(before):
        return NuclearL1(math.nan, math.nan, dict.fromkeys(names, math.nan), 0, NO_NUCLEI)
    differences = np.abs(after - before).mean(axis=0)
    return NuclearL1(
        intensity=float(differences[: len(INTENSITY)].sum()),
        texture=float(differences[len(INTENSITY) :].sum()),
        parts={name: float(part) for name, part in zip(names, differences, strict=True)},
        nuclei=len(before),
    )


def over_images(found: Sequence[NuclearL1]) -> NuclearL1:
    """Average over images, each of which counts the same however many nuclei it has.

    Parameters
    ----------
    found : sequence of NuclearL1
        One per image; those without nuclei are left out.

    Returns
    -------
    NuclearL1
        Of all nuclei together; NaN with a message where no image has any.

    Raises
    ------
    InputError
        There are no images.
    """
    if not found:
        raise InputError("There are no images to average over: compare at least one.")
    told = [one for one in found if one.nuclei]
    if not told:
        return found[0]
    return NuclearL1(
        intensity=float(np.mean([one.intensity for one in told])),
        texture=float(np.mean([one.texture for one in told])),
        parts={name: float(np.mean([one.parts[name] for one in told])) for name in told[0].parts},
        nuclei=sum(one.nuclei for one in told),
    )


def grey_levels(pixels: np.ndarray) -> np.ndarray:
    """Convert RGB to 256 grey levels: 0.2125 R + 0.7154 G + 0.0721 B, rounded.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16

    Returns
    -------
    (H, W) uint8
    """
    scale = (LEVELS - 1) / np.iinfo(pixels.dtype).max
    grey: np.ndarray = np.rint(pixels.astype(np.float64) @ LUMA * scale).astype(np.uint8)
    return grey


def intensity_features(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Measure the grey values of each nucleus, inside its outline.

    Parameters
    ----------
    grey : (H, W) uint8
    labels : (H, W) int

    Returns
    -------
    (N, 4) float64
        Mean, SD, skewness and excess kurtosis (0 for a normal distribution) of the population
        that a nucleus' pixels are, in the order of its numbers. The latter two are 0 for a
        nucleus of one grey value: were it left out, painting nuclei flat would go unpunished.

    Raises
    ------
    MaskError
        The labels are no whole numbers, or of another size than the image.
    """
    _check_labels(labels, grey.shape)
    inside = labels != 0
    numbers, owner = np.unique(labels[inside], return_inverse=True)
    values = grey[inside].astype(np.float64)
    count = np.bincount(owner, minlength=len(numbers))
    if not len(numbers):
        return np.empty((0, len(INTENSITY)))

    def mean(of: np.ndarray) -> np.ndarray:
        return np.bincount(owner, weights=of, minlength=len(numbers)) / count

    level = mean(values)
    centred = values - level[owner]
    variance, third, fourth = (mean(centred**power) for power in (2, 3, 4))
    varied = variance > FLAT
    safe = np.where(varied, variance, 1.0)
    skewness = np.where(varied, third / safe**1.5, 0.0)
    kurtosis = np.where(varied, fourth / safe**2 - 3.0, 0.0)
    return np.stack([level, np.sqrt(variance), skewness, kurtosis], axis=1)


def texture_features(grey: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Measure the GLCM of each nucleus, on its bounding box.

    Parameters
    ----------
    grey : (H, W) uint8
    labels : (H, W) int

    Returns
    -------
    (N, 4) float64
        Contrast, dissimilarity, homogeneity and energy (the root of the summed squares), each the
        mean over 0, 45, 90 and 135 degrees; a direction in which the box has no neighbours is
        left out, and a box of one pixel has the values of a flat one, (0, 0, 1, 1).

    Raises
    ------
    MaskError
        See :func:`intensity_features`.

    Notes
    -----
    What scikit-image's ``graycomatrix(box, [1], angles, 256, symmetric=True, normed=True)`` and
    ``graycoprops`` give. All boxes are gone through at once, and no matrix is made: the first
    three features are means over pairs of neighbours, the last needs how often a pair occurs.
    """
    _check_labels(labels, grey.shape)
    boxes = _boxes(labels)
    sums, directions = np.zeros((len(boxes), len(TEXTURE))), np.zeros(len(boxes))
    for down, right in NEIGHBOURS:
        owner, first, second = _pairs(grey, boxes, down, right)
        count = np.bincount(owner, minlength=len(boxes))
        there = count > 0
        step = np.abs(first - second)
        means = [
            np.bincount(owner, weights=of, minlength=len(boxes)) / np.maximum(count, 1)
            for of in (step**2, step, 1.0 / (1.0 + step**2))
        ]
        means.append(np.sqrt(_squares(owner, first, second, len(boxes))) / np.maximum(count, 1))
        sums += np.where(there[:, None], np.stack(means, axis=1), 0.0)
        directions += there
    flat = np.array([0.0, 0.0, 1.0, 1.0])
    return np.where(directions[:, None] > 0, sums / np.maximum(directions, 1)[:, None], flat)


def _check_labels(labels: np.ndarray, shape: tuple[int, ...]) -> None:
    if not np.issubdtype(labels.dtype, np.integer) or labels.shape != shape:
        raise MaskError(
            f"The labels are {labels.dtype} of shape {labels.shape}; whole numbers of shape "
            f"{shape}, the image's, are needed: one for each nucleus, 0 outside."
        )


def _boxes(labels: np.ndarray) -> np.ndarray:
    """Return (top, left, height, width) of each nucleus, (N, 4), in the order of its numbers."""
    # A dense numbering, as the search for boxes goes through every number up to the largest.
    inside = labels != 0
    dense = np.zeros(labels.shape, np.intp)
    dense[inside] = np.unique(labels[inside], return_inverse=True)[1] + 1
    found = [
        (rows.start, columns.start, rows.stop - rows.start, columns.stop - columns.start)
        for rows, columns in ndimage.find_objects(dense)
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 4)


def _pairs(
    grey: np.ndarray, boxes: np.ndarray, down: int, right: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for all pairs of neighbours within boxes, whose they are, and both grey values."""
    top, left, height, width = boxes.T
    rows, columns = np.maximum(height - down, 0), np.maximum(width - abs(right), 0)
    count = rows * columns
    owner = np.repeat(np.arange(len(boxes)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    y = within // columns[owner] + top[owner]
    x = within % columns[owner] + left[owner] + max(0, -right)
    values = grey.astype(np.int64)
    return owner, values[y, x], values[y + down, x + right]


def _squares(owner: np.ndarray, first: np.ndarray, second: np.ndarray, boxes: int) -> np.ndarray:
    """Return the summed squares of each box's symmetric matrix, times its squared pairs."""
    low, high = np.minimum(first, second), np.maximum(first, second)
    kinds, times = np.unique((owner * LEVELS + low) * LEVELS + high, return_counts=True)
    # Unequal values share their count between two cells of the matrix.
    shared = np.where(kinds // LEVELS % LEVELS == kinds % LEVELS, 1.0, 0.5)
    return np.bincount(kinds // LEVELS**2, weights=shared * times**2.0, minlength=boxes)
