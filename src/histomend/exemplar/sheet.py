"""The part of an image that a hole is filled from, and tissue from elsewhere laid beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from histomend.exemplar.candidates import COARSE
from histomend.exemplar.compose import Composed
from histomend.exemplar.pieces import Piece
from histomend.exemplar.provenance import COPIED, Part
from histomend.exemplar.tissue import Mask

# Blocks between the part of the image and each field: further than anything looks from a hole.
_APART = 6


@dataclass(frozen=True, eq=False)
class Field:
    """Tissue of the same slide that is no part of the image.

    Parameters
    ----------
    pixels : (h, w, 3) of the type of the image
    clean : (h, w) bool
        What may be copied.
    corner : (x, y)
        Of its upper left pixel, in pixels of the image: beyond its sides.
    """

    pixels: npt.NDArray[Any]
    clean: Mask
    corner: tuple[int, int]
    used: Mask = field(init=False)
    """Where it was copied from."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "used", np.zeros_like(self.clean))


Elsewhere: TypeAlias = Callable[[], tuple[Field, ...]]


@dataclass(frozen=True)
class Sheet:
    """Coordinates of a window of the image and, to its right, of fields.

    Parameters
    ----------
    window : (rows, columns)
        As slices of the image; its corner is that of the sheet.
    block : int
        Side of a block in px; the sides of the sheet are multiples of it.
    shape : (height, width)
    fields : tuple of Field
    lefts : tuple of int
        The column of each field; all begin at row 0.
    """

    window: tuple[slice, slice]
    block: int
    shape: tuple[int, int]
    fields: tuple[Field, ...] = ()
    lefts: tuple[int, ...] = ()

    @classmethod
    def of(cls, window: tuple[slice, slice], cell: int, fields: tuple[Field, ...] = ()) -> Sheet:
        """Lay fields beside a window."""
        block = COARSE * cell
        high, wide = (-(-(part.stop - part.start) // block) * block for part in window)
        lefts = []
        for each in fields:
            lefts.append(wide + _APART * block)
            height, width = (-(-side // block) * block for side in each.clean.shape)
            high, wide = max(high, height), lefts[-1] + width
        return cls(window, block, (high, wide), fields, tuple(lefts))

    def laid(self, values: npt.NDArray[Any], others: Sequence[npt.NDArray[Any]] = ()) -> Any:
        """Return values of the image and of each field, as they lie; between them zeros."""
        own = values[self.window]
        out = np.zeros((*self.shape, *values.shape[2:]), values.dtype)
        out[: own.shape[0], : own.shape[1]] = own
        for left, other in zip(self.lefts, others, strict=False):
            out[: other.shape[0], left : left + other.shape[1]] = other
        return out

    def pixels(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the pixels as they lie; the last ones go on, so that the padding has no edge."""
        out = np.empty((*self.shape, image.shape[2]), image.dtype)
        laid = [(0, image[self.window])]
        laid += zip(self.lefts, (each.pixels for each in self.fields), strict=True)
        for (left, values), end in zip(laid, (*self.lefts, self.shape[1]), strict=True):
            high, wide = values.shape[:2]
            pad = ((0, self.shape[0] - high), (0, end - left - wide), (0, 0))
            out[:, left:end] = np.pad(values, pad, mode="edge")
        return out

    def account(
        self,
        made: Composed,
        pieces: tuple[Piece, ...],
        box: tuple[int, int, int, int],
        step: int,
        used: Mask,
    ) -> Part:
        """Return what was composed as a part of the image, and note where it was copied from.

        Parameters
        ----------
        pieces : tuple of Piece
            In coordinates of the sheet.
        box : (x, y, w, h)
            Of the image.
        step : int
            Px between nodes of the shifts.
        used : (H, W) bool
            Of the image; True is set where something was copied from.

        Notes
        -----
        A piece that takes from two fields becomes two, since these lie elsewhere on the slide.
        """
        x, y, w, h = box
        top, left = (part.start for part in self.window)
        origin = np.zeros((h, w), np.uint16)
        was = made.origin[:h, :w]
        found: list[Piece] = []
        numbers: list[int] = []
        for number, piece in enumerate(pieces):
            rows, columns = np.nonzero(was // 2 == COPIED // 2 + number)
            down, right = piece.source(rows + y - top, columns + x - left)
            where = np.searchsorted(self.lefts, right, side="right")
            for place in np.unique(where):
                here = where == place
                dy, dx = 0, 0
                if place:
                    origin_of = self.fields[place - 1]
                    dx = origin_of.corner[0] - left - self.lefts[place - 1]
                    dy = origin_of.corner[1] - top
                    origin_of.used[down[here], right[here] - self.lefts[place - 1]] = True
                else:
                    used[down[here] + top, right[here] + left] = True
                mixed = was[rows[here], columns[here]] % 2
                origin[rows[here], columns[here]] = COPIED + 2 * len(found) + mixed
                moved = Piece(piece.orientation, piece.down + dy, piece.right + dx)
                found.append(moved.seen_from(-top, -left))
                numbers.append(number)
        shifts = made.shifts[np.array(numbers, np.intp)]
        return Part(box, origin, tuple(found), shifts, step)
