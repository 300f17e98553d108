"""The single checks of an audit; each returns a `Finding`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from histomend.evaluate.audit.findings import Finding, percent
from histomend.evaluate.audit.intervals import Intervals, luma
from histomend.evaluate.audit.trials import Pixels, Trials
from histomend.evaluate.instances import lost_and_gained
from histomend.evaluate.nuclei import nuclei_in, optical_density, segment_nuclei, stain_amounts

Mask = npt.NDArray[np.bool_]

# Fewer trials than this say nothing of what is usual.
LEAST_TRIALS = 5
# Regions of a mask that are looked at one by one.
MOST_REGIONS = 16
# Pixels around a hole that it is compared with.
RING_PX = 24
# An interval as wide as this share of what sound tissue itself spans says nothing.
TOO_WIDE = 0.75
# Of the nuclei of a result, so many should be there with most other seeds.
STEADY = 0.8


def origin(shares: dict[str, int] | None, masked: int) -> Finding:
    """Say how much was copied from the image, and how much the model drew."""
    if shares is None:
        return Finding(
            "where pixels came from",
            "look",
            f"all {masked:,} restored pixels were drawn by the model: none is evidence of what "
            "lay there",
            {"copied": 0.0, "mixed": 0.0, "drawn": 1.0},
        )
    total = max(sum(shares.values()), 1)
    copied = (shares["copied_exactly"] + shares["copied_shifted"]) / total
    mixed, drawn = shares["mixed"] / total, shares["drawn"] / total
    return Finding(
        "where pixels came from",
        "fine",
        f"{percent(copied)} are copies of other places of this image, {percent(mixed)} mixtures of "
        f"copies, and {percent(drawn)} were drawn by the model; none is evidence of what lay there",
        {"copied": copied, "mixed": mixed, "drawn": drawn},
    )


def chance(restored: Pixels, mask: Mask, trials: Trials, mpp: float) -> Finding:
    """Say how much of what was restored depends on the seed: its nuclei, above all."""
    own = segment_nuclei(restored, mpp)
    others = [segment_nuclei(drawn, mpp) for drawn in trials.drawn]
    names = [int(name) for name in np.unique(own[mask]) if name]
    inside = [name for name in names if (mask & (own == name)).sum() > 0.5 * (own == name).sum()]
    steady = [
        name
        for name in inside
        if np.mean([(other[own == name] > 0).mean() > 0.5 for other in others]) > 0.5
    ]
    counts = [nuclei_in(other, mask, mpp)[0] for other in others]
    spread = np.stack([luma(drawn) for drawn in trials.drawn]).std(0, ddof=1)[mask]
    share = len(steady) / len(inside) if inside else math.nan
    values = {
        "nuclei": len(inside),
        "nuclei_with_most_seeds": len(steady),
        "fewest": min(counts),
        "most": max(counts),
        "spread_of_luma": float(spread.mean()),
    }
    if not inside:
        return Finding("chance", "fine", "no nucleus was put in", values)
    said = (
        f"of {len(inside)} restored nuclei {len(steady)} are there with most of {len(others)} "
        f"other seeds, which put {min(counts)} to {max(counts)} in"
    )
    if share < STEADY:
        return Finding(
            "chance", "unknown", f"{said}: where nuclei lie is chance. Do not count them", values
        )
    return Finding("chance", "fine", said, values)


def nuclei(truth: Pixels, trials: Trials, mpp: float) -> Finding:
    """Compare the nuclei of trials with those that were there."""
    before = segment_nuclei(truth, mpp)
    lost = gained = there = put = 0
    for drawn in trials.drawn:
        after = segment_nuclei(drawn, mpp)
        for number, (_, shape) in enumerate(trials.masks):
            mask = _full(trials.place(number), shape, before.shape)
            # A nucleus at the edge may be cut by either: one that overlaps none was lost or gained.
            less, more = lost_and_gained(np.where(mask, before, 0), np.where(mask, after, 0))
            lost, gained = lost + less, gained + more
            there += nuclei_in(before, mask, mpp)[0]
            put += nuclei_in(after, mask, mpp)[0]
    values: dict[str, float | None] = {
        "trials": len(trials.masks),
        "ratio": put / there if there else math.nan,
        "lost_per_nucleus": lost / there if there else math.nan,
        "gained_per_nucleus": gained / there if there else math.nan,
    }
    if len(trials.masks) < LEAST_TRIALS or there < 10:
        said = "too few trials, or too few nuclei in them, to tell"
        return Finding("nuclei in trials", "unknown", said, values)
    ratio = put / there
    said = (
        f"in {len(trials.masks)} sound places restored the same way there are {ratio:.2f} times as "
        f"many nuclei as were there; {percent(lost / there)} of these were lost, and "
        f"{percent(gained / there)} as many gained that never were"
    )
    return Finding("nuclei in trials", "fine" if 0.8 <= ratio <= 1.25 else "look", said, values)


def stain(restored: Pixels, truth: Pixels, mask: Mask, trials: Trials) -> Finding:
    """Compare the stain inside with that around, as it differs in sound tissue as well."""
    own = max(_stain_step(restored, region, mask) for region in _regions(mask))
    usual = [
        _stain_step(truth, _full(trials.place(k), shape, mask.shape), mask)
        for k, (_, shape) in enumerate(trials.masks)
    ]
    return _against(
        "stain",
        "haematoxylin and eosin inside differ from around by {own:.3f} (optical density)",
        own,
        usual,
    )


def sharpness(restored: Pixels, truth: Pixels, mask: Mask, trials: Trials) -> Finding:
    """Compare the fine contrast inside with that around, as it differs in sound tissue as well."""
    own = max(_contrast_step(restored, region, mask) for region in _regions(mask))
    usual = [
        _contrast_step(truth, _full(trials.place(k), shape, mask.shape), mask)
        for k, (_, shape) in enumerate(trials.masks)
    ]
    return _against(
        "sharpness", "fine contrast inside differs from around by a factor of exp({own:.2f})", own,
        usual,
    )  # fmt: skip


def width(found: Intervals, truth: Pixels, mask: Mask) -> Finding:
    """Say how far the restored values may be from what lay there."""
    values: dict[str, float | None] = {
        "level": found.level,
        "coverage_of_trials": found.coverage,
        "trials": found.trials,
        "mean_width": float(2 * found.half_width[mask].mean()),
    }
    if not math.isfinite(found.factor):
        said = (
            f"there is room for {found.trials} trials in sound tissue, too few to promise "
            f"{found.level:.0%}"
        )
        return Finding("interval", "unknown", said, values)
    low, high = np.quantile(luma(truth)[~mask], [0.05, 0.95])
    share = 2 * float(np.median(found.half_width[mask])) / max(float(high - low), 1e-3)
    values["width_over_tissue"] = share
    said = (
        f"the true value lies within {found.half_width[mask].mean():.2f} of the mean over seeds "
        f"for {found.level:.0%} of the pixels (luma from 0 to 1; in trials "
        f"{percent(found.coverage)})"
    )
    if share > TOO_WIDE:
        return Finding(
            "interval",
            "unknown",
            f"{said}. That is {percent(share)} of what sound tissue spans: the result says nothing "
            "of what lay there, pixel by pixel",
            values,
        )
    return Finding("interval", "fine", said, values)


def likeness(restored: Pixels, mask: Mask, trials: Trials) -> Finding | None:
    """Compare crops around restored places with crops of sound tissue, by learned features.

    None where the package with the network's weights is not installed.
    """
    from histomend.errors import MissingDependencyError
    from histomend.evaluate.efficientnet import EfficientNetEncoder

    try:
        encoder = EfficientNetEncoder()
    except MissingDependencyError:
        return None
    side = 96
    sound = _crops_at(restored, _middles(trials), side)
    own = _crops_at(restored, _middles_of(mask), side)
    if len(sound) < LEAST_TRIALS or not len(own):
        return Finding("likeness", "unknown", "too few sound places to compare with", {})
    known, new = encoder(sound), encoder(own)
    between = np.linalg.norm(known[:, None] - known[None], axis=2)
    np.fill_diagonal(between, np.inf)
    usual = between.min(1)
    nearest = np.linalg.norm(new[:, None] - known[None], axis=2).min(1)
    return _against(
        "likeness", "the nearest sound tissue is {own:.2f} away in the features of "
        + EfficientNetEncoder.name, float(nearest.max()), [float(v) for v in usual],
    )  # fmt: skip


def _against(name: str, said: str, own: float, usual: Sequence[float]) -> Finding:
    values: dict[str, float | None] = {"here": own, "trials": len(usual)}
    told = said.format(own=own)
    if len(usual) < LEAST_TRIALS or not math.isfinite(own):
        return Finding(name, "unknown", f"{told}; too few sound places to compare with", values)
    most = max(usual)
    values |= {"usual_median": float(np.median(usual)), "usual_most": most}
    if own > most:
        return Finding(name, "look", f"{told}, in sound tissue by {most:.3g} at most", values)
    return Finding(name, "fine", f"{told}, in sound tissue by up to {most:.3g}", values)


def _stain_step(pixels: Pixels, inside: Mask, hidden: Mask) -> float:
    """Return how far the two stains inside are from those in a ring around, in density."""
    ring = _ring(inside, hidden)
    if not ring.any():
        return math.nan
    here, there = (
        stain_amounts(optical_density(pixels[where][None])).mean((0, 1)) for where in (inside, ring)
    )
    return float(np.abs(here - there).max())


def _contrast_step(pixels: Pixels, inside: Mask, hidden: Mask) -> float:
    """Return the logarithm, without sign, of fine contrast inside over that in a ring around."""
    ring = _ring(inside, hidden)
    grey = luma(pixels)
    fine = np.square(grey - cv2.GaussianBlur(grey, (0, 0), 1.0))
    inner = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    inner = inner if inner.any() else inside
    if not ring.any():
        return math.nan
    return float(abs(np.log((fine[inner].mean() + 1e-6) / (fine[ring].mean() + 1e-6))) / 2)


def _regions(mask: Mask) -> list[Mask]:
    """Return the largest regions of a mask, each by itself."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    order = sorted(range(1, count), key=lambda k: -int(stats[k, cv2.CC_STAT_AREA]))
    return [labels == number for number in order[:MOST_REGIONS]]


def _ring(inside: Mask, hidden: Mask) -> Mask:
    grown = cv2.dilate(inside.astype(np.uint8), np.ones((2 * RING_PX + 1,) * 2, np.uint8)) > 0
    return np.asarray(grown & ~inside & ~hidden)


def _full(place: tuple[slice, slice], shape: Mask, size: tuple[int, int]) -> Mask:
    mask = np.zeros(size, np.bool_)
    mask[place] = shape
    return mask


def _middles(trials: Trials) -> list[tuple[int, int]]:
    places = [trials.place(number) for number in range(len(trials.masks))]
    return [((p[0].start + p[0].stop) // 2, (p[1].start + p[1].stop) // 2) for p in places]


def _middles_of(mask: Mask) -> list[tuple[int, int]]:
    count, _, _, middles = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [(round(float(y)), round(float(x))) for x, y in middles[1:count]]


def _crops_at(pixels: Pixels, middles: list[tuple[int, int]], side: int) -> Pixels:
    """Return crops (N, side, side, 3) around places, moved to lie in the image."""
    high, wide = pixels.shape[:2]
    if min(high, wide) < side:
        return np.zeros((0, side, side, 3), np.uint8)
    crops = []
    for y, x in middles:
        top = min(max(y - side // 2, 0), high - side)
        left = min(max(x - side // 2, 0), wide - side)
        crops.append(pixels[top : top + side, left : left + side])
    return np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)
