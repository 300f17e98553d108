"""The bytes of an appended slide: the source, new tiles, new directories, and a trailer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from histomend.slides.copying import copy_bytes
from histomend.slides.tiff_levels import STRIP_TAGS, TILE_TAGS, Level
from histomend.slides.tiff_structure import Directory, Entry, TiffStructure
from histomend.slides.tiff_writing import DirectoryWriter, header, write_chain
from histomend.slides.trailer import Trailer

_FREE_LISTS = (288, 289)  # unused places of the source, which a file grown behind it has not
_TILE_ALIGN = 16


@dataclass(frozen=True)
class NewTile:
    """A tile that was edited, waiting in a spool.

    Parameters
    ----------
    directory : int
        Which directory of the source.
    tile : int
        Which of its tiles.
    offset, length : int
        Its bytes in the spool.
    """

    directory: int
    tile: int
    offset: int
    length: int


class AppendedFile:
    """A file that is to be written.

    Parameters
    ----------
    tiff : TiffStructure
        The source.
    levels : list of Level
    tiles : list of NewTile
        In the order in which they are written.
    text : (int, bytes)
        The tag of the first directory that is to be replaced, and its text.
    trailer : Trailer
    """

    def __init__(
        self,
        tiff: TiffStructure,
        levels: list[Level],
        tiles: list[NewTile],
        text: tuple[int, bytes],
        trailer: Trailer,
    ) -> None:
        self._tiff, self._text, self._trailer = tiff, text, trailer
        self._levels = {
            level.directory.offset: (STRIP_TAGS if level.strips else TILE_TAGS)[0]
            for level in levels
        }
        self._tiles = tiles
        self._places: dict[int, list[tuple[int, int, int]]] = {}  # tile, place, length

    def size(self) -> int:
        """Return what the file takes at most."""
        spooled = sum(new.length + _TILE_ALIGN for new in self._tiles)
        tables = sum(
            2 * entry.size + 64
            for directory in self._tiff.directories
            for entry in directory.entries.values()
        )
        text = 2 * len(self._text[1])
        return self._tiff.size + spooled + tables + text + len(self._trailer.encoded()) + 4096

    def write(self, source: BinaryIO, spool: BinaryIO, file: BinaryIO, start: int) -> None:
        """Write all of it, the source beginning at byte `start`."""
        tiff = self._tiff
        big = tiff.big or start > 0
        copy_bytes(source, 0, tiff.size, file, start)
        writer = DirectoryWriter(file, start + tiff.size, tiff.byteorder, big=big)
        for new in self._tiles:
            spool.seek(new.offset)
            place = writer.put(spool.read(new.length), _TILE_ALIGN)
            key = tiff.directories[new.directory].offset
            self._places.setdefault(key, []).append((new.tile, place, new.length))
        chain = write_chain(
            writer, tiff.chain, lambda directory: self._entries(directory, writer, start)
        )
        trailer = Trailer(
            self._trailer.sha256,
            self._trailer.length,
            start,
            self._trailer.header,
            self._trailer.changes,
        )
        writer.put(trailer.encoded())
        file.seek(0)
        file.write(header(tiff.byteorder, big, chain))

    def _entries(self, directory: Directory, writer: DirectoryWriter, start: int) -> list[Entry]:
        entries = dict(directory.entries)
        if start:
            for tag in _FREE_LISTS:
                entries.pop(tag, None)
        for tag, entry in entries.items():
            if entry.data is None and entry.size <= writer.inline:
                entries[tag] = Entry(tag, entry.type, entry.count, self._tiff.data(entry))
            elif entry.data is None:
                entries[tag] = Entry(tag, entry.type, entry.count, None, entry.offset + start)
        if start or directory.offset in self._places:
            entries |= {entry.tag: entry for entry in self._listed(directory, writer, start)}
        if directory is self._tiff.chain[0]:
            tag, text = self._text
            entries[tag] = Entry(tag, 2, len(text) + 1, text + b"\0")
        return list(entries.values())

    def _listed(self, directory: Directory, writer: DirectoryWriter, start: int) -> Iterator[Entry]:
        """Give where tiles and strips lie now, and their lengths."""
        for place, length in (TILE_TAGS, STRIP_TAGS):
            if place not in directory.entries or length not in directory.entries:
                continue
            offsets = self._tiff.numbers(directory, place)
            counts = self._tiff.numbers(directory, length)
            offsets[offsets != 0] += start  # 0: never scanned
            if self._levels.get(directory.offset) == place:
                for tile, at, size in self._places.get(directory.offset, ()):
                    offsets[tile], counts[tile] = at, size
            yield writer.offsets(place, offsets)
            yield writer.offsets(length, counts)
