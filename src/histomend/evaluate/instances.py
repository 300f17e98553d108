"""How well found nuclei agree with drawn ones: as an area, and one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from histomend.errors import ImageSizeError

# Two outlines of more than this intersection over union are the same nucleus; at no less than a
# half, no outline can have two partners.
SAME = 0.5


@dataclass(frozen=True)
class InstanceScores:
    """Agreement of two label images, each figure from 0 to 1.

    Attributes
    ----------
    dice : float
        Of the nuclear areas, whatever they are divided into.
    aji : float
        Aggregated Jaccard index (Kumar et al. 2017): each drawn nucleus takes the found one of
        the largest intersection over union; found ones that none took count against it.
    detection : float
        F1 of nuclei found, where more than half of the union is shared.
    outline : float
        Mean intersection over union of the nuclei found; NaN where there are none.
    pq : float
        Panoptic quality: detection times outline.
    """

    dice: float
    aji: float
    detection: float
    outline: float
    pq: float


def instance_scores(truth: np.ndarray, found: np.ndarray) -> InstanceScores:
    """Compare two label images.

    Parameters
    ----------
    truth, found : (H, W) int
        0 outside nuclei, another number for each nucleus.

    Returns
    -------
    InstanceScores
        All NaN where neither image has a nucleus.

    Raises
    ------
    ImageSizeError
        The two differ in size.
    """
    _check_same_field(truth, found)
    shared, true_area, found_area = _overlaps(truth, found)
    if true_area.size + found_area.size == 0:
        return InstanceScores(*(math.nan,) * 5)
    union = true_area[:, None] + found_area[None, :] - shared
    iou = shared / union
    same = iou > SAME
    detection = 2 * np.count_nonzero(same) / (true_area.size + found_area.size)
    outline = float(iou[same].mean()) if same.any() else math.nan
    return InstanceScores(
        dice=2 * float(shared.sum()) / float(true_area.sum() + found_area.sum()),
        aji=_aji(shared, union, iou, true_area, found_area),
        detection=detection,
        outline=outline,
        pq=detection * outline if same.any() else 0.0,
    )


def lost_and_gained(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Count the nuclei of `before` that overlap none of `after`, and the reverse.

    Parameters
    ----------
    before, after : (H, W) int
        0 outside nuclei, another number for each nucleus.

    Raises
    ------
    ImageSizeError
        The two differ in size.
    """
    _check_same_field(before, after)
    lost, gained = (
        len(np.setdiff1d(one[one > 0], one[(one > 0) & (other > 0)]))
        for one, other in ((before, after), (after, before))
    )
    return lost, gained


def _check_same_field(one: np.ndarray, other: np.ndarray) -> None:
    if one.shape != other.shape:
        raise ImageSizeError(
            f"The nuclei of one image are labels of {one.shape} and those of the other of "
            f"{other.shape}: compare label images of the same field."
        )


def _overlaps(truth: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pixels that pairs of nuclei share (N, M), and pixels of each of the N and the M."""
    true_names, t = np.unique(truth, return_inverse=True)
    found_names, f = np.unique(found, return_inverse=True)
    shape = len(true_names), len(found_names)
    pairs = np.bincount(t.ravel() * shape[1] + f.ravel(), minlength=shape[0] * shape[1])
    table = pairs.reshape(shape)[true_names != 0].astype(np.float64)
    columns = pairs.reshape(shape)[:, found_names != 0].astype(np.float64)
    return table[:, found_names != 0], table.sum(axis=1), columns.sum(axis=0)


def _aji(
    shared: np.ndarray,
    union: np.ndarray,
    iou: np.ndarray,
    true_area: np.ndarray,
    found_area: np.ndarray,
) -> float:
    if not shared.size:
        return 0.0
    rows = np.arange(len(iou))
    partner = iou.argmax(axis=1)
    met = iou[rows, partner] > 0
    together = shared[rows, partner][met].sum()
    spread = union[rows, partner][met].sum() + true_area[~met].sum()
    alone = np.ones(len(found_area), bool)
    alone[partner[met]] = False
    return float(together / (spread + found_area[alone].sum()))
