"""TIFF directories out to a file, in either layout and byte order.

>>> writer = DirectoryWriter(file, position, "<", big=True)
>>> at = writer.write_directory([Entry(256, 4, 1, data), ...], following=0)
>>> file.seek(0); file.write(header("<", True, at))
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from histomend.errors import UnsupportedImageError
from histomend.slides.tiff_structure import (
    CHILD_TAGS,
    SUB_DIRECTORIES,
    Directory,
    Entry,
    TiffStructure,
)

CLASSIC_LIMIT = (1 << 32) - (1 << 20)
"""Bytes below which a classic TIFF is kept classic; its offsets end at 4 GiB."""


class DirectoryWriter:
    """Append blocks and directories to a file.

    Parameters
    ----------
    file : binary file, open for writing
        Written at its end only, in sequence.
    position : int
        Where the next byte goes; the file is moved there.
    byteorder : "<" or ">"
    big : bool
        BigTIFF.
    """

    def __init__(self, file: BinaryIO, position: int, byteorder: str, *, big: bool) -> None:
        self._file, self.position = file, position
        self.byteorder, self.big = byteorder, big
        self.inline = 8 if big else 4
        self._offset = byteorder + ("Q" if big else "I")
        file.seek(position)

    def put(self, data: bytes, align: int = 8) -> int:
        """Write a block at a multiple of `align`; return where it begins."""
        padding = -self.position % align
        self._file.write(bytes(padding) + data)
        at = self.position + padding
        self.position = at + len(data)
        return at

    def write_directory(self, entries: list[Entry], following: int) -> int:
        """Write values and then the directory itself; return where it begins.

        Parameters
        ----------
        entries : list of Entry
            Those without data stay where their offset says.
        following : int
            Where the next directory of the chain lies, 0 for none.
        """
        rows = []
        for entry in sorted(entries, key=lambda e: e.tag):
            if entry.data is None:
                value = struct.pack(self._offset, entry.offset)
            elif len(entry.data) <= self.inline:
                value = entry.data.ljust(self.inline, b"\0")
            else:
                value = struct.pack(self._offset, self.put(entry.data))
            head = struct.pack(self.byteorder + "HH", entry.tag, entry.type)
            rows.append(head + struct.pack(self._offset, entry.count) + value)
        count = struct.pack(self.byteorder + ("Q" if self.big else "H"), len(rows))
        return self.put(count + b"".join(rows) + struct.pack(self._offset, following))

    def offsets(self, tag: int, values: npt.NDArray[np.int64]) -> Entry:
        """Return the entry of places or lengths, in 8 bytes each only where 4 do not hold them."""
        wide = bool(values.max(initial=0) >= 1 << 32)
        data = values.astype(self.byteorder + ("u8" if wide else "u4")).tobytes()
        return Entry(tag, 16 if wide else 4, len(values), data)

    def children(self, tag: int, places: list[int]) -> Entry:
        """Return the entry that points to other directories."""
        kind = 18 if self.big else 13 if tag == SUB_DIRECTORIES else 4
        data = b"".join(struct.pack(self._offset, place) for place in places)
        return Entry(tag, kind, len(places), data)


def header(byteorder: str, big: bool, first: int) -> bytes:
    """Return the first 8 (BigTIFF: 16) bytes of a file, with the place of its first directory."""
    mark = b"II" if byteorder == "<" else b"MM"
    if big:
        return mark + struct.pack(byteorder + "HHHQ", 43, 8, 0, first)
    return mark + struct.pack(byteorder + "HI", 42, first)


def write_chain(
    writer: DirectoryWriter,
    chain: list[Directory],
    entries_of: Callable[[Directory], list[Entry]],
) -> int:
    """Write directories anew, with all that hang on them; return where the first lies.

    Parameters
    ----------
    writer : DirectoryWriter
    chain : list of Directory
    entries_of : function
        Gives the entries of a directory, but for those that point to other directories.
    """
    places: dict[int, int] = {}

    def write(directory: Directory, following: int) -> int:
        if directory.offset not in places:
            entries = [e for e in entries_of(directory) if e.tag not in CHILD_TAGS]
            for tag, children in directory.children.items():
                entries.append(writer.children(tag, [write(child, 0) for child in children]))
            places[directory.offset] = writer.write_directory(entries, following)
        return places[directory.offset]

    following = 0
    # From the last to the first, so that each knows where its successor lies.
    for directory in reversed(chain):
        following = write(directory, following)
    return following


def check_movable(tiff: TiffStructure) -> None:
    """Refuse a file with offsets in tags that moving it would break.

    Raises
    ------
    UnsupportedImageError
    """
    for directory in tiff.directories:
        if directory.entries.keys() & {513, 519, 520, 521}:
            raise UnsupportedImageError(
                f"{tiff.where}: holds JPEG of TIFF's old kind, which cannot be moved to where a "
                "file of more than 4 GiB needs it. Write a new pyramid instead."
            )
