"""What restored cases are measured by: columns that are computed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from histomend.evaluate.column import Column
from histomend.evaluate.tables import Interval

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Values = Mapping[str, npt.NDArray[np.float64]]
"""By the key of a column a figure of each case, (N,), or (N, 2) where it is a ratio of sums."""


class Compared(Protocol):
    """A degraded image whose truth is known."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str:
        """What intervals draw: the tile or the field of view that it was cut from."""
        ...

    @property
    def mask(self) -> Mask | None: ...

    @property
    def reference(self) -> Pixels:
        """The truth as restorations are compared with it, (S, S, 3) uint8."""
        ...

    def compared(self, restored: Pixels) -> Pixels:
        """Return a restoration as it is compared with the truth, (S, S, 3) uint8."""
        ...


@dataclass(frozen=True)
class Fields:
    """Restored images and their truth, as they are compared.

    Parameters
    ----------
    restored, truth : sequence of (S, S, 3) uint8
    groups : sequence of str
        What intervals draw.
    masks : sequence of (S, S) bool, optional
        Where was restored; everywhere unless given.
    """

    restored: Sequence[Pixels] = field(repr=False)
    truth: Sequence[Pixels] = field(repr=False)
    groups: Sequence[str]
    masks: Sequence[Mask] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, cases: Sequence[Compared], made: Sequence[Pixels]) -> Fields:
        """Bring what a row made of each case to the scale of its truth."""
        shown = [case.compared(pixels) for case, pixels in zip(cases, made, strict=True)]
        masks = [case.mask for case in cases if case.mask is not None]
        return cls(
            shown,
            [case.reference for case in cases],
            [case.group for case in cases],
            masks if len(masks) == len(cases) else None,
        )


@dataclass(frozen=True)
class Judge:
    """Columns that are computed together.

    Parameters
    ----------
    columns : tuple of Column
    measure : function of Fields -> figure by key of its column
    each : function of Fields -> figures of each case, optional
        Of measures that look at one case after the other, so that rows can be compared case by
        case; sets of images have none.
    """

    columns: tuple[Column, ...]
    measure: Callable[[Fields], dict[str, Interval]]
    each: Callable[[Fields], Values] | None = None
