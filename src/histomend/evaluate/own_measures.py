"""What is measured of one pair of files, by the measures of the one registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import ImageSizeError, MaskError
from histomend.evaluate.column import Measure
from histomend.evaluate.columns import MEASURES, open_measures
from histomend.evaluate.harness.opening import PART_PX, parts
from histomend.image.depth import eight_bit
from histomend.image.pixels import Pixels
from histomend.image.stack_input import stack_of
from histomend.masks import load_mask

Mask = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]
_USUAL_MPP = 0.5


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
class Found:
    """What was measured of a pair.

    Attributes
    ----------
    figures : dict of str to array
        By column, of no dimension; (2,) where the column is a ratio of sums.
    features : dict of str to (array, array)
        By measure of sets, what describes the restored and the true image.
    """

    figures: Mapping[str, Array]
    features: Mapping[str, tuple[Array, Array]]


class Measures:
    """Measures that are at hand.

    Parameters
    ----------
    names : of `MEASURES`
    places : by name, the file, folder or hub name of what a measure needs
    mpp : float, optional
        Pixel size of all images in um; by default what their files say, else 0.5.

    Attributes
    ----------
    names : list of str
        Of those at hand.
    missing : list of str
        Which others are not, and what they need.

    Raises
    ------
    SettingError
        No measure has one of the names.
    """

    def __init__(
        self, names: Sequence[str], places: Mapping[str, str | Path], mpp: float | None = None
    ):
        self.mpp = mpp
        self._places = {name: place for name, place in places.items() if name in names}
        opened, self.missing = open_measures(self._places, mpp=mpp or _USUAL_MPP, keys=names)
        self.names = list(opened)
        self._opened = {name: compares for name, (_, compares) in opened.items()}
        self._scaled: dict[float, dict[str, Any]] = {}

    def of(self, pair: Pair) -> Found:
        """Measure a pair.

        Raises
        ------
        InputError
            A file that cannot be read; unequal sizes or types; a mask that does not fit or is
            empty.
        """
        restored, truth = (stack_of(path, per_channel=None) for path in (pair.restored, pair.truth))
        new, true = restored.values, truth.values
        if new.shape != true.shape or new.dtype != true.dtype:
            raise ImageSizeError(
                f"{pair.restored} is {_kind(new)}, and {pair.truth} {_kind(true)}: both have to be "
                "of one size, type and number of channels."
            )
        mask = np.ones(true.shape[1:3], np.bool_)
        if pair.mask is not None:
            mask = load_mask(pair.mask, true.shape[1:3]).mask
            if not mask.any():
                raise MaskError(f"{pair.mask}: nothing is masked, so there is nothing to measure.")
        mpp = self.mpp or truth.mpp or restored.mpp or _USUAL_MPP
        planes = [(_rgb(one), _rgb(other)) for one, other in zip(true, new, strict=True)]
        figures: dict[str, Array] = {}
        features: dict[str, tuple[Array, Array]] = {}
        for name, compares in self._at(mpp).items():
            measure = MEASURES[name]
            if measure.colours and truth.channels != 3:
                continue
            seen = planes if measure.deep else [(eight_bit(t), eight_bit(n)) for t, n in planes]
            if measure.of == "sets":
                features[name] = _described(name, compares, seen)
            else:
                figures |= _figures(measure, compares, seen, mask)
        return Found(figures, features)

    def _at(self, mpp: float) -> dict[str, Any]:
        """Return all measures, those that look at the size of pixels for this one."""
        if self.mpp is not None or mpp == _USUAL_MPP:
            return self._opened
        if mpp not in self._scaled:
            names = [name for name in self.names if MEASURES[name].by_mpp]
            places = {name: place for name, place in self._places.items() if name in names}
            opened, _ = open_measures(places, mpp=mpp, keys=names)
            scaled = {name: compares for name, (_, compares) in opened.items()}
            self._scaled[mpp] = self._opened | scaled
        return self._scaled[mpp]


def _figures(
    measure: Measure, compares: Any, planes: Sequence[tuple[Pixels, Pixels]], mask: Mask
) -> dict[str, Array]:
    """Return the mean over planes of each column."""
    inside = (mask[None],) if measure.of == "masks" else ()
    found = [compares(true[None], new[None], *inside) for true, new in planes]
    return {key: np.mean([one[key][0] for one in found], axis=0) for key in found[0]}


def _described(
    name: str, describes: Any, planes: Sequence[tuple[Pixels, Pixels]]
) -> tuple[Array, Array]:
    true, new = (
        describes(
            parts([plane[turn] for plane in planes], [""] * len(planes), PART_PX.get(name))[0]
        )
        for turn in (0, 1)
    )
    return new, true


def _rgb(plane: Pixels) -> Pixels:
    """Return a plane as measures take it: grey as three equal channels, floats in 16 bits."""
    if plane.dtype.kind == "f":
        plane = np.rint(plane * 65535).astype(np.uint16)
    return np.repeat(plane, 3, axis=2) if plane.shape[2] == 1 else plane


def _kind(values: Pixels) -> str:
    planes, height, width, channels = values.shape
    return f"{width} x {height} px, {planes} x {channels} channels of {values.dtype}"
