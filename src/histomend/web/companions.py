"""What belongs to an image that was opened: its record, what it was made of, and its maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from histomend.errors import LedgerError
from histomend.image import Image, read_image
from histomend.image.pixels import Region
from histomend.image.reading import file_sha256
from histomend.image.stack_files import read_stack
from histomend.jobs.companions import map_beside, record_of
from histomend.jobs.inputs import MAPS
from histomend.ledger import Record, undo
from histomend.ledger.proof import change_mask
from histomend.web.contrast import Shown
from histomend.web.pyramid import TILE_PX, ArrayPyramid, Pyramid, last_level, no_tile, open_pyramid

MASK_COLOUR = (216, 27, 140)
_LARGEST_HASHED = 1_000_000_000  # bytes; of what is larger the name has to do


@dataclass(frozen=True)
class Overlay:
    """Something to lay over a version of an image.

    Parameters
    ----------
    name : str
    title : what people call it
    kind : "mask", "picture" or "map"
    load : function -> Pyramid
        Of a mask 0 and 255; of a picture colours; of a map any numbers from 0.
    """

    name: str
    title: str
    kind: str
    load: Callable[[], Pyramid] = field(repr=False)

    def shown(self, values: npt.NDArray[Any], most: float) -> Shown:
        """Return values (h, w, C) as (h, w, 4) with transparency.

        Parameters
        ----------
        most : float
            Of a map, the value that gets the last colour.
        """
        height, width = values.shape[:2]
        out = np.full((height, width, 4), 255, np.uint8)
        if self.kind == "mask":
            out[..., :3] = MASK_COLOUR
            out[..., 3] = np.minimum(values[..., 0], 255)
        elif self.kind == "picture":
            out[..., :3] = values
        else:
            share = np.clip(values[..., 0].astype(np.float32) / max(most, 1e-9), 0, 1)
            steps = np.rint(share * 255).astype(np.uint8)
            out[..., :3] = cv2.applyColorMap(steps, cv2.COLORMAP_INFERNO)[..., ::-1]
            out[..., 3] = np.rint(255 * np.minimum(1, share * 4))  # nothing there, nothing shown
        return out


@dataclass(frozen=True)
class Version:
    """One state of an image: as it was, or as a job made it.

    Parameters
    ----------
    name : str
    load : function -> Pyramid
    path : Path or None
        The file, if it is one.
    region : (x, y, w, h) or None
        Where it lies in the first version; None for all of it.
    record : Record or None
    overlays : tuple of Overlay
    """

    name: str
    load: Callable[[], Pyramid] = field(repr=False)
    path: Path | None = None
    region: Region | None = None
    record: Record | None = None
    overlays: tuple[Overlay, ...] = ()


def original(path: Path, name: str | None = None) -> Version:
    """Return a file as the state that it all began with."""
    return Version(name or path.name, lambda: open_pyramid(path), path)


def result_of(path: Path, *, in_source: bool) -> Version:
    """Return a file that a job wrote, with its record and its maps.

    Parameters
    ----------
    in_source : bool
        Whether it is shown in the image that it was made of, of which it may be a part.

    Raises
    ------
    LedgerError
    """
    record = Record.read(record_of(path)) if record_of(path).is_file() else None
    region = record.source.region if record is not None and in_source else None
    overlays = () if record is None else tuple(_overlays(path, record))
    return Version(path.name, lambda: open_pyramid(path), path, region, record, overlays)


def opened_versions(path: Path, others: Iterable[Path] = ()) -> tuple[Version, ...]:
    """Return the states of a file that was opened, the earliest first.

    Parameters
    ----------
    others : files that were opened as well, one of which it may have been made of.

    Raises
    ------
    LedgerError
        Its record is damaged.
    """
    if not record_of(path).is_file():
        return (original(path),)
    record = Record.read(record_of(path))
    source = _source_among([*others, path.with_name(record.source.name or "")], record, path)
    if source is not None:
        return original(source), result_of(path, in_source=True)
    after = result_of(path, in_source=False)
    if record.task != "restore":
        return (after,)
    return Version("before, from the record", lambda: _undone(path, record)), after


def _source_among(paths: Iterable[Path], record: Record, result: Path) -> Path | None:
    for path in paths:
        if (
            path.name == record.source.name
            and path != result
            and path.is_file()
            and (path.stat().st_size > _LARGEST_HASHED or file_sha256(path) == record.source.sha256)
        ):
            return path
    return None


def _undone(path: Path, record: Record) -> Pyramid:
    restored = read_image(path, least=1)
    return ArrayPyramid(undo(record, restored)[None], restored.mpp)


def _overlays(path: Path, record: Record) -> Iterable[Overlay]:
    if record.regions:
        yield Overlay("mask", "Mask", "mask", lambda: MaskPyramid(record))
    if record.provenance is not None:
        yield Overlay(
            "provenance", "Where copies came from", "picture", lambda: _copies(path, record)
        )
    for name, title in (("uncertainty", "Uncertainty"), ("t_map", "How degraded (t)")):
        beside = map_beside(path, MAPS[name])
        # A map of another call beside it would be taken for one of this.
        known = None if record.maps is None else record.maps.get(name, "")
        if beside.is_file() and (known is None or known == file_sha256(beside)):
            yield Overlay(name, title, "map", _map_reader(beside))


class MaskPyramid:
    """The mask of a record at all sizes, of which only the regions in view are decoded.

    Parameters
    ----------
    record : Record
    """

    planes, channels, bytes = 1, 1, 1 << 24
    dtype = np.dtype(np.uint8)
    notices: tuple[str, ...] = ()

    def __init__(self, record: Record) -> None:
        self._record = record
        self.width, self.height = record.source.width, record.source.height
        self.mpp = record.source.mpp

    def tile(self, level: int, column: int, row: int, plane: int) -> npt.NDArray[Any]:
        """Return 0 and 255, (h, w, 1); a small region stays to be seen at every size."""
        last = last_level(self.width, self.height)
        side = TILE_PX << (last - level) if 0 <= level <= last else 0
        left, top = column * side, row * side
        if plane or not side or not (0 <= left < self.width and 0 <= top < self.height):
            raise no_tile(level, column, row, plane)
        step = side // TILE_PX
        wide, high = min(side, self.width - left), min(side, self.height - top)
        tile = np.zeros((-(-high // step), -(-wide // step), 1), np.uint8)
        for number, change in enumerate(self._record.regions):
            x, y, w, h = change.bbox
            if x + w <= left or y + h <= top or x >= left + wide or y >= top + high:
                continue
            rows, columns = np.nonzero(change_mask(change, number))
            rows, columns = (rows + y - top) // step, (columns + x - left) // step
            seen = (rows >= 0) & (columns >= 0)
            seen &= (rows < tile.shape[0]) & (columns < tile.shape[1])
            tile[rows[seen], columns[seen]] = 255
        return tile

    def overview(self, plane: int) -> npt.NDArray[Any]:
        """Return the whole mask at the largest level that is one tile."""
        side = max(self.width, self.height)
        level = last_level(self.width, self.height)
        while side > TILE_PX:
            side, level = -(-side // 2), level - 1
        return self.tile(level, 0, 0, plane)


def _copies(path: Path, record: Record) -> Pyramid:
    from histomend.exemplar.picture import picture
    from histomend.exemplar.provenance import Provenance

    restored: Image = read_image(path, least=1)
    height, width = restored.pixels.shape[:2]
    if record.provenance is None:
        raise LedgerError(f"{path}: nothing in it was copied.")
    read = Provenance.read(record.provenance, (height, width))
    return ArrayPyramid(picture(read, restored.pixels)[None])


def _map_reader(path: Path) -> Callable[[], Pyramid]:
    return lambda: _map(path)


def _map(path: Path) -> Pyramid:
    """Read a map of numbers from 0, of any size of numbers."""
    import tifffile

    if path.suffix == ".png":
        return ArrayPyramid(read_stack(path, flat=True).values)
    values = np.asarray(tifffile.imread(path))
    return ArrayPyramid(values[None, ..., None] if values.ndim == 2 else values[..., None])
