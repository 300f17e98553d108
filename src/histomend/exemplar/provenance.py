"""Where every filled pixel came from, compactly, and the check that it is so."""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import LedgerError
from histomend.exemplar.blend import shifted
from histomend.exemplar.pieces import ORIENTATIONS, Piece

Mask = npt.NDArray[np.bool_]
Pixels = npt.NDArray[Any]

# What the map of a part says of a pixel: not of this part; drawn by the model or smoothly filled;
# from `COPIED` on, twice the number of its piece, and 1 more where it is mixed with what it meets.
ELSEWHERE, DRAWN, COPIED = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Part:
    """What was filled at once.

    Parameters
    ----------
    box : (x, y, w, h)
    origin : (h, w) uint16
        See `ELSEWHERE`, `DRAWN` and `COPIED`.
    pieces : tuple of Piece
        In pixels of the image.
    shifts : (pieces, rows, columns, 3) int16
        The shift of colour of each piece, see `histomend.exemplar.blend.shifted`.
    step : int
        Px between nodes of the shifts.
    """

    box: tuple[int, int, int, int]
    origin: npt.NDArray[np.uint16]
    pieces: tuple[Piece, ...]
    shifts: npt.NDArray[np.int16]
    step: int

    @property
    def place(self) -> tuple[slice, slice]:
        """The box as (rows, columns)."""
        x, y, w, h = self.box
        return slice(y, y + h), slice(x, x + w)

    @property
    def copied(self) -> Mask:
        """Which pixels of the box are copies that are mixed with nothing, (h, w)."""
        return (self.origin >= COPIED) & (self.origin % 2 == 0)

    def rebuilt(self, source: Pixels) -> Pixels:
        """Return the box with its unmixed copies, taken from the source once more; else zeros."""
        x, y, w, h = self.box
        out = np.zeros((h, w, 3), source.dtype)
        for number, piece in enumerate(self.pieces):
            rows, columns = np.nonzero(self.origin == COPIED + 2 * number)
            there, across = piece.source(rows + y, columns + x)
            if len(there) and (
                min(there.min(), across.min()) < 0
                or there.max() >= source.shape[0]
                or across.max() >= source.shape[1]
            ):
                raise LedgerError(
                    f"the provenance is damaged: a copy in the box {self.box} comes from outside "
                    "the image"
                )
            copied = source[there, across]
            out[rows, columns] = shifted(copied, self.shifts[number], rows, columns, self.step)
        return out


@dataclass(frozen=True)
class Provenance:
    """Where every filled pixel of an image came from.

    Parameters
    ----------
    parts : tuple of Part
        No pixel belongs to two.
    """

    parts: tuple[Part, ...] = ()

    def drawn(self, where: Mask) -> Provenance:
        """Return the same after a model has drawn the pixels `where`, (H, W), anew."""
        parts = [
            replace(
                part,
                origin=np.where(
                    where[part.place] & (part.origin != ELSEWHERE), DRAWN, part.origin
                ).astype(np.uint16),
            )
            for part in self.parts
        ]
        return Provenance(tuple(parts))

    def copied(self, shape: tuple[int, int]) -> Mask:
        """Return which pixels of an image of that shape are copies mixed with nothing."""
        found = np.zeros(shape, np.bool_)
        for part in self.parts:
            found[part.place] |= part.copied
        return found

    def shares(self) -> dict[str, int]:
        """Count pixels: copied bit for bit, copied with a shift of colour, mixed, drawn."""
        counts = dict.fromkeys(("copied_exactly", "copied_shifted", "mixed", "drawn"), 0)
        for part in self.parts:
            still = np.zeros(part.origin.shape, np.bool_)
            flat = np.full((1, 3), 128, np.uint8)
            for number in range(len(part.pieces)):
                rows, columns = np.nonzero(part.origin == COPIED + 2 * number)
                grey = np.broadcast_to(flat, (len(rows), 3))
                moved = shifted(grey, part.shifts[number], rows, columns, part.step)
                still[rows, columns] = (moved == flat).all(1)
            copied = part.copied
            counts["copied_exactly"] += int(np.count_nonzero(still))
            counts["copied_shifted"] += int(np.count_nonzero(copied & ~still))
            counts["mixed"] += int(np.count_nonzero((part.origin >= COPIED) & ~copied))
            counts["drawn"] += int(np.count_nonzero(part.origin == DRAWN))
        return counts

    def first_wrong(self, source: Pixels, restored: Pixels) -> tuple[int, int, int]:
        """Compare all unmixed copies with the source, byte for byte.

        Parameters
        ----------
        source, restored : (H, W, 3) of one type

        Returns
        -------
        (count, x, y)
            How many copies are not what the provenance says, and where the first is; (0, -1, -1)
            if none.

        Raises
        ------
        LedgerError
            A copy comes from outside the image.
        """
        count, x, y = 0, -1, -1
        for part in self.parts:
            differs = (part.rebuilt(source) != restored[part.place]).any(2) & part.copied
            found = int(np.count_nonzero(differs))
            if found and not count:
                row, column = np.argwhere(differs)[0]
                x, y = int(column) + part.box[0], int(row) + part.box[1]
            count += found
        return count, x, y

    def record(self) -> dict[str, Any]:
        """Return the provenance as values that JSON holds; see `read`."""
        return {
            "pixels": self.shares(),
            "parts": [
                {
                    "box": list(part.box),
                    "origin": _packed(part.origin),
                    "pieces": [[p.orientation, p.down, p.right] for p in part.pieces],
                    "shift_nodes": list(part.shifts.shape[1:3]),
                    "shift_step_px": part.step,
                    "shifts": _packed(part.shifts),
                }
                for part in self.parts
            ],
        }

    @classmethod
    def read(cls, record: dict[str, Any], shape: tuple[int, int]) -> Provenance:
        """Read what `record` gave for an image of (height, width).

        Raises
        ------
        LedgerError
            Something is missing, of another size, or outside the image.
        """
        try:
            return cls(tuple(_part(part, shape) for part in record["parts"]))
        except (KeyError, TypeError, ValueError, IndexError, zlib.error, binascii.Error) as error:
            raise LedgerError(f"the provenance is damaged: {error!r}") from error


def undrawn(place: tuple[slice, slice], where: Mask, step: int) -> Part:
    """Return the part of a hole for which there is nothing to copy, so that a model draws it."""
    rows, columns = place
    h, w = where.shape
    shifts = np.zeros((0, -(-h // step) + 1, -(-w // step) + 1, 3), np.int16)
    origin = np.where(where, DRAWN, ELSEWHERE).astype(np.uint16)
    return Part((columns.start, rows.start, w, h), origin, (), shifts, step)


def _part(record: dict[str, Any], shape: tuple[int, int]) -> Part:
    x, y, w, h = (int(side) for side in record["box"])
    if min(x, y) < 0 or min(w, h) < 1 or x + w > shape[1] or y + h > shape[0]:
        raise ValueError(f"the box {record['box']} is outside the image")
    pieces = tuple(Piece(int(o), int(down), int(right)) for o, down, right in record["pieces"])
    if any(not 0 <= piece.orientation < ORIENTATIONS for piece in pieces):
        raise ValueError("there is no such orientation")
    rows, columns = (int(side) for side in record["shift_nodes"])
    step = int(record["shift_step_px"])
    if step < 1 or rows < -(-h // step) + 1 or columns < -(-w // step) + 1:
        raise ValueError("the shifts do not cover their box")
    origin = _unpacked(record["origin"], np.uint16, (h, w))
    if origin.max() >= COPIED + 2 * len(pieces):
        raise ValueError("there is no such piece")
    shifts = _unpacked(record["shifts"], np.int16, (len(pieces), rows, columns, 3))
    return Part((x, y, w, h), origin, pieces, shifts, step)


def _packed(values: npt.NDArray[Any]) -> str:
    """Return numbers of 16 bits as text; neighbours are alike, so that differences pack well."""
    flat = values.reshape(-1).view(np.uint16)
    steps = np.diff(flat, prepend=np.uint16(0)).astype("<u2")
    return base64.b64encode(zlib.compress(steps.tobytes(), 9)).decode("ascii")


def _unpacked(text: str, kind: type[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<u2")
    values = np.cumsum(steps, dtype=np.uint64).astype(np.uint16)
    return values.view(kind).reshape(shape)
