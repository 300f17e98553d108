"""Measures of one's own pairs: restored images against true ones, by file or by folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from histomend.errors import ImageSizeError, InputError, MaskError, SettingError
from histomend.evaluate import metrics, nuclei, texture
from histomend.evaluate.tables import Interval, bootstrap, geometric_mean
from histomend.image.depth import eight_bit
from histomend.image.pixels import Pixels
from histomend.image.stack_input import stack_of
from histomend.jobs.inputs import list_images, with_masks
from histomend.masks import load_mask

Mask = np.ndarray
# Ratios are averaged as such, and one blank image must not make the whole mean 0 or infinite.
RATIO_LIMITS = (1e-3, 1e3)
_USUAL_MPP = 0.5


@dataclass(frozen=True)
class PairMeasure:
    """A measure of a pair.

    Parameters
    ----------
    name : str
    better : "higher", "lower" or "one"
        "one": a ratio to the truth, which is 1 for another field of the same tissue.
    about : str
        Range, unit, and whose definition it is.
    of : function of (truth, image, mask, mpp) -> float
    inside : bool
        It looks inside the mask only.
    colours : bool
        It needs red, green and blue.
    digits : int
        After the point.
    """

    name: str
    better: Literal["higher", "lower", "one"]
    about: str
    of: Callable[[Pixels, Pixels, Mask, float], float]
    inside: bool = False
    colours: bool = False
    digits: int = 2


def _top(pixels: Pixels) -> float:
    return float(np.iinfo(pixels.dtype).max)


def _count_ratio(truth: Pixels, image: Pixels, mask: Mask, mpp: float) -> float:
    """Return the number of nuclei over the truth's."""
    before, after = (
        nuclei.nuclei_in(nuclei.segment_nuclei(eight_bit(p), mpp), mask, mpp)[0]
        for p in (truth, image)
    )
    return after / before if before else float("nan")


MEASURES: dict[str, PairMeasure] = {
    "psnr": PairMeasure(
        "PSNR",
        "higher",
        "dB, of the whole image",
        lambda truth, image, _m, _u: metrics.psnr(truth, image, data_range=_top(truth)),
    ),
    "ssim": PairMeasure(
        "SSIM",
        "higher",
        "0 to 1, uniform 7x7 window (scikit-image)",
        lambda truth, image, _m, _u: metrics.ssim(truth, image, data_range=_top(truth)),
        digits=4,
    ),
    "fsim": PairMeasure(
        "FSIM",
        "higher",
        "0 to 1, phase congruency and gradient (Zhang et al. 2011)",
        lambda truth, image, _m, _u: metrics.fsim(eight_bit(truth), eight_bit(image)),
        digits=4,
    ),
    "psnr_inside": PairMeasure(
        "PSNR inside",
        "higher",
        "dB, inside the mask",
        lambda truth, image, mask, _u: _psnr_inside(truth, image, mask),
        inside=True,
    ),
    "laplacian": PairMeasure(
        "Laplacian",
        "one",
        "variance of the Laplacian inside the mask over the truth's: sharpness and noise",
        lambda truth, image, mask, _u: texture.laplacian_ratio(truth, image, mask),
        inside=True,
    ),
    "spectrum": PairMeasure(
        "spectrum",
        "one",
        "power inside the mask over the truth's, geometric mean of four octaves",
        lambda truth, image, mask, _u: texture.spectrum_ratio(truth, image, mask).summary,
        inside=True,
    ),
    "border": PairMeasure(
        "border",
        "one",
        "colour step across the mask's border over the truth's",
        lambda truth, image, mask, _u: texture.border_step(truth, image, mask),
        inside=True,
        colours=True,
    ),
    "colour": PairMeasure(
        "colour",
        "lower",
        "CIEDE2000 between the mean colours inside the mask",
        lambda truth, image, mask, _u: texture.mean_ciede2000(truth, image, mask),
        inside=True,
        colours=True,
    ),
    "nuclei": PairMeasure(
        "nuclei",
        "one",
        "number of nuclei inside the mask over the truth's, both segmented by stain",
        _count_ratio,
        inside=True,
        colours=True,
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two files to compare.

    Attributes
    ----------
    name : str
    restored, truth : Path
    mask : Path or None
    """

    name: str
    restored: Path
    truth: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """What came of all pairs.

    Attributes
    ----------
    pairs : tuple of Pair
    figures : tuple of dict
        By measure, for each pair; NaN where the mask is too thin for one.
    summary : dict of str to Interval
        Mean (of ratios the geometric one) with a 95 % interval from drawing pairs.
    notes : tuple of str
    """

    pairs: tuple[Pair, ...]
    figures: tuple[Mapping[str, float], ...]
    summary: Mapping[str, Interval]
    notes: tuple[str, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return all of it for JSON, without infinity and NaN, which JSON does not know."""
        return {
            "pairs": [
                {"name": pair.name, "restored": str(pair.restored), "truth": str(pair.truth)}
                | {key: finite(value) for key, value in found.items()}
                for pair, found in zip(self.pairs, self.figures, strict=True)
            ],
            "summary": {
                key: {
                    "value": finite(found.value),
                    "low": finite(found.low),
                    "high": finite(found.high),
                    "pairs": found.count,
                    "better": MEASURES[key].better,
                    "about": MEASURES[key].about,
                }
                for key, found in self.summary.items()
            },
            "notes": list(self.notes),
        }


def finite(value: float) -> float | str | None:
    """Return a number that JSON and tables of other programs can hold."""
    if math.isnan(value):
        return None
    return "inf" if math.isinf(value) else value


def find_pairs(restored: Path, truth: Path, mask: Path | None = None) -> list[Pair]:
    """Return which files belong together: two files, or those of equal names in two folders.

    Parameters
    ----------
    mask : Path, optional
        A mask for all, or a folder with one for each by name; without it masks that lie beside the
        restored images are taken.

    Raises
    ------
    InputError
        A file without its counterpart, or a file against a folder.
    """
    if restored.is_dir() != truth.is_dir():
        raise InputError(
            f"{restored} and {truth}: one is a folder and the other is not. Name two files, or two "
            "folders whose files have the same names."
        )
    if not restored.is_dir():
        beside = with_masks([restored])[restored] if mask is None else mask
        return [Pair(restored.name, restored, truth, beside)]
    first, second = (_by_stem(list_images([folder]), folder) for folder in (restored, truth))
    for one, other, where in ((first, second, truth), (second, first, restored)):
        alone = sorted(set(one) - set(other))
        if alone:
            raise InputError(
                f"{len(alone)} image{'s have' if len(alone) > 1 else ' has'} no counterpart in "
                f"{where}: {', '.join(alone[:5])}{', ...' if len(alone) > 5 else ''}. Files that "
                "belong together have the same name, apart from what follows the last dot."
            )
    masks = with_masks(list(first.values()))
    if mask is not None:
        found = _by_stem(list_images([mask]), mask) if mask.is_dir() else {}
        masks = {
            path: found.get(stem, None if mask.is_dir() else mask) for stem, path in first.items()
        }
    return [Pair(stem, first[stem], second[stem], masks[first[stem]]) for stem in sorted(first)]


def evaluate_pairs(
    pairs: Sequence[Pair],
    *,
    measures: Iterable[str] | None = None,
    mpp: float | None = None,
    tick: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure pairs, and summarise them.

    Parameters
    ----------
    measures : names in `MEASURES`, by default all that the images allow.
    mpp : float, optional
        Pixel size in um for the nuclei, where the file does not say; else 0.5.
    tick : function of (pairs done, pairs in all), optional

    Raises
    ------
    SettingError
        There is no such measure.
    InputError
        A file that cannot be read; unequal sizes or types; a mask that does not fit or is empty.
    """
    chosen = list(MEASURES) if measures is None else list(dict.fromkeys(measures))
    unknown = [name for name in chosen if name not in MEASURES]
    if unknown:
        raise SettingError(f"No measure is called {unknown[0]!r}. There are {', '.join(MEASURES)}.")
    if not pairs:
        raise InputError("There are no pairs to measure.")
    figures: list[dict[str, float]] = []
    for done, pair in enumerate(pairs, 1):
        figures.append(_measured(pair, chosen, mpp))
        if tick is not None:
            tick(done, len(pairs))
    there = [key for key in chosen if any(key in found for found in figures)]
    summary = {key: _summarised(key, pairs, figures) for key in there}
    notes = []
    if all(pair.mask is None for pair in pairs) and any(MEASURES[key].inside for key in there):
        notes.append("No mask was given: what is measured inside one is of the whole image.")
    if len(pairs) == 1:
        notes.append("One pair has no interval.")
    return Evaluation(tuple(pairs), tuple(figures), summary, tuple(notes))


def _by_stem(files: Iterable[Path], folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        stem = path.relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise InputError(
                f"{found[stem]} and {path} have the same name apart from what follows the last "
                "dot, so it cannot be told which is meant. Move one of them."
            )
        found[stem] = path
    return found


def _measured(pair: Pair, chosen: Sequence[str], mpp: float | None) -> dict[str, float]:
    restored, truth = (stack_of(path, per_channel=None) for path in (pair.restored, pair.truth))
    if restored.values.shape != truth.values.shape or restored.values.dtype != truth.values.dtype:
        raise ImageSizeError(
            f"{pair.restored} is {_kind(restored.values)}, and {pair.truth} {_kind(truth.values)}: "
            "both have to be of one size, type and number of channels."
        )
    shape = truth.values.shape[1:3]
    mask = np.ones(shape, np.bool_)
    if pair.mask is not None:
        mask = load_mask(pair.mask, shape).mask
        if not mask.any():
            raise MaskError(f"{pair.mask}: nothing is masked, so there is nothing to measure.")
    size = mpp or truth.mpp or restored.mpp or _USUAL_MPP
    colours = truth.channels == 3
    found: dict[str, float] = {}
    for key in chosen:
        measure = MEASURES[key]
        if (measure.colours and not colours) or (key == "border" and pair.mask is None):
            continue
        values = [
            _one(measure, _rgb(one), _rgb(other), mask, size)
            for one, other in zip(truth.values, restored.values, strict=True)
        ]
        found[key] = float(np.mean(values))
    return found


def _one(measure: PairMeasure, truth: Pixels, image: Pixels, mask: Mask, mpp: float) -> float:
    try:
        return float(measure.of(truth, image, mask, mpp))
    except MaskError:  # too thin for it
        return float("nan")


def _rgb(plane: Pixels) -> Pixels:
    """Return a plane as measures take it: grey as three equal channels, floats in 16 bits."""
    if plane.dtype.kind == "f":
        plane = np.rint(plane * 65535).astype(np.uint16)
    return np.repeat(plane, 3, axis=2) if plane.shape[2] == 1 else plane


def _kind(values: Pixels) -> str:
    planes, height, width, channels = values.shape
    return f"{width} x {height} px, {planes} x {channels} channels of {values.dtype}"


def _psnr_inside(truth: Pixels, image: Pixels, mask: Mask) -> float:
    error = np.square(truth[mask].astype(np.float64) - image[mask]).mean()
    return float("inf") if error == 0 else float(10 * np.log10(_top(truth) ** 2 / error))


def _summarised(
    key: str, pairs: Sequence[Pair], figures: Sequence[Mapping[str, float]]
) -> Interval:
    known = [
        (found[key], pair.name)
        for found, pair in zip(figures, pairs, strict=True)
        if key in found and not math.isnan(found[key])
    ]
    if not known:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    values, names = zip(*known, strict=True)
    if np.isinf(values).any():
        best = float("inf") if np.isinf(values).all() else float("nan")
        return Interval(best, best, best, len(values))
    if MEASURES[key].better == "one":
        return bootstrap(np.clip(values, *RATIO_LIMITS), groups=names, statistic=geometric_mean)
    return bootstrap(np.asarray(values), groups=names)
