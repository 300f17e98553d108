"""The directories of a TIFF file: which tags it has, where their values lie, in which order.

Classic TIFF and BigTIFF in both byte orders, with the directories that hang on others (SubIFDs,
EXIF, GPS). Values stay bytes: a vendor's text is never decoded and encoded again. Every offset and
count is checked against the file before anything is read, so that no damaged file makes this loop
or take memory; all of that is an `UnreadableImageError` that says where.

>>> with path.open("rb") as file:
...     tiff = TiffStructure(file, str(path))
...     first = tiff.chain[0]
...     tiff.number(first, 256)          # its width
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from histomend.errors import UnreadableImageError, UnsupportedImageError

TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
TYPE_BYTES |= {16: 8, 17: 8, 18: 8}
_WHOLE_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}

SUB_DIRECTORIES = 330
CHILD_TAGS = (SUB_DIRECTORIES, 34665, 34853)
"""Tags whose values are the places of further directories: SubIFDs, EXIF, GPS."""
_HAMAMATSU = 65420
_MAX_DIRECTORIES = 10_000
_MAX_ENTRIES = 4096
_MAX_DEPTH = 4


@dataclass(frozen=True)
class Entry:
    """One tag of a directory.

    Parameters
    ----------
    tag, type, count : int
        As in the file; `count` values of TIFF type `type`.
    data : bytes or None
        The values, where they are at hand.
    offset : int
        Where they lie in the file, where they are not.
    """

    tag: int
    type: int
    count: int
    data: bytes | None
    offset: int = 0

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return TYPE_BYTES[self.type] * self.count


@dataclass(eq=False)
class Directory:
    """An IFD: its tags, and the directories that hang on it.

    Parameters
    ----------
    offset : int
        Where it lies in the file.
    entries : dict of int to Entry
    children : dict of int to list of Directory
        By the tag that points to them. A directory can hang on another and stand in the chain too.
    """

    offset: int
    entries: dict[int, Entry]
    children: dict[int, list[Directory]] = field(default_factory=dict)


class TiffStructure:
    """All directories of a TIFF.

    Parameters
    ----------
    file : binary file, open for reading
    where : str
        The name of the file, for messages.
    start : int
        Where in the file the TIFF begins; its offsets count from there.
    length : int or None
        Bytes of the TIFF; None for all to the end of the file.
    header : bytes or None
        What stands for its first bytes.

    Raises
    ------
    UnreadableImageError
        Not a TIFF, truncated, damaged, directories that lead in a circle.
    UnsupportedImageError
        Hamamatsu's NDPI, which changes the layout.

    Attributes
    ----------
    byteorder : "<" or ">"
    big : bool
        BigTIFF.
    chain : list of Directory
        As they follow each other from the header on.
    directories : list of Directory
        Those of the chain, then all others, each once.
    """

    def __init__(
        self,
        file: BinaryIO,
        where: str,
        *,
        start: int = 0,
        length: int | None = None,
        header: bytes | None = None,
    ) -> None:
        self._file, self.where, self._start = file, where, start
        self.size = file.seek(0, os.SEEK_END) - start if length is None else length
        first = header if header is not None else self._bytes(0, min(16, max(self.size, 0)))
        self.byteorder, self.big, at = self._read_header(first)
        self.header = first[: 16 if self.big else 8]
        self._found: dict[int, Directory] = {}
        self.chain: list[Directory] = []
        while at:
            if at in self._found:
                raise self.damaged(f"its directories lead in a circle, at byte {at}")
            directory, at = self._read_directory(at)
            self.chain.append(directory)
        if not self.chain:
            raise self.damaged("it has no directory")
        for directory in list(self.chain):
            self._read_children(directory, (directory.offset,))
        self.directories = list(self._found.values())

    def damaged(self, why: str) -> UnreadableImageError:
        """Return the error that says that this file is damaged."""
        return UnreadableImageError(
            f"{self.where}: the TIFF is truncated or damaged: {why}. Copy or export the file again."
        )

    def read(self, offset: int, count: int) -> bytes:
        """Return bytes of the file.

        Raises
        ------
        UnreadableImageError
            They lie beyond its end.
        """
        if offset < 0 or count < 0 or offset + count > self.size:
            raise self.damaged(f"{count} bytes at byte {offset} lie beyond its end")
        return self._bytes(offset, count)

    def data(self, entry: Entry) -> bytes:
        """Return the values of a tag as they stand in the file."""
        return self.read(entry.offset, entry.size) if entry.data is None else entry.data

    def numbers(self, directory: Directory, tag: int) -> npt.NDArray[np.int64]:
        """Return the whole numbers of a tag; none if it is absent.

        Raises
        ------
        UnreadableImageError
            They are of another type, or larger than any file.
        """
        entry = directory.entries.get(tag)
        if entry is None:
            return np.zeros(0, np.int64)
        if entry.type not in _WHOLE_NUMBERS:
            raise self.damaged(f"tag {tag} is of type {entry.type}")
        values = np.frombuffer(self.data(entry), self.byteorder + _WHOLE_NUMBERS[entry.type])
        if entry.type in (16, 18) and values.max(initial=0) >= 1 << 63:
            raise self.damaged(f"tag {tag} holds an absurd number")
        return values.astype(np.int64)

    def number(self, directory: Directory, tag: int, default: int | None = None) -> int:
        """Return the first number of a tag.

        Raises
        ------
        UnreadableImageError
            It is absent and there is no default.
        """
        values = self.numbers(directory, tag)
        if len(values):
            return int(values[0])
        if default is None:
            raise self.damaged(f"tag {tag} is missing")
        return default

    def text(self, directory: Directory, tag: int) -> bytes | None:
        """Return a text as bytes, up to its end mark; None if it is absent."""
        entry = directory.entries.get(tag)
        return None if entry is None else self.data(entry).split(b"\0")[0]

    def _bytes(self, offset: int, count: int) -> bytes:
        try:
            self._file.seek(self._start + offset)
            found = self._file.read(count)
        except OSError as error:
            raise UnreadableImageError(
                f"{self.where}: cannot be read at byte {offset} ({error.strerror or error})."
            ) from error
        if len(found) != count:
            raise self.damaged(f"{count} bytes at byte {offset} lie beyond its end")
        return found

    def _read_header(self, first: bytes) -> tuple[str, bool, int]:
        order = {b"II": "<", b"MM": ">"}.get(first[:2])
        if order is None or len(first) < 8:
            raise UnreadableImageError(f"{self.where}: is not a TIFF file.")
        version, at = struct.unpack_from(order + "HI", first, 2)
        if version == 42:
            return order, False, at
        sizes = first[4:8] == struct.pack(order + "HH", 8, 0)
        if version != 43 or not sizes or len(first) < 16:
            raise UnreadableImageError(f"{self.where}: is not a TIFF file of a known version.")
        return order, True, struct.unpack_from(order + "Q", first, 8)[0]

    def _read_directory(self, at: int) -> tuple[Directory, int]:
        """Read one directory; give it, and where the next one of its chain lies."""
        if len(self._found) >= _MAX_DIRECTORIES:
            raise self.damaged(f"it has more than {_MAX_DIRECTORIES} directories")
        words, entry_size, inline = ("Q", 20, 8) if self.big else ("H", 12, 4)
        offset = self.byteorder + ("Q" if self.big else "I")
        (count,) = struct.unpack(self.byteorder + words, self.read(at, struct.calcsize(words)))
        if not 0 < count <= _MAX_ENTRIES:
            raise self.damaged(f"the directory at byte {at} claims {count} tags")
        raw = self.read(at + struct.calcsize(words), count * entry_size + inline)
        entries: dict[int, Entry] = {}
        for i in range(count):
            part = raw[i * entry_size : (i + 1) * entry_size]
            tag, kind = struct.unpack_from(self.byteorder + "HH", part)
            (values,) = struct.unpack_from(offset, part, 4)
            if kind not in TYPE_BYTES or tag in entries:
                continue  # what no reader knows the size of cannot be carried over
            size = TYPE_BYTES[kind] * values
            if size <= inline:
                entries[tag] = Entry(tag, kind, values, part[4 + inline :][:size])
                continue
            (place,) = struct.unpack_from(offset, part, 4 + inline)
            if place + size > self.size:
                raise self.damaged(f"the values of tag {tag} lie beyond its end")
            entries[tag] = Entry(tag, kind, values, None, place)
        if _HAMAMATSU in entries:
            raise UnsupportedImageError(
                f"{self.where}: is a Hamamatsu NDPI file, whose layout of TIFF is not edited in "
                "place. Write a new pyramid instead."
            )
        directory = Directory(at, entries)
        self._found[at] = directory
        return directory, struct.unpack_from(offset, raw, count * entry_size)[0]

    def _read_children(self, parent: Directory, above: tuple[int, ...]) -> None:
        for tag in CHILD_TAGS:
            if tag not in parent.entries:
                continue
            parent.children[tag] = []
            for at in self.numbers(parent, tag).tolist():
                if at in above or len(above) > _MAX_DEPTH:
                    raise self.damaged(f"its directories lead in a circle, at byte {at}")
                child = self._found.get(at)
                if child is None:
                    # The successor is not followed: some writers chain SubIFDs, others do not.
                    child, _ = self._read_directory(at)
                self._read_children(child, (*above, at))
                parent.children[tag].append(child)
