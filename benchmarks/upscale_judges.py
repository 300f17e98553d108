"""What enlarged images are measured by: the columns of Histo-Diffusion's Tables 2 to 6.

Used by the other ``upscale_*.py``; nothing to run here. Figures of single images are kept, so that
a further row does not measure the others again. A measure whose weights are not at hand has no
column: a line below the table says so instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from histomend.damage.capture import scanned
from histomend.evaluate.column import Column, Measure
from histomend.evaluate.columns import MEASURES
from histomend.evaluate.harness.judges import Fields, Judge, Values
from histomend.evaluate.harness.opening import (
    case_judge,
    kept_figures,
    merged,
    open_judges,
    place_identity,
)
from histomend.evaluate.harness.store import Lines, pixels_digest
from histomend.evaluate.hover import nuclei_segmenter
from histomend.evaluate.instances import lost_and_gained
from histomend.evaluate.nuclear_features import INTENSITY, TEXTURE, nuclear_l1
from histomend.evaluate.tables import Interval, bootstrap, ratio_of_sums
from histomend.image.resampling import deviation

# Names in `MEASURES`: those of Table 2, and those of Tables 3 and 5.
GENERAL = (
    "psnr", "ssim", "lpips", "st_lpips", "clipiqa", "musiq", "niqe", "brisque", "nrqm",
    "efficientnet",
)  # fmt: skip
TISSUE = ("nuclei", "iqa_box", "iqa_gaussian", "uni", "plip", "encoder")
SIMILARITIES = ("uni", "plip", "encoder")
# Of nuclei, all in percent of the true ones; their number has no column, as neither more nor less
# is better.
LOST, GAINED, NUMBER = "lost", "gained", "number"
COUNTED = (
    Column(LOST, "nuclei lost, %", "lower", 1),
    Column(GAINED, "nuclei gained, %", "lower", 1),
)
DEVIATION = Column("deviation", "deviation", "lower", 2)
_DIGITS = dict(zip((*INTENSITY, *TEXTURE), (1, 1, 2, 2, 0, 1, 3, 4), strict=True))
PARTS = tuple(Column(name, name, "lower", digits) for name, digits in _DIGITS.items())


def add_weight_options(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where weights are."""
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        type=_placed,
        metavar="MEASURE=PATH",
        help="weights of a measure (repeatable): "
        + "; ".join(f"{name}: {m.needs}" for name, m in MEASURES.items() if m.needs),
    )


def judges_of(
    names: Collection[str], places: Mapping[str, str], kept: Path, mpp: float = 0.5
) -> tuple[list[Judge], list[str]]:
    """Load the measures that are at hand.

    Parameters
    ----------
    names : of `MEASURES`
    places : by name, the file, folder or hub name of what a measure needs
    kept : Path
        File of the figures of single images.
    mpp : float
        Pixel size of the images in um.

    Returns
    -------
    judges : of what can be measured
    notes : which columns are missing and why
    """
    lines = Lines(kept)
    opened: dict[str, Judge] = {}
    notes: list[str] = []
    for name in names:
        if name == "nuclei":
            opened[name] = _nuclei(lines, places.get(name), mpp)
            continue
        found, missing = open_judges([name], lines, places, mpp=mpp)
        notes += missing
        if found:
            (opened[name],) = found
    return list(opened.values()), merged(notes)


def scan_judge(scale: int, kept: Path) -> Judge:
    """Return the measure of how far images are off what a scan with larger pixels shows.

    Parameters
    ----------
    scale : int
        How many times larger its pixels are than those of truth and images.
    kept : Path
        As of `judges_of`.
    """

    def compares(truth: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
        found = [deviation(_scanned(t, scale), i) for t, i in zip(truth, images, strict=True)]
        return {DEVIATION.key: np.array(found)}

    measure = Measure((DEVIATION,), lambda _: compares)
    return case_judge(measure, compares, Lines(kept), [DEVIATION.key, scale])


def _scanned(truth: np.ndarray, scale: int) -> np.ndarray:
    """Return (h, w, 3) uint8 of truth (H, W, 3)."""
    light = torch.from_numpy(truth.astype(np.float32)).permute(2, 0, 1)
    return scanned(light, scale).permute(1, 2, 0).round().numpy().astype(np.uint8)


def column_keys(names: Collection[str]) -> list[str]:
    """Return the keys of the columns of measures; the parts of both L1 are not among them."""
    keys = [column.key for name in names for column in MEASURES[name].columns]
    return [*keys, *(c.key for c in COUNTED)] if "nuclei" in names else keys


def _nuclei(lines: Lines, weights: str | None, mpp: float) -> Judge:
    """Return both L1 and their parts, and how many nuclei were lost and gained."""
    segment = nuclei_segmenter(None if weights is None else Path(weights))
    outlined: dict[str, np.ndarray] = {}
    means = (*MEASURES["nuclei"].columns, *PARTS)

    def outlines(clean: np.ndarray) -> np.ndarray:
        key = pixels_digest(clean)
        if key not in outlined:  # the truth is that of all rows
            outlined[key] = segment(clean, mpp)
        return outlined[key]

    def one(clean: np.ndarray, image: np.ndarray) -> dict[str, float]:
        labels = outlines(clean)
        off = nuclear_l1(clean, image, labels)
        after = segment(image, mpp)
        lost, gained = lost_and_gained(labels, after)
        whole = {"l1_texture": off.texture, "l1_intensity": off.intensity}
        number = np.count_nonzero(np.unique(after))
        counts: dict[str, Any] = {"nuclei": off.nuclei, LOST: lost, GAINED: gained, NUMBER: number}
        return {**whole, **off.parts, **counts}

    def compares(truth: np.ndarray, images: np.ndarray) -> dict[str, np.ndarray]:
        found = [one(*both) for both in zip(truth, images, strict=True)]
        return {key: np.array([of[key] for of in found], np.float64) for key in found[0]}

    def each(fields: Fields) -> Values:
        identity = ["nuclei, lost and gained", place_identity(weights), mpp]
        return kept_figures(lines, identity, compares, fields)

    def measure(fields: Fields) -> dict[str, Interval]:
        found = each(fields)
        told = {c.key: bootstrap(found[c.key], groups=fields.groups) for c in means}
        for key in (LOST, GAINED, NUMBER):
            percent = np.stack([100 * found[key], found["nuclei"]], axis=1)
            told[key] = bootstrap(percent, groups=fields.groups, statistic=ratio_of_sums)
        return told

    return Judge((*MEASURES["nuclei"].columns, *COUNTED, *PARTS), measure)


def _placed(text: str) -> tuple[str, str]:
    name, equals, place = text.partition("=")
    if name not in MEASURES or not (equals and place):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give MEASURE=PATH, with one of {', '.join(MEASURES)}"
        )
    return name, place
