"""Which tiles are good enough: enough tissue, hardly any artifact, as sharp as the slide can be.

Artifacts and sharpness are those of `histomend.detect`. What dark and what sharp mean is learned
from a sample of the slide rather than from the tile alone: a tile within a fold is dark all over,
and one that is out of focus has nothing sharp to compare with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from histomend.curate.settings import TileSettings
from histomend.detect.features import Features
from histomend.detect.threshold import Thresholds, decide

BACKGROUND, ARTIFACTS, BLURRED = "background", "artifacts", "blurred"
REASONS = (BACKGROUND, ARTIFACTS, BLURRED)
_THRESHOLDS = Thresholds()
# How much darker than usual intact tissue of the same slide may be.
_DARKEST = 1.5


@dataclass(frozen=True)
class Usual:
    """What intact tissue of a slide is like.

    Attributes
    ----------
    dark : median over the sampled tiles of `Features.usual_dark`.
    contrast : upper quartile over them of `Features.usual_sharpness`.
    sharpness : upper quartile over them of `sharpness_of`; 0 if no tile has tissue.
    """

    dark: float
    contrast: float
    sharpness: float


@dataclass(frozen=True)
class Judged:
    """What was found in a tile.

    Attributes
    ----------
    tissue, artifacts : share of the tile, in [0, 1].
    sharpness : relative to the slide's own sharp tissue, which is 1; 0 without tissue.
    rejected : one of `REASONS`, or None if the tile is good.
    """

    tissue: float
    artifacts: float
    sharpness: float
    rejected: str | None


def sharpness_of(features: Features) -> float:
    """Return the median fine contrast of a tile's tissue, relative to density; 0 without tissue.

    Relative to density, since what counts is the focus, not how much there is to see.
    """
    known = features.sharpness[np.isfinite(features.sharpness)]
    return float(np.median(known)) if known.size else 0.0


def usual_of(sample: Iterable[Features]) -> Usual:
    """Return what intact tissue is like on a slide of which some tiles were measured."""
    rows = [
        (one.usual_dark, one.usual_sharpness, sharpness_of(one))
        for one in sample
        if np.isfinite(one.sharpness).any()
    ]
    if not rows:
        return Usual(0.0, 0.0, 0.0)
    dark, contrast, sharpness = np.array(rows).T
    return Usual(
        float(np.median(dark)),
        float(np.percentile(contrast, 75)),
        float(np.percentile(sharpness, 75)),
    )


def judge(features: Features, usual: Usual, settings: TileSettings) -> Judged:
    """Say whether a tile is good enough for training; background counts first, then artifacts.

    Parameters
    ----------
    features : of the tile.
    usual : of its slide.
    settings : the limits.
    """
    # Epidermis is darker than dermis, and a tile of it is compared with itself; but a fold is
    # darker than any tissue.
    dark = min(features.usual_dark, _DARKEST * usual.dark)
    own = replace(features, usual_dark=dark, usual_sharpness=usual.contrast)
    artifacts = float(decide(own, _THRESHOLDS).mean())
    known = bool(np.isfinite(features.sharpness).any()) and usual.sharpness > 0
    sharpness = sharpness_of(features) / usual.sharpness if known else 0.0
    rejected = None
    if features.tissue < settings.tissue or not known:
        rejected = BACKGROUND
    elif artifacts > settings.artifacts:
        rejected = ARTIFACTS
    elif sharpness < settings.sharpness:
        rejected = BLURRED
    return Judged(features.tissue, artifacts, sharpness, rejected)
