"""From names of measures to judges: what is at hand is loaded, and its figures are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import histomend
from histomend.evaluate.column import Column, Measure
from histomend.evaluate.columns import open_measures
from histomend.evaluate.distances import DRAWS, Sets
from histomend.evaluate.encoder import Describes, parts_of
from histomend.evaluate.harness.judges import Fields, Judge, Pixels, Values
from histomend.evaluate.harness.store import Lines, digest, files_digest, pixels_digest
from histomend.evaluate.sets import DISTANCES
from histomend.evaluate.tables import Interval, bootstrap

# Images that are measured together: ST-LPIPS holds large maps of each.
AT_ONCE = 4
# Our encoder was trained on crops of 64 px, and describes an image by parts: more of them make the
# covariances of FID steadier. Those of one image are drawn together.
PART_PX = {"own_encoder": 128}
# With fewer images the distances between sets say nothing.
LEAST_IMAGES = 8
# The Fréchet distance of 2,048 features takes 0.1 s per draw.
FEW_DRAWS = 60
MANY_FEATURES = 256


def open_judges(
    names: Sequence[str],
    lines: Lines,
    places: Mapping[str, str | Path] | None = None,
    *,
    mpp: float = 0.5,
) -> tuple[list[Judge], list[str]]:
    """Load the measures that are at hand.

    Parameters
    ----------
    names : of `histomend.evaluate.columns.MEASURES`
    lines : Lines
        Where figures of single images are kept.
    places : by name, the file, folder or hub name of what a measure needs
    mpp : float
        Pixel size of the images in um.

    Returns
    -------
    judges : in the order of the names
    notes : which columns are missing and why

    Raises
    ------
    SettingError
        No measure has one of the names.
    """
    known = {name: place for name, place in (places or {}).items() if name in names}
    opened, notes = open_measures(known, mpp=mpp, keys=names)
    judges = []
    for name, (measure, compares) in opened.items():
        if measure.of == "sets":
            judges.append(set_judge(compares, measure.columns, PART_PX.get(name)))
        else:
            identity = [name, measure.version, place_identity(known.get(name)), mpp]
            judges.append(case_judge(measure, compares, lines, identity))
    return judges, merged(notes)


def case_judge(
    measure: Measure, compares: Callable[..., Any], lines: Lines, identity: Sequence[Any]
) -> Judge:
    """Return a judge of one case after the other.

    Parameters
    ----------
    compares : what `measure.load` gave
    lines : where its figures are kept
    identity : what they depend on beside the images, in values that JSON holds
    """

    def each(fields: Fields) -> Values:
        return kept_figures(lines, identity, compares, fields, inside=measure.of == "masks")

    return judge_of(measure.columns, each)


def judge_of(columns: tuple[Column, ...], each: Callable[[Fields], Values]) -> Judge:
    """Return a judge that summarises figures of single cases, by the columns' own means."""

    def measured(fields: Fields) -> dict[str, Interval]:
        found = each(fields)
        return {
            c.key: bootstrap(found[c.key], groups=fields.groups, statistic=c.over) for c in columns
        }

    return Judge(columns, measured, each)


def set_judge(describes: Describes, columns: Sequence[Column], part_px: int | None) -> Judge:
    """Return a judge of distances between what was restored and the truth, as sets.

    Parameters
    ----------
    columns : with keys that begin with "fid", "kid" or "cmmd"
    part_px : int, optional
        Side of the parts of an image that are described each by itself; by default all of it.
    """
    told: dict[str, npt.NDArray[np.float64]] = {}

    def described(images: Pixels) -> npt.NDArray[np.float64]:
        key = pixels_digest(images)
        if key not in told:  # the truth is that of all rows
            told[key] = describes(images)
        return told[key]

    def measure(fields: Fields) -> dict[str, Interval]:
        if len(fields.truth) < LEAST_IMAGES:
            return {}
        judged, groups = parts(fields.restored, fields.groups, part_px)
        good, _ = parts(fields.truth, fields.groups, part_px)
        return distances(columns, described(judged), described(good), groups)

    return Judge(tuple(columns), measure)


def distances(
    columns: Sequence[Column],
    judged: npt.NDArray[np.float64],
    good: npt.NDArray[np.float64],
    groups: Sequence[str],
) -> dict[str, Interval]:
    """Return the distances of columns between features (N, D) of restored and of true images."""
    sets = Sets(judged, good, groups, groups)
    draws = FEW_DRAWS if judged.shape[1] > MANY_FEATURES else DRAWS
    kinds = [next(kind for kind in DISTANCES if c.key.startswith(kind)) for c in columns]
    return {c.key: DISTANCES[k](sets, draws=draws) for c, k in zip(columns, kinds, strict=True)}


def parts(
    images: Sequence[Pixels], groups: Sequence[str], part_px: int | None
) -> tuple[Pixels, list[str]]:
    """Cut images of one size into parts (N, P, P, 3), and name the group of each.

    Without `part_px`, or where an image is smaller than a part, the parts are as large as its
    shorter side.
    """
    stacked = np.stack(images)
    cut = parts_of(stacked, part_px or max(stacked.shape[1:3]))
    return cut, [group for group in groups for _ in range(len(cut) // len(stacked))]


def kept_figures(
    lines: Lines,
    identity: Sequence[Any],
    compares: Callable[..., Any],
    fields: Fields,
    *,
    inside: bool = False,
) -> Values:
    """Return the figures of each case, measuring only those that are not kept."""
    rows: list[list[npt.NDArray[Any]]] = [
        list(pair) for pair in zip(fields.truth, fields.restored, strict=True)
    ]
    if inside:
        masks = fields.masks or [np.ones(image.shape[:2], np.bool_) for image in fields.truth]
        rows = [[*row, mask] for row, mask in zip(rows, masks, strict=True)]
    version = histomend.__version__
    keys = [digest(version, list(identity), *map(pixels_digest, row)) for row in rows]
    missing = [k for k, key in enumerate(keys) if key not in lines.known]
    for first in range(0, len(missing), AT_ONCE):
        some = missing[first : first + AT_ONCE]
        columns = zip(*(rows[k] for k in some), strict=True)
        found = compares(*map(np.stack, columns))
        for turn, k in enumerate(some):
            figures = {name: np.asarray(values[turn]).tolist() for name, values in found.items()}
            lines.add(keys[k], {"measure": identity[0], "figures": figures})
    told = [lines.known[key]["figures"] for key in keys]
    return {name: np.array([one[name] for one in told], dtype=np.float64) for name in told[0]}


def place_identity(place: str | Path | None) -> str:
    """Return what tells the weights of a measure from others: their hash, or a hub name."""
    if place is None:
        return ""
    return files_digest(Path(place)) if Path(place).exists() else str(place)


def merged(notes: Sequence[str]) -> list[str]:
    """Say once what is the same of several columns, "A, B: not available: ..."."""
    about: dict[str, list[str]] = {}
    for note in notes:
        columns, _, reason = note.partition(": ")
        about.setdefault(reason, []).append(columns)
    return [f"{', '.join(columns)}: {reason}" for reason, columns in about.items()]
