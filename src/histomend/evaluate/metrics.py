"""Distances between a restored image and the truth, as in the paper's Table 1.

Every function is correct for the image's own range (255 for 8 bits). ``compat="paper"`` computes
PSNR, SSIM and SRE as the package behind that table does with its defaults, so that a figure can
be laid beside it; such a figure says nothing by itself.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import ndimage

from histomend.errors import ImageSizeError, SettingError
from histomend.evaluate.pairs import checked_pair, checked_region
from histomend.evaluate.phase_congruency import phase_congruency

Compat = Literal["paper"] | None

# The package behind Table 1 assumes 12-bit satellite images unless told otherwise.
PAPER_DATA_RANGE = 4095.0

FSIM_T1 = 0.85  # similarity constant of phase congruency, Zhang et al. 2011
FSIM_T2 = 160.0  # of gradient magnitude, for values in 0..255
FSIM_T3 = FSIM_T4 = 200.0  # of the two chroma channels
FSIM_LAMBDA = 0.03  # weight of chroma in FSIMc
# FSIM is defined at a fixed viewing scale: the shorter side is brought to about this.
FSIM_SIDE_PX = 256

_SCHARR = np.array([[3.0, 0.0, -3.0], [10.0, 0.0, -10.0], [3.0, 0.0, -3.0]]) / 16.0
_RGB_TO_YIQ = np.array(
    [[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]], dtype=np.float64
)
_SSIM_WINDOW_PX = 7


def l2(truth: np.ndarray, image: np.ndarray, mask: np.ndarray) -> float:
    """Compute the L2 distance with respect to the artifact region.

    The Euclidean norm of the difference, over all masked pixels and their three channels, in
    units of the file values (0..255 for 8 bits): ``sqrt(sum over mask of (image - truth)**2)``.
    It is not divided by the number of pixels, so it grows with the masked area: compare rows on
    the same masks only.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    mask : (H, W) bool
        True where the artifact was.

    Raises
    ------
    UnsupportedImageError, ImageSizeError
        See :func:`mse`.
    MaskError
        The mask is of another size, not boolean, or empty.

    Notes
    -----
    The paper's L2 column cannot be compared: the script behind it subtracts unsigned 8-bit
    values, which wrap around, and does not say which norm and which units it is in.
    """
    true, seen = checked_pair(truth, image)
    inside = checked_region(mask, true.shape[:2])
    return float(np.sqrt(np.sum((seen[inside] - true[inside]) ** 2)))


def mse(truth: np.ndarray, image: np.ndarray) -> float:
    """Compute the mean squared error over the whole image, in squared file values.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16

    Raises
    ------
    UnsupportedImageError
        An array is not (H, W, 3) uint8 or uint16.
    ImageSizeError
        The two differ in size, or have no pixels.

    Notes
    -----
    The paper's MSE column cannot be compared: its script wraps around and keeps the last image
    only.
    """
    true, seen = checked_pair(truth, image)
    return float(np.mean((seen - true) ** 2))


def psnr(
    truth: np.ndarray, image: np.ndarray, *, data_range: float = 255.0, compat: Compat = None
) -> float:
    """Compute the peak signal-to-noise ratio in dB; infinite for equal images.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    data_range : float
        Largest possible value: 255 for 8 bits, 65535 for 16.
    compat : {None, "paper"}
        "paper" takes a peak of 4095 whatever ``data_range`` says, which adds 24.11 dB to an
        8-bit image's figure.

    Raises
    ------
    SettingError
        ``data_range`` is not positive, or ``compat`` is unknown.
    ValueRangeError
        A value is above ``data_range``.
    UnsupportedImageError, ImageSizeError
        See :func:`mse`.
    """
    true, seen = checked_pair(truth, image, data_range)
    error = float(np.mean((seen - true) ** 2))
    if error == 0:
        return math.inf
    return 20 * math.log10(_peak(data_range, compat)) - 10 * math.log10(error)


def ssim(
    truth: np.ndarray, image: np.ndarray, *, data_range: float = 255.0, compat: Compat = None
) -> float:
    """Compute the structural similarity index, mean over channels, 1 for equal images.

    Wang et al. 2004 with a uniform 7x7 window, sample covariance, K1 = 0.01 and K2 = 0.03, on
    each channel (scikit-image's ``structural_similarity``).

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16, at least 7x7
    data_range : float
        Largest possible value: 255 for 8 bits, 65535 for 16.
    compat : {None, "paper"}
        "paper" derives the two constants from a range of 4095, which swamps the local variances
        of 8-bit images and so inflates the figure.

    Raises
    ------
    SettingError, UnsupportedImageError, ImageSizeError, ValueRangeError
        See :func:`psnr`; also an image smaller than the window.
    """
    from skimage.metrics import structural_similarity

    true, seen = checked_pair(truth, image, data_range)
    if min(true.shape[:2]) < _SSIM_WINDOW_PX:
        raise ImageSizeError(
            f"SSIM needs at least {_SSIM_WINDOW_PX}x{_SSIM_WINDOW_PX} pixels for its window, and "
            f"the images are {true.shape[1]}x{true.shape[0]}: compare a larger field."
        )
    return float(
        structural_similarity(
            true,
            seen,
            win_size=_SSIM_WINDOW_PX,
            data_range=_peak(data_range, compat),
            channel_axis=-1,
        )
    )


def sre(
    truth: np.ndarray, image: np.ndarray, *, data_range: float = 255.0, compat: Compat = None
) -> float:
    """Compute the signal to reconstruction error ratio in dB; infinite for equal images.

    Lanaras et al. 2018: per channel ``10 log10(mean(truth)**2 / mean((image - truth)**2))``, and
    the mean of the three. Unlike PSNR it does not punish an error less in a bright image.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    data_range : float
        Largest possible value; only checked against the values, the figure does not need it.
    compat : {None, "paper"}
        "paper" divides by the norm instead of its square,
        ``10 log10(mean over channels of (mean(truth)**2 / (norm(image - truth) / N)))`` with N
        pixels, as the package behind Table 1 does. That figure depends on the image's size.

    Raises
    ------
    SettingError, UnsupportedImageError, ImageSizeError, ValueRangeError
        See :func:`psnr`.
    """
    true, seen = checked_pair(truth, image, data_range)
    _peak(data_range, compat)
    signal = np.mean(true, axis=(0, 1)) ** 2
    squares = np.sum((seen - true) ** 2, axis=(0, 1))
    pixels = true.shape[0] * true.shape[1]
    if not signal.all():
        # A black channel has no signal to lose: 0 / 0 where it is equal, nothing otherwise.
        signal = np.where((signal == 0) & (squares == 0), np.inf, signal)
    with np.errstate(divide="ignore"):
        if compat == "paper":
            return float(10 * np.log10(np.mean(signal / (np.sqrt(squares) / pixels))))
        return float(np.mean(10 * np.log10(signal / (squares / pixels))))


def fsim(
    truth: np.ndarray, image: np.ndarray, *, data_range: float = 255.0, chromatic: bool = False
) -> float:
    """Compute the feature similarity index, 1 for equal images.

    Zhang et al. 2011: similarity of phase congruency (T1 = 0.85) and of Scharr gradient magnitude
    (T2 = 160) of the luminance, averaged with the larger phase congruency as weight. As there,
    images whose shorter side is 384 pixels or more are first averaged down to about 256.

    Parameters
    ----------
    truth, image : (H, W, 3) uint8 or uint16
    data_range : float
        Largest possible value: 255 for 8 bits, 65535 for 16.
    chromatic : bool
        FSIMc: also the similarity of the I and Q chroma channels.

    Raises
    ------
    SettingError, UnsupportedImageError, ImageSizeError, ValueRangeError
        See :func:`psnr`.

    Notes
    -----
    The package behind Table 1 averages the three channels, uses six orientations and clips
    negative gradients, so the paper's FSIM column is a relative of this figure, not the same.
    """
    true, seen = checked_pair(truth, image, data_range)
    # T2 to T4 are given for values in 0..255.
    to_yiq = _RGB_TO_YIQ.T * (255.0 / data_range)
    y1, i1, q1 = np.moveaxis(_shrunk(true) @ to_yiq, -1, 0)
    y2, i2, q2 = np.moveaxis(_shrunk(seen) @ to_yiq, -1, 0)
    pc1, pc2 = phase_congruency(y1), phase_congruency(y2)
    score = _similarity(pc1, pc2, FSIM_T1) * _similarity(_gradient(y1), _gradient(y2), FSIM_T2)
    if chromatic:
        chroma = _similarity(i1, i2, FSIM_T3) * _similarity(q1, q2, FSIM_T4)
        # Opposite chroma makes this negative; its real power is what the authors take.
        score = score * np.real(chroma.astype(np.complex128) ** FSIM_LAMBDA)
    weight = np.maximum(pc1, pc2)
    return float(np.sum(score * weight) / np.sum(weight))


def _similarity(a: np.ndarray, b: np.ndarray, constant: float) -> np.ndarray:
    similar: np.ndarray = (2 * a * b + constant) / (a**2 + b**2 + constant)
    return similar


def _gradient(grey: np.ndarray) -> np.ndarray:
    return np.hypot(
        ndimage.convolve(grey, _SCHARR, mode="constant"),
        ndimage.convolve(grey, _SCHARR.T, mode="constant"),
    )


def _shrunk(values: np.ndarray) -> np.ndarray:
    factor = max(1, round(min(values.shape[:2]) / FSIM_SIDE_PX))
    if factor == 1:
        return values
    height, width = (side // factor for side in values.shape[:2])
    blocks = values[: height * factor, : width * factor]
    shrunk: np.ndarray = blocks.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    return shrunk


def _peak(data_range: float, compat: Compat) -> float:
    if compat is None:
        return data_range
    if compat == "paper":
        return PAPER_DATA_RANGE
    raise SettingError(f'compat is {compat!r}: give None, or "paper" for a figure as in Table 1.')
