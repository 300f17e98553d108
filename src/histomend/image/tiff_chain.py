"""What a TIFF says of its pages, read without trusting it, in time that grows with their number.

Readers stop silently at a broken link, and take a wrong type of a tag for a width of -128. So the
chain of pages is followed here first, and what decides sizes must be numbers that can be.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.regular_files import check_regular_file

# Letters of `struct` and bytes of a value, by the number of its type in a TIFF.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BYTES |= {16: 8, 17: 8, 18: 8}

_SUBFILE, _WIDTH, _LENGTH, _SUB_PAGES, _NDPI = 254, 256, 257, 330, 65420
_MOST_VALUES = {_SUB_PAGES: 1 << 16}
# Tags of one number above 0: sizes of image, strip, tile; samples; planes in depth.
_POSITIVE = (_WIDTH, _LENGTH, 277, 278, 322, 323, 32997, 32998)
# Tags of numbers that tell how pixels are stored: bits, compression, colours, order, ...
_COUNTS = (_SUBFILE, 258, 259, 262, 266, 284, 317, 338, 339)
_KIND = tuple(tag for tag in (*_POSITIVE, *_COUNTS) if tag != _SUBFILE)
_LARGEST = 2**31 - 1
_MOST_TAGS = 4096

MOST_UNLIKE = 4096
"""Most pages of a file whose pages differ; libraries take ever longer to sort more of them."""


@dataclass(frozen=True)
class Layout:
    """The pages of a TIFF.

    Parameters
    ----------
    pages : int
        In the chain from the first one on.
    below : int
        Smaller ones that hang on these (SubIFDs).
    alike : bool
        All pages are of one size and stored in one way.
    sizes : list of (width, height)
        Of each page, in the order of the chain.
    """

    pages: int
    below: int
    alike: bool
    sizes: list[tuple[int, int]]


def check_chain(path: Path) -> Layout | None:
    """Follow the pages of a TIFF from one to the next.

    Returns
    -------
    Layout, or None for NDPI, whose links are laid out in a way of their own

    Raises
    ------
    UnreadableImageError
        A page or what its tags point to lies beyond the end of the file, pages go in a circle, or
        a size is no number that can be.
    UnsupportedImageError
        More than `MOST_UNLIKE` pages that are not alike.
    """
    size = check_regular_file(path)
    with path.open("rb") as file:
        return _Walk(file, size, path).through()


class _Walk:
    """One passage over a file."""

    def __init__(self, file: BinaryIO, size: int, path: Path):
        self.file, self.size, self.path = file, size, path
        self.pages = 0
        head = file.read(16)
        self.order = "<" if head[:2] == b"II" else ">"
        self.big = head[2:4] in (b"+\0", b"\0+")
        self.offset = "Q" if self.big else "I"
        self.count, self.tag = ("Q", "HHQ8s") if self.big else ("H", "HHI4s")
        self.first = 8 if self.big else 4
        self.seen: set[int] = set()

    def through(self) -> Layout | None:
        kinds: set[tuple[tuple[int, ...], ...]] = set()
        below: list[int] = []
        sizes: list[tuple[int, int]] = []
        (at,) = self._numbers(self.first, self.offset)
        if at == 0:
            raise self._damaged("its header tells of no page")
        while at:
            tags, at = self._page(at)
            if self.pages == 0 and _NDPI in tags:
                return None
            self.pages += 1
            kinds.add(tuple(tags.get(tag, ()) for tag in _KIND))
            sizes.append((tags[_WIDTH][0], tags[_LENGTH][0]))
            below += tags.get(_SUB_PAGES, ())
        for start in dict.fromkeys(below):
            if start >= 8 and start not in self.seen:  # some writers leave places empty
                self._page(start)
        if max(self.pages, len(below)) > MOST_UNLIKE and (len(kinds) > 1 or below):
            raise UnsupportedImageError(
                f"{self.path}: the file holds {self.pages:,} pages of different sizes or kinds, "
                f"and {len(below):,} below these; more than {MOST_UNLIKE:,} are read only where "
                "all are alike. Save each set to a file of its own."
            )
        return Layout(self.pages, len(below), len(kinds) == 1, sizes)

    def _page(self, at: int) -> tuple[dict[int, tuple[int, ...]], int]:
        """Return the numbers of a page that decide its size and kind, and where the next one is."""
        if at in self.seen:
            raise self._damaged("pages follow each other in a circle")
        self.seen.add(at)
        (count,) = self._numbers(at, self.count)
        if not 0 < count <= _MOST_TAGS:
            raise self._damaged(f"a page tells of {count:,} tags")
        entry = struct.calcsize(self.order + self.tag)
        start = at + struct.calcsize(self.order + self.count)
        table = self._bytes(start, count * entry)
        (following,) = self._numbers(start + count * entry, self.offset)
        found: dict[int, tuple[int, ...]] = {}
        for number, kind, values, here in struct.iter_unpack(self.order + self.tag, table):
            found.setdefault(number, self._value(number, kind, values, here))
        for tag in _POSITIVE:
            if tag in found and (len(found[tag]) != 1 or not 0 < found[tag][0] <= _unlimited(tag)):
                raise self._damaged(f"tag {tag} is {found[tag]}, which cannot be")
        if _WIDTH not in found or _LENGTH not in found:
            raise self._damaged("a page does not tell its size")
        return found, int(following)

    def _value(self, number: int, kind: int, count: int, here: bytes) -> tuple[int, ...]:
        """Return the numbers of a tag that matters; check of any other one where it ends."""
        size = _BYTES.get(kind, 0) * count
        inside = size <= len(here)
        at = 0 if inside else struct.unpack(self.order + self.offset, here)[0]
        # The description may lie at the very end; without it a stack would be taken for another.
        if not inside and at + size > self.size:
            raise self._damaged(f"tag {number} lies beyond the end")
        if number not in _POSITIVE and number not in _COUNTS and number not in (_SUB_PAGES, _NDPI):
            return ()
        if count == 0:
            return ()
        letter = _INTEGERS.get(kind)
        if letter is None or count > _MOST_VALUES.get(number, 1 << 10):
            if number == _NDPI:
                return (1,)
            raise self._damaged(f"tag {number} holds {count:,} values of type {kind}")
        data = here[:size] if inside else self._bytes(at, size)
        return struct.unpack(f"{self.order}{count}{letter}", data)

    def _numbers(self, at: int, layout: str) -> tuple[int, ...]:
        layout = self.order + layout
        return struct.unpack(layout, self._bytes(at, struct.calcsize(layout)))

    def _bytes(self, at: int, size: int) -> bytes:
        if at < 0 or at + size > self.size:
            raise self._damaged("its data end before the page does")
        self.file.seek(at, os.SEEK_SET)
        return self.file.read(size)

    def _damaged(self, what: str) -> UnreadableImageError:
        after = f"after {self.pages} pages there must be another one, which is not whole: "
        return UnreadableImageError(
            f"{self.path}: the TIFF is truncated or damaged: {after if self.pages else ''}{what}. "
            "Copy or export the file again."
        )


def _unlimited(tag: int) -> int:
    """Return the largest number a tag may hold; one strip for all rows is often 2^32 - 1 rows."""
    return 2**64 - 1 if tag == 278 else _LARGEST
