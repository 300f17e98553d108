"""What thresholds are put on: smoothed optical densities and local sharpness.

Measured strip by strip, so that memory stays near that of the few planes that are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from histomend.image import FINEST_MPP, MIN_SIDE, check_mpp, check_rgb

Plane = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

USUAL_MPP = 0.5

# Planes are kept at 1 um/px: fine enough for the rim of a bubble, coarse enough to be quick.
PLANE_UM = 1.0
# Very large fields get coarser planes, so that memory stays bounded: 60 Mpx are 1.2 GB.
_LARGEST_PLANE_PX = 60_000_000
# Smoothing, Gaussian sigma in um. 3 um averages over a nucleus, so that one dark nucleus is no
# fold; 1 um keeps rims of bubbles; 2 um averages over grains of ink.
DARK_UM, GREY_UM, INK_UM = 3.0, 1.0, 2.0
# Sharpness: contrast between 0.5 and 1 um, averaged over 12 um, kept at 4 um/px.
FINE_UM, COARSE_UM, SHARPNESS_UM, SHARPNESS_PLANE_UM = 0.5, 1.0, 12.0, 4.0
# An image with less tissue than this says nothing about its tissue; the usual density is taken.
_LEAST_TISSUE_UM2 = 500.0
_USUAL_DARK = 0.15
# Rows of the source that are measured at a time.
_STRIP_PX = 8_000_000


@dataclass(frozen=True)
class Features:
    """Planes of one image, natural optical density above that of the glass.

    Attributes
    ----------
    shape : (height, width) of the image, px.
    um : size of a pixel of the planes, um; 1, or that of the image where it is coarser, and more
        for fields of over 60 mm2.
    dark : (h, w) float32, blue channel, 3 um. Eosin and hematoxylin absorb little blue; doubled
        tissue, dirt and black ink do.
    least : (h, w) float32, smallest of the three channels, 1 um.
    chroma : (h, w) float32, largest minus smallest channel, 1 um; 0 is grey.
    red, green : (h, w) float32, 2 um. Hematoxylin absorbs more green than red, blue ink does not.
    tissue : fraction of the image that is coloured tissue.
    usual_dark : lower quartile of ``dark`` over that tissue. A quarter of an image is seldom free
        of artifacts where the rest is not, so this is what intact tissue looks like.
    sharpness : (h', w') float32 at 4 um/px, fine contrast relative to the local density; infinite
        where less than half of the neighbourhood is tissue.
    usual_sharpness : upper quartile of ``sharpness`` where it is finite; 0 without tissue.
    coloured : (h, w) bool, that tissue.
    """

    shape: tuple[int, int]
    um: float
    dark: Plane
    least: Plane
    chroma: Plane
    red: Plane
    green: Plane
    tissue: float
    usual_dark: float
    sharpness: Plane
    usual_sharpness: float
    coloured: npt.NDArray[np.bool_]


def measure(pixels: Pixels, *, mpp: float | None = None) -> Features:
    """Measure all features of an image.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 RGB, each side at least 64 px.
    mpp : micrometres per pixel; None is taken as 0.5 (a 20x scan).

    Raises
    ------
    UnsupportedImageError
        When ``pixels`` is not an (H, W, 3) uint8 array.
    ImageSizeError
        When a side is shorter than 64 px.
    PixelSizeError
        When ``mpp`` is outside 0.05 to 20.
    """
    check_rgb(
        pixels,
        "Detecting artifacts",
        hint="Scale values to 0..255, drop an alpha channel; a grey image needs a mask made by "
        "hand, as the thresholds are on colour.",
        least=MIN_SIDE,
    )
    mpp = USUAL_MPP if mpp is None else check_mpp(mpp, "mpp", least=FINEST_MPP)
    height, width = pixels.shape[:2]
    um = max(mpp, PLANE_UM, mpp * math.sqrt(height * width / _LARGEST_PLANE_PX))
    rows, columns = max(1, round(height * mpp / um)), max(1, round(width * mpp / um))
    planes = {
        name: np.empty((rows, columns), dtype=np.float32)
        for name in ("dark", "least", "chroma", "red", "green")
    }
    tissue = np.empty((rows, columns), dtype=np.bool_)
    glass = _glass(pixels)
    halo = math.ceil(4 * DARK_UM / um)
    step = max(1, round(_STRIP_PX / width * mpp / um))
    for top in range(0, rows, step):
        bottom = min(rows, top + step)
        first, last = max(0, top - halo), min(rows, bottom + halo)
        od = _density(_resize(pixels, first, last, rows, columns), glass)
        inner = slice(top - first, bottom - first)
        for name, plane in _smooth(od, um).items():
            (tissue if name == "tissue" else planes[name])[top:bottom] = plane[inner]
    sharpness = _sharpness(pixels, mpp)
    known = sharpness[np.isfinite(sharpness)]
    return Features(
        (height, width),
        um,
        **planes,
        tissue=float(tissue.mean()),
        usual_dark=_usual_dark(planes["dark"][tissue], um),
        sharpness=sharpness,
        usual_sharpness=float(np.percentile(known, 75)) if known.size else 0.0,
        coloured=tissue,
    )


def find_tissue(pixels: Pixels, mpp: float) -> npt.NDArray[np.bool_]:
    """Mark coloured tissue, that of which `Features.tissue` is the share.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 RGB
        At 1 um/px or coarser, as an overview of a slide is.
    mpp : micrometres per pixel.

    Returns
    -------
    (H, W) bool
    """
    return np.asarray(_smooth(_density(pixels, _glass(pixels)), mpp)["tissue"], dtype=np.bool_)


def _usual_dark(dark: Plane, um: float) -> float:
    """Take the lower quartile over tissue, or the usual one where there is next to none."""
    if dark.size * um**2 < _LEAST_TISSUE_UM2:
        return _USUAL_DARK
    return float(np.percentile(dark[:: 1 + dark.size // 200_000], 25))


def _resize(pixels: Pixels, first: int, last: int, rows: int, columns: int) -> Pixels:
    """Cut plane rows first..last out of the source and bring them to the plane's resolution."""
    height = pixels.shape[0]
    top, bottom = round(first * height / rows), round(last * height / rows)
    strip = pixels[top:bottom]
    if (last - first, columns) == strip.shape[:2]:
        return strip
    size = (columns, last - first)
    return np.asarray(cv2.resize(strip, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _glass(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Estimate the density of clear glass per channel: the palest hundredth, at most 0.12."""
    stride = max(1, round(math.sqrt(pixels.shape[0] * pixels.shape[1] / 250_000)))
    sample = pixels[::stride, ::stride].reshape(-1, 3)
    pale = np.maximum(np.percentile(sample, 99, axis=0), 1.0)
    return np.minimum(-np.log(pale / 255.0), 0.12).astype(np.float32)


def _density(pixels: Pixels, glass: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Turn pixels into density above glass, (h, w, 3) float32."""
    value = np.maximum(np.arange(256, dtype=np.float32), 1.0)[:, None]
    table = np.maximum(-np.log(value / 255.0) - glass, 0.0).astype(np.float32)
    # One table per channel, as cv2.LUT would have it, without leaving float32.
    return np.stack([table[:, c][pixels[..., c]] for c in range(3)], axis=-1)


def _smooth(od: npt.NDArray[np.float32], um: float) -> dict[str, npt.NDArray[np.generic]]:
    wide, narrow, middle = (_blur(od, s / um) for s in (DARK_UM, GREY_UM, INK_UM))
    spread = wide.max(axis=2) - wide.min(axis=2)
    return {
        "dark": wide[..., 2],
        "least": narrow.min(axis=2),
        "chroma": narrow.max(axis=2) - narrow.min(axis=2),
        "red": middle[..., 0],
        "green": middle[..., 1],
        "tissue": (wide.mean(axis=2) > 0.12) & (spread > 0.08),
    }


def _sharpness(pixels: Pixels, mpp: float) -> Plane:
    """Measure fine contrast relative to density where there is tissue, (h', w') float32."""
    height, width = pixels.shape[:2]
    # Scans finer than 0.5 um/px are brought there first: the band is the same for all.
    work = max(mpp, USUAL_MPP)
    rows, columns = max(1, round(height * mpp / work)), max(1, round(width * mpp / work))
    shrink = max(1, round(SHARPNESS_PLANE_UM / work))
    out = np.empty((-(-rows // shrink), -(-columns // shrink)), dtype=np.float32)
    halo = shrink * math.ceil(4 * SHARPNESS_UM / work / shrink)
    step = shrink * max(1, round(_STRIP_PX / width * mpp / work / shrink))
    for top in range(0, rows, step):
        bottom = min(rows, top + step)
        first, last = max(0, top - halo), min(rows, bottom + halo)
        strip = _resize(pixels, first, last, rows, columns)
        od = _density(strip, np.zeros(3, np.float32)).mean(axis=2)
        fine = _blur(od, FINE_UM / work) - _blur(od, COARSE_UM / work)
        sigma = SHARPNESS_UM / work
        contrast = np.sqrt(_blur(fine * fine, sigma)) / (_blur(od, sigma) + 0.05)
        contrast[_blur((od > 0.15).astype(np.float32), sigma) < 0.5] = np.inf
        # Smoothed over 12 um already, so every fourth micrometre says it all.
        out[top // shrink : -(-bottom // shrink)] = contrast[top - first : bottom - first][
            ::shrink, ::shrink
        ]
    return out


def _blur(values: npt.NDArray[np.float32], sigma: float) -> npt.NDArray[np.float32]:
    if sigma < 0.3:
        return values
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma), dtype=np.float32)
