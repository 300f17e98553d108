"""What lies around a masked region: whether it is tissue at all, and a smooth filling from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.image import Intensity
from histomend.slides.source import Source
from histomend.tiles.plan import Plan, Window

# Bare glass is light and has no colour: least channel and spread of the channels, in [-1, 1].
GLASS_LEVEL = 0.7
GLASS_SPREAD = 0.2
# Share of the visible pixels of a window that must be glass.
GLASS_SHARE = 0.97
# How a decoded field meets the pixels around a mask: over how many px (standard deviation) their
# difference is averaged, and over how many it fades inwards.
RIM_BLUR_PX = 1.0
RIM_FADE_PX = 4.0


def mark_bare(plan: Plan, source: Source, mask: npt.NDArray[np.bool_]) -> Plan:
    """Return the plan with those windows marked that show nothing but bare glass.

    Nothing speaks for tissue under such a mask, and a model that was trained on tissue paints
    some there all the same. So these windows are filled smoothly, without the model.

    Parameters
    ----------
    plan : Plan
    source : Source
        Of one plane, RGB of 8 or 16 bits.
    mask : (H, W) bool
    """
    intensity = Intensity.for_dtype(source.dtype)

    def marked(window: Window) -> Window:
        x, y, w, h = window.field
        visible = source.read(0, window.field)[~mask[y : y + h, x : x + w]]
        if not len(visible):
            return window
        glass = is_glass(intensity.encode(visible))
        return replace(window, bare=bool(glass.mean() >= GLASS_SHARE))

    return replace(plan, chains=tuple(tuple(map(marked, chain)) for chain in plan.chains))


def bare_notice(bare: int, windows: int) -> str:
    """Say that windows show nothing but bare glass."""
    return (
        f"{bare} of {windows} windows show nothing but bare glass around the mask: they are filled "
        "smoothly, without the model, so that no tissue is invented there."
    )


def is_glass(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_]:
    """Return which pixels, (..., 3) in [-1, 1], look like bare glass."""
    return np.asarray(
        (values.min(-1) > GLASS_LEVEL) & (np.ptp(values, axis=-1) < GLASS_SPREAD), np.bool_
    )


def fill_smoothly(
    values: npt.NDArray[np.float32], hidden: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return the field with what is hidden replaced by means of what is visible around it.

    Where nothing is visible nearby, the means are of coarser and coarser maps (pull-push,
    Gortler et al. 1996, section 3.6.1).

    Parameters
    ----------
    values : (H, W, 3) in [-1, 1]
    hidden : (H, W)
        Where values are neither kept nor read.
    """
    seen = (~hidden).astype(np.float32)
    mean = np.where(hidden[..., None], np.float32(0), values)
    finer = []
    while not seen.all() and seen.size > 1:
        finer.append((mean, seen))
        size = ((seen.shape[1] + 1) // 2, (seen.shape[0] + 1) // 2)
        share = cv2.resize(seen, size, interpolation=cv2.INTER_AREA)
        mean = cv2.resize(mean * seen[..., None], size, interpolation=cv2.INTER_AREA)
        mean = mean / np.maximum(share, 1e-6)[..., None]
        seen = (share > 0).astype(np.float32)
    for fine, visible in reversed(finer):
        spread = cv2.resize(mean, visible.shape[::-1], interpolation=cv2.INTER_LINEAR)
        mean = np.where(visible[..., None] > 0, fine, spread)
    return np.asarray(mean, np.float32)


def meet_surround(
    restored: npt.NDArray[np.float32],
    values: npt.NDArray[np.float32],
    hidden: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float32]:
    """Return a decoded field that meets the visible pixels along the border of the mask.

    A cell of a latent is sampled whole, and its decoded pixels seldom end where the image begins:
    a seam is seen. How far off they are is known where pixels are visible; this difference is
    continued under the mask and fades within a few pixels, so that what is deeper stays as decoded.

    Parameters
    ----------
    restored : (H, W, 3) in [-1, 1]
        As decoded, visible pixels too.
    values : (H, W, 3) in [-1, 1]
        The image; what is hidden is not read.
    hidden : (H, W)
    """
    if not hidden.any() or hidden.all():
        return restored
    # In place, since windows may be large.
    difference = values - restored
    difference[hidden] = 0
    mean = np.asarray(cv2.GaussianBlur(difference, (0, 0), RIM_BLUR_PX, dst=difference), np.float32)
    weight = cv2.GaussianBlur((~hidden).astype(np.float32), (0, 0), RIM_BLUR_PX)
    mean /= np.maximum(weight, 1e-6)[..., None]
    spread = fill_smoothly(mean, weight < 1e-3)
    depth = cv2.distanceTransform(hidden.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    spread *= np.exp((1 - np.maximum(depth, 1)) / RIM_FADE_PX)[..., None]
    spread += restored
    return np.asarray(spread.clip(-1, 1, out=spread), np.float32)
