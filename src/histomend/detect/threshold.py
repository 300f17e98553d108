"""Find artifacts by thresholds on density, colour and sharpness, adapted to the image.

ArtiFusion says that "we first use a threshold method to detect the artifact region" and no more;
this is ours. Four rules, each a threshold that a person can look at:

dark
    Blue density far above that of the image's own tissue: folds, pigment, dirt, black ink.
grey
    Density without colour: dirt and fibres on glass, haze above the focus, rims of bubbles (whose
    inside is then filled). Tissue is never grey.
ink
    Red density that hematoxylin does not explain: blue, green and black inks.
blurred
    Tissue without fine contrast.

The defaults were fitted on all slides of the real artifacts by ``benchmarks/detection.py``, which
prints them; what they reach on slides they were not fitted on is in ``docs/results/detection.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.detect.features import Features, measure

Mask = npt.NDArray[np.bool_]

# Red density that a given green density of hematoxylin and eosin explains.
_INK_RATIO = 0.7


@dataclass(frozen=True)
class Thresholds:
    """Settings of `detect`. Densities are natural optical densities above glass.

    Attributes
    ----------
    dark_offset, dark_gain : blue density (3 um) above ``offset + gain * q`` is dark, q being the
        lower quartile over the image's own tissue.
    dark_red : red density as a fraction of the blue one that something dark has at least; blood
        and muscle have less.
    dark_brown : blue density as a fraction of the green one (2 um) up to which something is dark;
        above it, it is brown, as DAB, bile and melanin are.
    grey_on_glass, grey_on_tissue : least density of the three channels (1 um) that starts a grey
        region in an image of bare glass and in one full of tissue; in between by tissue area.
    grey_edge : fraction of that density down to which a grey region spreads.
    grey_chroma : spread between channels, as a fraction of the least density, up to which
        something is grey; 0 is perfectly neutral.
    close_um : gaps in rims and crusts up to twice this wide are closed, um.
    enclosed_um2 : area inside a closed grey rim that is taken as a bubble, um2.
    ink_excess : red density above 0.7 times the green one (2 um) that is ink.
    ink_red : red density (2 um) that ink has at least.
    sharpness : fine contrast (0.5 to 1 um) relative to density below which tissue is blurred.
    sharpness_fraction : the same as a fraction of the image's own upper quartile; the smaller of
        the two counts, so that a soft scanner's images are not blurred all over.
    blurred_um2 : smallest blurred region, um2.
    hole_um2 : holes up to this size are filled in any region, um2.
    smallest_um2 : smaller regions are dropped, um2.
    margin_um : every region is grown by this much, um.
    """

    dark_offset: float = 0.35
    dark_gain: float = 1.0
    dark_red: float = 0.55
    dark_brown: float = 1.05
    grey_on_glass: float = 0.08
    grey_on_tissue: float = 0.5
    grey_edge: float = 0.4
    grey_chroma: float = 0.1
    close_um: float = 2.0
    enclosed_um2: float = 4000.0
    ink_excess: float = 0.1
    ink_red: float = 0.3
    sharpness: float = 0.055
    sharpness_fraction: float = 0.7
    blurred_um2: float = 1500.0
    hole_um2: float = 2400.0
    smallest_um2: float = 250.0
    margin_um: float = 1.0


def detect(
    pixels: npt.NDArray[Any],
    *,
    mpp: float | None = None,
    thresholds: Thresholds | None = None,
) -> Mask:
    """Find the artifacts of an image.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16 RGB, each side at least 64 px; of 16 bits the upper 8 count.
    mpp : micrometres per pixel; None is taken as 0.5 (a 20x scan).
    thresholds : settings; None for the fitted ones.

    Returns
    -------
    mask : (H, W) bool, True where there is an artifact; all False on a clean image.

    Raises
    ------
    UnsupportedImageError
        When ``pixels`` is not an (H, W, 3) array of either type.
    ImageSizeError
        When a side is shorter than 64 px.
    PixelSizeError
        When ``mpp`` is outside 0.05 to 20.
    """
    return find_with_share(pixels, mpp=mpp, thresholds=thresholds)[0]


def find_with_share(
    pixels: npt.NDArray[Any],
    *,
    mpp: float | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[Mask, float]:
    """Do what `detect` does, and also return which share of the coloured tissue was found."""
    mask, found, tissue = find_with_counts(pixels, mpp=mpp, thresholds=thresholds)
    return mask, found / tissue if tissue else 0.0


def find_with_counts(
    pixels: npt.NDArray[Any],
    *,
    mpp: float | None = None,
    thresholds: Thresholds | None = None,
) -> tuple[Mask, int, int]:
    """Do what `detect` does, and count.

    Returns
    -------
    mask : (H, W) bool
    found, tissue : int
        Pixels of coloured tissue that were found, and of all, at the resolution of the features.
    """
    deep = getattr(pixels, "dtype", None) == np.uint16
    features = measure((pixels >> 8).astype(np.uint8) if deep else pixels, mpp=mpp)
    found = decide(features, thresholds or Thresholds())
    tissue = int(np.count_nonzero(features.coloured))
    inside = int(np.count_nonzero(found & features.coloured))
    return enlarge(found, features.shape), inside, tissue


def decide(features: Features, thresholds: Thresholds) -> Mask:
    """Apply the thresholds to measured features: (h, w) bool at the features' resolution."""
    found = tidy(
        find_dark(features, thresholds)
        | find_grey(features, thresholds)
        | find_ink(features, thresholds),
        features.um,
        thresholds,
    )
    return found | find_blurred(features, thresholds)


def find_dark(features: Features, thresholds: Thresholds) -> Mask:
    """Mark what absorbs far more blue than the image's own tissue."""
    limit = thresholds.dark_offset + thresholds.dark_gain * features.usual_dark
    return np.asarray(
        (features.dark > limit)
        & (features.red >= thresholds.dark_red * features.dark)
        & (features.dark <= thresholds.dark_brown * features.green),
        dtype=np.bool_,
    )


def find_grey(features: Features, thresholds: Thresholds) -> Mask:
    """Mark what absorbs all colours alike, closing rims and filling what they enclose."""
    um = features.um
    on_glass, on_tissue = thresholds.grey_on_glass, thresholds.grey_on_tissue
    start = on_glass + features.tissue * (on_tissue - on_glass)
    # Camera noise makes very pale grey slightly coloured: 0.01 is allowed to it.
    grey = (features.least > thresholds.grey_edge * start) & (
        features.chroma < thresholds.grey_chroma * features.least + 0.01
    )
    seeds = _drop_small(grey & (features.least > start), 8.0 / um**2)
    region = _connected_to(seeds, grey)
    region = _close(region, thresholds.close_um / um)
    return _fill_holes(region, thresholds.enclosed_um2 / um**2)


def find_ink(features: Features, thresholds: Thresholds) -> Mask:
    """Mark red density that hematoxylin does not bring."""
    excess = features.red - _INK_RATIO * features.green
    return np.asarray(
        (excess > thresholds.ink_excess) & (features.red >= thresholds.ink_red), dtype=np.bool_
    )


def find_blurred(features: Features, thresholds: Thresholds) -> Mask:
    """Mark tissue without fine contrast, at the resolution of the density planes."""
    own = thresholds.sharpness_fraction * features.usual_sharpness
    soft = features.sharpness < min(thresholds.sharpness, own)
    cell_um2 = (
        features.dark.shape[0] * features.dark.shape[1] * features.um**2 / features.sharpness.size
    )
    soft = _drop_small(soft, thresholds.blurred_um2 / cell_um2)
    return enlarge(soft, (features.dark.shape[0], features.dark.shape[1]))


def tidy(mask: Mask, um: float, thresholds: Thresholds) -> Mask:
    """Fill holes, drop specks, and add the margin."""
    mask = _fill_holes(mask, thresholds.hole_um2 / um**2)
    mask = _drop_small(mask, thresholds.smallest_um2 / um**2)
    radius = round(thresholds.margin_um / um)
    if radius == 0:
        return mask
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0, dtype=np.bool_)


def _disc(radius: int) -> npt.NDArray[np.uint8]:
    size = 2 * radius + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return np.asarray(disc, dtype=np.uint8)


def _drop_small(mask: Mask, smallest: float) -> Mask:
    """Remove 8-connected regions of fewer than ``smallest`` px."""
    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)


def _connected_to(seeds: Mask, region: Mask) -> Mask:
    """Keep those 8-connected parts of a region that hold a seed."""
    if not seeds.any():
        return seeds
    count, labels = cv2.connectedComponents(region.astype(np.uint8), connectivity=8)
    keep = np.zeros(count, dtype=np.bool_)
    keep[np.unique(labels[seeds])] = True
    keep[0] = False
    return np.asarray(keep[labels], dtype=np.bool_)


def _close(mask: Mask, radius_px: float) -> Mask:
    """Close gaps; the image border counts as a continuation of what touches it."""
    radius = round(radius_px)
    if radius == 0:
        return mask
    padded = cv2.copyMakeBorder(
        mask.astype(np.uint8), radius, radius, radius, radius, cv2.BORDER_REPLICATE
    )
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(radius))
    return np.asarray(closed[radius:-radius, radius:-radius] > 0, dtype=np.bool_)


def _fill_holes(mask: Mask, largest: float) -> Mask:
    """Fill 4-connected holes of at most ``largest`` px that do not touch the border."""
    if not mask.any():
        return mask
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    left, top = stats[:, cv2.CC_STAT_LEFT], stats[:, cv2.CC_STAT_TOP]
    right = left + stats[:, cv2.CC_STAT_WIDTH]
    bottom = top + stats[:, cv2.CC_STAT_HEIGHT]
    enclosed = (left > 0) & (top > 0) & (right < mask.shape[1]) & (bottom < mask.shape[0])
    fill = enclosed & (stats[:, cv2.CC_STAT_AREA] <= math.floor(largest))
    fill[0] = False
    return mask | np.asarray(fill[labels], dtype=np.bool_)


def enlarge(mask: Mask, shape: tuple[int, int]) -> Mask:
    """Bring a mask to another size with smooth borders."""
    if mask.shape == shape:
        return mask
    size = (shape[1], shape[0])
    full = cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(full > 127, dtype=np.bool_)
