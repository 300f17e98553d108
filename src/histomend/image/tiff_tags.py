"""Which tags of a TIFF a file that is made from it takes over, and what is off the standard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tifffile

_DESCRIPTION, _PRIVATE, _TEXT = 270, 32768, 2
# Names of documents and pages, makers, the time, who, where, orientation, the colour profile, XMP,
# ImageJ's and MicroManager's own: all stay true of new values of the same pixels.
_KEPT = {
    269, 271, 272, 274, 285, 297, 305, 306, 315, 316, 700, 33432, 33723, 34675, 50838, 50839, 51123,
}  # fmt: skip
# They describe how pixels are stored, and are written anew; or place other things in the file.
_OF_STORAGE = {32997, 32998, 33421, 33422, 34377, 34665, 34853, 37724, 40965}
_IFD_TYPES = {13, 18}
_BYTES = {1, 2, 6, 7}
_TILE_SIDE = 16


def carried(page: Any, source: tifffile.TiffFile) -> Iterator[tuple[int, int, int, bytes]]:
    """Give (code, type, count, bytes) of the tags that are taken over, as they lie in the file."""
    for tag in page.tags:
        if _is_kept(tag):
            data = _bytes_of(tag, source)
            if len(data) == tag.valuebytecount:
                yield int(tag.code), int(tag.dtype), int(tag.count), data


def carried_from(path: Path) -> list[tuple[Any, ...]]:
    """Return the tags of the first page of a file that are taken over, as tifffile takes them.

    Orientation and colour profile are not among them: images carry these themselves.
    """
    with tifffile.TiffFile(path) as source:
        return [
            (code, kind, count, data, False)
            for code, kind, count, data in carried(source.pages.first, source)
            # Pictures are written with the low byte first, which bytes and text do not have.
            if code not in (274, 34675) and (kind in _BYTES or source.byteorder == "<")
        ]


def description_of(page: Any, source: tifffile.TiffFile) -> bytes | None:
    """Return the bytes of a page's description as they lie in the file; None without one."""
    tag = page.tags.get(_DESCRIPTION)
    return None if tag is None else _bytes_of(tag, source).rstrip(b"\0")


def legal_tile(page: Any) -> tuple[int, int]:
    """Return the (height, width) of tiles: multiples of 16, which TIFF asks for."""
    height, width = (
        max(1, -(-int(side) // _TILE_SIDE)) * _TILE_SIDE
        for side in (page.tilelength, page.tilewidth)
    )
    return height, width


def legal_resolution(page: Any) -> tuple[Any, Any, int] | None:
    """Return pixels per unit across and down, and the unit; None where they say nothing."""
    across, down = (page.tags.valueof(code) for code in (282, 283))
    unit = page.tags.valueof(296, 2)
    for value in (across, down):
        if not isinstance(value, tuple) or len(value) != 2:
            return None
        if not all(isinstance(part, int) and 0 < part < 2**32 for part in value):
            return None
    return (across, down, int(unit)) if unit in (1, 2, 3) else None


def layout_notices(first: Any) -> tuple[str, ...]:
    """Say what an output that is laid out like a page cannot take over."""
    notices = []
    if first.is_tiled:
        rows, columns = int(first.tilelength), int(first.tilewidth)
        height, width = legal_tile(first)
        if (rows, columns) != (height, width):
            notices.append(
                f"tiles of {columns} x {rows} px are off the TIFF standard; a TIFF output has "
                f"{width} x {height}"
            )
    said = any(code in first.tags for code in (282, 283))
    if said and legal_resolution(first) is None:
        notices.append("the resolution in the file says nothing, and is left out")
    lost = sorted({int(tag.code) for tag in first.tags if _is_lost(tag)})
    if lost:
        names = ", ".join(map(str, lost))
        notices.append(f"private tags that may describe the old pixels are left out: {names}")
    return tuple(notices)


def _is_kept(tag: Any) -> bool:
    code, kind = int(tag.code), int(tag.dtype)
    if kind in _IFD_TYPES or code in _OF_STORAGE:
        return False
    return code in _KEPT or (code >= _PRIVATE and kind == _TEXT)


def _is_lost(tag: Any) -> bool:
    return int(tag.code) >= _PRIVATE and not _is_kept(tag) and int(tag.code) not in _OF_STORAGE


def _bytes_of(tag: Any, source: tifffile.TiffFile) -> bytes:
    source.filehandle.seek(tag.valueoffset)
    return bytes(source.filehandle.read(tag.valuebytecount))
