"""Can a small classifier tell restored mask interiors from true ones?

An area under the ROC curve of 0.5 means that it cannot, 1 that it always can. The classifier sees
some fifty figures of colour and texture per region, the kind of thing that gives away a blur, a
noise floor, a grid or a wrong stain; it does not judge anatomy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage, stats

from histomend.errors import InputError, MaskError, MissingDependencyError
from histomend.evaluate.pairs import checked_region
from histomend.evaluate.tables import Interval, bootstrap
from histomend.evaluate.texture import LUMA

# Luma and two opponent colours.
_OPPONENT = np.stack([LUMA, np.array([1.0, -1.0, 0.0]) / 2, np.array([0.5, 0.5, -1.0]) / 2])
# Differences of Gaussians between neighbouring sigmas (px): a bank of bands.
_SIGMAS = (0.0, 0.7, 1.4, 2.8, 5.6)
_NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
_GREY_LEVELS = 32
FOLDS = 5
# Strength of the logistic regression's prior: with some hundred regions and fifty figures it
# would otherwise learn them by heart.
_INVERSE_REGULARISATION = 0.1


def features(pixels: np.ndarray, mask: np.ndarray, *, shrink: int = 1) -> np.ndarray:
    """Describe colour and texture inside a mask.

    Moments of each colour channel; energy and kurtosis of four bands of luma and of two opponent
    colours; gradient magnitude; a local binary pattern histogram (radius 1); grey-level
    co-occurrence at distances 1 and 2. None depends on where the region lies or on its shape.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    mask : (H, W) bool
        Two pixels of its border are left out where it is wide enough, since neighbours outside
        are the same in the truth and in a restoration.
    shrink : int
        Average blocks of this side first. At 1 the figures see grain of two grey levels and the
        history of JPEG compression, which no eye does; at 2 they see structure and colour.

    Returns
    -------
    (F,) float64

    Raises
    ------
    MaskError
        The mask is of another size, not boolean, or empty, or holds no whole block.
    """
    region = checked_region(mask, pixels.shape[:2])
    values = pixels.astype(np.float64)
    if shrink > 1:
        values = _blocks(values, shrink).mean(axis=(1, 3))
        region = np.all(_blocks(region[..., None], shrink), axis=(1, 3, 4))
        if not region.any():
            raise MaskError(
                f"The mask holds no whole block of {shrink}x{shrink} pixels: measure it without "
                f"shrinking."
            )
    inner = ndimage.binary_erosion(region, iterations=2)
    inside = inner if np.count_nonzero(inner) >= 64 else region
    colours = values[inside]
    moments = [colours.mean(axis=0), colours.std(axis=0), _skew(colours)]
    planes = np.moveaxis(values @ _OPPONENT.T, -1, 0)
    luma = planes[0]
    gradient = np.hypot(ndimage.sobel(luma, 0), ndimage.sobel(luma, 1))[inside] / 8
    return np.concatenate(
        [
            *moments,
            *(_band_energies(plane, inside) for plane in planes),
            [np.log(gradient.mean() + 0.1), np.log(gradient.std() + 0.1)],
            _binary_patterns(luma, inside),
            _co_occurrence(luma, inside, 1),
            _co_occurrence(luma, inside, 2),
        ]
    )


def tell_apart(
    true: Sequence[np.ndarray],
    restored: Sequence[np.ndarray],
    groups: Sequence[str],
    *,
    seed: int = 0,
    draws: int = 2000,
) -> Interval:
    """Train and test a classifier on true and restored regions.

    Logistic regression on standardised features, in five folds. Whatever comes from one group, a
    region's truth and its restoration among it, is in the same fold, so that the classifier is
    never tested on tissue it was trained on.

    Parameters
    ----------
    true, restored : sequence of (F,) float
        :func:`features` of each region's truth, and of its restoration, in the same order.
    groups : sequence of str
        The source tile of each region.
    seed : int
        Seed of the folds and of the interval.
    draws : int
        Bootstrap draws for the interval.

    Returns
    -------
    Interval
        Area under the ROC curve of predictions on tiles not trained on, over all pairs of a true
        and a restored region; its 95 % interval from drawing tiles; the number of restored regions.

    Raises
    ------
    InputError
        The sequences differ in length, or come from fewer than five tiles.
    MissingDependencyError
        scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingDependencyError(
            "The realism classifier needs scikit-learn, which is not installed: "
            "pip install 'histomend[bench]'"
        ) from error

    names = np.unique(np.asarray(groups))
    if not len(true) == len(restored) == len(groups) or len(names) < FOLDS:
        raise InputError(
            f"{len(true)} true and {len(restored)} restored regions of {len(names)} tiles were "
            f"given; as many of one as of the other, from at least {FOLDS} tiles, are needed."
        )
    rng = np.random.default_rng(seed)
    fold_of = dict(zip(rng.permutation(names), np.arange(len(names)) % FOLDS, strict=True))
    folds = np.tile([fold_of[group] for group in groups], 2)
    values = np.vstack([*true, *restored])
    labels = np.repeat([0, 1], len(true))

    scores = np.empty(len(labels))
    for fold in range(FOLDS):
        held_out = folds == fold
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=1000)
        )
        classifier.fit(values[~held_out], labels[~held_out])
        scores[held_out] = classifier.decision_function(values[held_out])

    return bootstrap(
        np.stack([scores[labels == 0], scores[labels == 1]], axis=1),
        groups=groups,
        statistic=_auc,
        draws=draws,
        seed=seed,
    )


def _blocks(values: np.ndarray, side: int) -> np.ndarray:
    """Return (H // side, side, W // side, side, C) views of whole blocks."""
    height, width = (length // side for length in values.shape[:2])
    whole = values[: height * side, : width * side]
    return whole.reshape(height, side, width, side, values.shape[-1])


def _auc(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Compute how often a restored region scores above a true one, ties counted as half."""
    true, restored = scores.T
    above = (restored > true[:, None]) + 0.5 * (restored == true[:, None])
    return np.einsum("dt,tr,dr->d", weights, above, weights, optimize=True) / (
        weights.sum(axis=1) ** 2
    )


def _skew(values: np.ndarray) -> np.ndarray:
    spread = values.std(axis=0) + 1.0  # one grey level, so that a flat region has skew 0
    return np.mean(((values - values.mean(axis=0)) / spread) ** 3, axis=0)


def _band_energies(plane: np.ndarray, inside: np.ndarray) -> list[float]:
    levels = [plane if s == 0 else ndimage.gaussian_filter(plane, s) for s in _SIGMAS]
    found: list[float] = []
    for fine, coarse in pairwise(levels):
        band = (fine - coarse)[inside]
        spread = float(band.std())
        # Logarithms, since energies span decades; 0.05 grey levels is less than rounding does.
        found.append(float(np.log(spread + 0.05)))
        flat = spread < 1e-3
        found.append(0.0 if flat else float(np.log1p(max(stats.kurtosis(band), -0.9))))
    return found


def _binary_patterns(luma: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return the shares of rotation-invariant uniform patterns, Ojala et al. 2002."""
    padded = np.pad(luma, 1, mode="edge")
    height, width = luma.shape
    around = np.stack(
        [padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _NEIGHBOURS]
    )
    brighter = (around >= luma)[:, inside]
    changes = np.count_nonzero(brighter != np.roll(brighter, 1, axis=0), axis=0)
    codes = np.where(changes <= 2, np.count_nonzero(brighter, axis=0), 9)
    return np.bincount(codes, minlength=10) / codes.size


def _co_occurrence(luma: np.ndarray, inside: np.ndarray, distance: int) -> list[float]:
    """Return contrast, homogeneity, energy and correlation, over rows and columns."""
    levels = np.clip(luma * _GREY_LEVELS / 256, 0, _GREY_LEVELS - 1).astype(int)
    counts = np.zeros(_GREY_LEVELS**2)
    d = distance
    for near, far in ((np.s_[:-d, :], np.s_[d:, :]), (np.s_[:, :-d], np.s_[:, d:])):
        both = inside[near] & inside[far]
        one, other = levels[near][both], levels[far][both]
        # Counted in both directions, so that the matrix is symmetric.
        counts += np.bincount(one * _GREY_LEVELS + other, minlength=_GREY_LEVELS**2)
        counts += np.bincount(other * _GREY_LEVELS + one, minlength=_GREY_LEVELS**2)
    share = (counts / max(counts.sum(), 1.0)).reshape(_GREY_LEVELS, _GREY_LEVELS)
    i, j = np.indices(share.shape)
    mean = np.sum(i * share)
    variance = np.sum((i - mean) ** 2 * share)
    covariance = np.sum((i - mean) * (j - mean) * share)
    return [
        float(np.log(np.sum((i - j) ** 2 * share) + 0.01)),
        float(np.sum(share / (1 + np.abs(i - j)))),
        float(np.sqrt(np.sum(share**2))),
        float(covariance / variance) if variance > 1e-9 else 1.0,
    ]
