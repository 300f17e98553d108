"""How far a set of images is from a set of good ones, without pairs: FID, KID and CMMD.

All three compare features, of whatever network; figures of different networks cannot be compared,
and neither can FID and CMMD of sets of different sizes, since both grow as sets become smaller.
A figure is called FID or CMMD without further words only if its features are Inception's or
CLIP's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import InputError
from histomend.evaluate.tables import Interval, bootstrap

Features = npt.NDArray[np.floating[Any]]
Weights = npt.NDArray[np.float64]

KID_DEGREE = 3
CMMD_SIGMA = 10.0
CMMD_SCALE = 1000.0
DRAWS = 500


@dataclass(frozen=True)
class Sets:
    """Features of the images that are judged, and of good ones.

    Parameters
    ----------
    judged, good : (N, D) and (M, D) float
        At least two rows each.
    judged_groups, good_groups : sequence of str, optional
        What an image belongs to, such as its tile or slide. A group that is in both sets is drawn
        for both at once, as it must be where the good images are the truth of those judged. By
        default each image is its own group.

    Raises
    ------
    InputError
        Fewer rows, rows of different lengths, values that are no numbers, or not as many groups
        as rows.
    """

    judged: Features
    good: Features
    judged_groups: Sequence[str] | None = None
    good_groups: Sequence[str] | None = None

    def __post_init__(self) -> None:
        for features in (self.judged, self.good):
            if features.ndim != 2 or len(features) < 2 or not np.isfinite(features).all():
                raise InputError(
                    f"Features of shape {features.shape} cannot be compared: at least two images "
                    "are needed, with one row of finite numbers each."
                )
        if self.judged.shape[1] != self.good.shape[1]:
            raise InputError(
                f"The images have {self.judged.shape[1]} features and the good ones "
                f"{self.good.shape[1]}: compute both with the same network."
            )

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The group of each judged and of each good image."""
        judged, good = self.judged_groups, self.good_groups
        return (
            [f"judged {k}" for k in range(len(self.judged))] if judged is None else [*judged],
            [f"good {k}" for k in range(len(self.good))] if good is None else [*good],
        )

    def interval(
        self, statistic: Callable[[Weights, Weights], Weights], draws: int, seed: int
    ) -> Interval:
        """Compute a statistic, and its 95 % interval from drawing groups.

        Draws with replacement hold copies, which makes a set look narrower than it is, and so
        every distance larger. The interval is therefore put around the figure, with the width
        that the draws have.

        Parameters
        ----------
        statistic : callable
            From how often each image is drawn, (draws, N) and (draws, M), to a figure per draw.
        """
        split = len(self.judged)

        def of_both(_: npt.NDArray[Any], weights: Weights) -> Weights:
            judged, good = weights[:, :split], weights[:, split:]
            # Very small sets: a draw of one image alone has no spread, and is left out.
            usable = (np.count_nonzero(judged, 1) > 1) & (np.count_nonzero(good, 1) > 1)
            found = np.full(len(weights), np.nan)
            found[usable] = statistic(judged[usable], good[usable])
            return found

        rows = np.zeros(split + len(self.good))
        found = bootstrap(
            rows, groups=[*self.names[0], *self.names[1]], statistic=of_both, draws=draws, seed=seed
        )
        half = (found.high - found.low) / 2
        return Interval(found.value, found.value - half, found.value + half, split)


def fid(sets: Sets, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Compute the Fréchet distance of two Gaussians fitted to the features (Heusel et al. 2017).

    Returns
    -------
    Interval
        0 for equal sets; ``count`` is the number of judged images.
    """

    def statistic(judged: Weights, good: Weights) -> Weights:
        return np.array(
            [
                _frechet(sets.judged, once, sets.good, other)
                for once, other in zip(judged, good, strict=True)
            ]
        )

    return sets.interval(statistic, draws, seed)


def kid(sets: Sets, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Compute the kernel distance (Binkowski et al. 2018): an unbiased estimate of MMD².

    The kernel is (x·y / D + 1)³. The figure may be negative where the sets are alike. Only pairs
    of images from different groups count, since the estimate is unbiased for independent images
    alone: an image and its restoration would make the sets look nearer than any two others.
    """
    pairs = _pairs(sets, sets.judged, sets.good, _polynomial, unbiased=True)
    return sets.interval(lambda a, b: _mmd2(pairs, a, b), draws, seed)


def kid_over_subsets(
    sets: Sets, *, subsets: int = 100, size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Compute KID as it is published: mean and standard deviation over random subsets.

    Parameters
    ----------
    subsets : int
    size : int
        Images in a subset, drawn without replacement; at most as many as the smaller set has.
        With all of them every subset is the same, and the deviation 0.
    """
    pairs = _pairs(sets, sets.judged, sets.good, _polynomial, unbiased=True)
    size = min(size, len(sets.judged), len(sets.good))
    rng = np.random.default_rng(seed)

    def drawn(count: int) -> Weights:
        chosen = np.zeros((subsets, count))
        for row in chosen:
            row[rng.choice(count, size, replace=False)] = 1
        return chosen

    found = _mmd2(pairs, drawn(len(sets.judged)), drawn(len(sets.good)))
    return float(found.mean()), float(found.std())


def cmmd(sets: Sets, *, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Compute CMMD (Jayasumana et al. 2024): 1000 times MMD² with a Gaussian kernel of sigma 10.

    As published, features are brought to length 1 and the estimate is the biased one, which is 0
    for equal sets and never negative.
    """
    pairs = _pairs(sets, _unit(sets.judged), _unit(sets.good), _gaussian, unbiased=False)
    return sets.interval(lambda a, b: CMMD_SCALE * _mmd2(pairs, a, b), draws, seed)


def _frechet(judged: Features, drawn: Weights, good: Features, also: Weights) -> float:
    mean_j, root_j = _gaussian_fit(judged, drawn)
    mean_g, root_g = _gaussian_fit(good, also)
    # With covariances R'R and S'S, the trace of the root of their product is the sum of the
    # singular values of R S', for which no matrix needs a root.
    shared = np.linalg.svd(root_j @ root_g.T, compute_uv=False).sum()
    return float(
        np.square(mean_j - mean_g).sum()
        + np.square(root_j).sum()
        + np.square(root_g).sum()
        - 2 * shared
    )


def _gaussian_fit(features: Features, drawn: Weights) -> tuple[Features, Features]:
    """Return the mean (D,) and a matrix (K, D) whose square is the covariance."""
    total = drawn.sum()
    mean = drawn @ features / total
    root: Features = np.sqrt(drawn / (total - 1))[:, None] * (features - mean)
    if len(root) > root.shape[1]:
        root = np.asarray(np.linalg.qr(root, mode="r"))
    return mean, root


@dataclass(frozen=True)
class _Pairs:
    """The kernel of each pair, 0 for pairs that do not count, and which ones count."""

    kernel: Features
    counts: Features


def _pairs(
    sets: Sets,
    judged: Features,
    good: Features,
    kernel: Callable[[Features, Features], Features],
    *,
    unbiased: bool,
) -> tuple[_Pairs, _Pairs, _Pairs]:
    """Return the pairs within the judged, within the good, and between them."""
    both = [
        (values.astype(np.float64), np.array(names))
        for values, names in zip((judged, good), sets.names, strict=True)
    ]

    def of(one: int, other: int) -> _Pairs:
        (a, named), (b, also) = both[one], both[other]
        counts = (named[:, None] != also) if unbiased else np.ones((len(a), len(b)), bool)
        return _Pairs(np.where(counts, kernel(a, b), 0), counts.astype(np.float64))

    return of(0, 0), of(1, 1), of(0, 1)


def _polynomial(a: Features, b: Features) -> Features:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** KID_DEGREE)


def _gaussian(a: Features, b: Features) -> Features:
    squares = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0) / (2 * CMMD_SIGMA**2)))


def _unit(features: Features) -> Features:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _mmd2(pairs: tuple[_Pairs, _Pairs, _Pairs], judged: Weights, good: Weights) -> Weights:
    """Return MMD² for each draw, (draws,); NaN where a draw has no pairs that count."""

    def mean(of: _Pairs, rows: Weights, columns: Weights) -> Weights:
        total, number = (np.einsum("dn,dn->d", rows @ m, columns) for m in (of.kernel, of.counts))
        return np.divide(total, number, out=np.full(len(rows), np.nan), where=number > 0)

    within_j, within_g, between = pairs
    return (
        mean(within_j, judged, judged)
        + mean(within_g, good, good)
        - 2 * mean(between, judged, good)
    )
