"""Whether all pages of a TIFF are in the file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import tifffile

from histomend.errors import UnreadableImageError

# Bytes of a value by the number of its type, in classic TIFF and BigTIFF.
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TYPE_BYTES |= {16: 8, 17: 8, 18: 8}


def check_chain(file: tifffile.TiffFile, path: Path) -> None:
    """Follow the pages from one to the next, as readers that stop at a broken link do not tell.

    Raises
    ------
    UnreadableImageError
        A page or what its tags point to lies beyond the end of the file, or pages go in a circle.
    """
    handle, tiff = file.filehandle, file.tiff
    at = 8 if file.is_bigtiff else 4
    seen: set[int] = set()
    while True:
        (offset,) = _numbers(handle, at, tiff.offsetformat) or (-1,)
        if offset == 0:
            return
        (count,) = _numbers(handle, offset, tiff.tagnoformat) or (-1,)
        at = offset + tiff.tagnosize + count * tiff.tagsize
        # The description may lie at the very end; without it a stack would be taken for another.
        tags = range(count if at <= handle.size else 0)
        ends = [at, *(_tag_end(file, at - (k + 1) * tiff.tagsize) for k in tags)]
        if count < 0 or offset in seen or max(ends) > handle.size:
            raise UnreadableImageError(
                f"{path}: the TIFF is truncated or damaged: after {len(seen)} pages there must be "
                "another one, which is not whole. Copy or export the file again."
            )
        seen.add(offset)


def _tag_end(file: tifffile.TiffFile, at: int) -> int:
    """Return where the contents of the tag at a place of the file end."""
    layout = "HHQ" if file.is_bigtiff else "HHI"
    _, kind, count = _numbers(file.filehandle, at, file.tiff.byteorder + layout) or (0, 0, 0)
    size = _TYPE_BYTES.get(kind, 0) * count
    if size <= file.tiff.offsetsize:
        return at + file.tiff.tagsize
    there = at + file.tiff.tagsize - file.tiff.offsetsize
    (offset,) = _numbers(file.filehandle, there, file.tiff.offsetformat) or (file.filehandle.size,)
    return int(offset) + size


def _numbers(handle: Any, at: int, layout: str) -> tuple[int, ...] | None:
    """Read numbers at a place of the file; None if it lies beyond the end."""
    size = struct.calcsize(layout)
    if not 0 <= at <= handle.size - size:
        return None
    handle.seek(at)
    return struct.unpack(layout, handle.read(size))
