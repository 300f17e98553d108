"""A restored slide as its source, byte for byte, with new tiles and new directories behind it.

Only the place of the first directory in the header changes, so tiles that nobody touched are the
very bytes that the scanner wrote, vendors' private offsets stay valid, and undo is a truncation.
Nothing appears under the name of the output before all of it is on the disk.

>>> with AppendedSlide(source, target) as out:
...     for (x, y, w, h), pixels, mask in restored:      # in any order
...         out.put((x, y, w, h), pixels, mask)          # level 0; True: these are new
...     report = out.finish({"Restored by": "histomend 0.1.0"})
>>> report.changes[0].grown()      # where that tile may differ from the source

New pixels wait in a nameless file beside the output, and the tiles made of them in another, so
that neither a slide nor its changes are ever in memory. The bytes of the output depend on the
source, on what was put and on the description; not on the order in which it was put.

What was replaced is still in the file. To get rid of it, or of a label: `histomend.slides.compact`.
The thumbnail, which is no level, stays as it was.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from histomend.errors import JobError, OutputError
from histomend.image.pixels import Pixels, Region, check_region
from histomend.image.reading import file_sha256
from histomend.image.writing import write_atomically
from histomend.slides.copying import check_slide_target, copy_bytes, open_slide_file
from histomend.slides.description import check_fields, restored_description, software_note
from histomend.slides.faded_levels import new_tile
from histomend.slides.jpeg_edit import Mask
from histomend.slides.patches import Patches
from histomend.slides.tiff_levels import (
    STRIP_TAGS,
    TILE_TAGS,
    Level,
    LevelPixels,
    check_places,
    pyramid_levels,
)
from histomend.slides.tiff_structure import Directory, Entry, TiffStructure
from histomend.slides.tiff_writing import (
    CLASSIC_LIMIT,
    DirectoryWriter,
    check_movable,
    header,
    write_chain,
)
from histomend.slides.trailer import TileChange, Trailer, pack_cells

PROMOTED_START = 4096
"""Where the source begins in a file that became a BigTIFF: a whole block of any file system."""
_FREE_LISTS = (288, 289)  # unused places of the source, which a file grown behind it has not
_TILE_ALIGN = 16


@dataclass(frozen=True)
class AppendedReport:
    """What was written.

    Parameters
    ----------
    path : Path
    sha256 : str
        Of the source.
    changes : tuple of TileChange
        Every tile that has new pixels, by level and tile.
    never_scanned : tuple of (x, y, w, h)
        Tiles of level 0 that were asked for but hold nothing: left as they are.
    promoted : bool
        The file became a BigTIFF, as classic TIFF ends at 4 GiB.
    """

    path: Path
    sha256: str
    changes: tuple[TileChange, ...]
    never_scanned: tuple[Region, ...]
    promoted: bool


@dataclass(frozen=True)
class _NewTile:
    directory: int
    tile: int
    offset: int  # in the spool
    length: int


class AppendedSlide:
    """Write a restored slide by appending to its source.

    Parameters
    ----------
    source : Path
        A tiled TIFF slide; never written to.
    target : Path
    force : bool
        An existing target may be replaced.
    sha256 : str or None
        Of the source, if it is known already; else it is computed.
    classic_limit : int
        Bytes from which on a classic TIFF becomes a BigTIFF.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ImageSizeError
        The source is damaged, or of a kind that is not edited in place.
    OutputError
        The target is the source, exists, or cannot be written.
    """

    def __init__(
        self,
        source: Path | str,
        target: Path | str,
        *,
        force: bool = False,
        sha256: str | None = None,
        classic_limit: int = CLASSIC_LIMIT,
    ) -> None:
        self._source, self._target = Path(source), Path(target)
        self._sha256, self._limit = sha256, classic_limit
        self._file = open_slide_file(self._source)
        self._patches: Patches | None = None
        try:
            self._state = self._stat()
            self.tiff = TiffStructure(self._file, str(self._source))
            self.levels = pyramid_levels(self.tiff)
            check_places(self.tiff)
            check_slide_target(self._source, self._target, force=force)
            codec = self.levels[0].codec
            kind = codec.dtype.newbyteorder("=")
            self._patches = Patches(self._target.parent, codec.samples, kind)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> AppendedSlide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of all files; without `finish`, nothing was written."""
        self._file.close()
        if self._patches is not None:
            self._patches.close()
            self._patches = None

    def put(self, region: Region, pixels: Pixels, mask: Mask) -> None:
        """Hand in new pixels.

        Parameters
        ----------
        region : (x, y, w, h)
            In pixels of level 0, inside the slide.
        pixels : (h, w, samples) of the type of the slide
        mask : (h, w) bool
            True where they are to replace the slide's.

        Raises
        ------
        RegionError, MaskError, UnsupportedImageError
            They do not fit the slide.
        OutputError
            The disk is full.
        """
        finest = self.levels[0]
        x, y, w, h = check_region(region, finest.width, finest.height, str(self._source), least=1)
        self._open_patches().add((x, y, w, h), pixels, mask)

    def finish(self, fields: dict[str, str] | None = None) -> AppendedReport:
        """Write the slide.

        Parameters
        ----------
        fields : dict of str to str or None
            What its description is to say, besides that it was restored and from what.

        Raises
        ------
        SettingError
            A field cannot stand in a description.
        UnreadableImageError, UnsupportedImageError
            A touched tile is damaged or cannot be edited.
        OutputError
            The disk is full, or the file cannot be written.
        JobError
            The source changed in the meantime.
        """
        patches = self._open_patches()
        told = dict(fields or {})
        sha256 = self._sha256 or file_sha256(self._source)
        told |= {"Source SHA-256": sha256, "Source bytes": str(self.tiff.size)}
        check_fields(told)
        try:
            spool = tempfile.TemporaryFile(dir=self._target.parent)  # noqa: SIM115
        except OSError as error:
            raise OutputError(f"{self._target.parent}: cannot be written ({error}).") from error
        with spool:
            unscanned: list[Region] = []
            tiles, changes, digest = self._edit_tiles(patches, spool, unscanned)
            trailer = Trailer(sha256, self.tiff.size, 0, self.tiff.header, changes)
            text = self._description(told, sha256 + digest)
            layout = _Layout(self.tiff, self.levels, tiles, text, trailer)
            promoted = not self.tiff.big and layout.size(spool.tell()) >= self._limit
            if promoted:
                check_movable(self.tiff)
            if self._stat() != self._state:
                raise JobError(
                    f"{self._source}: was changed while it was being restored. Nothing was "
                    "written; start again."
                )
            write_atomically(
                self._target,
                lambda file: layout.write(
                    self._file, spool, file, PROMOTED_START if promoted else 0
                ),
            )
        return AppendedReport(self._target, sha256, changes, tuple(unscanned), promoted)

    def _open_patches(self) -> Patches:
        if self._patches is None:
            raise JobError(f"{self._target}: this writer is closed.")
        return self._patches

    def _stat(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def _edit_tiles(
        self, patches: Patches, spool: BinaryIO, unscanned: list[Region]
    ) -> tuple[list[_NewTile], tuple[TileChange, ...], str]:
        """Edit all touched tiles, one at a time, into the spool."""
        finest = LevelPixels(self.tiff, self.levels[0])
        tiles: list[_NewTile] = []
        changes: list[TileChange] = []
        digest = hashlib.sha256()
        position = 0
        for level in self.levels:
            pixels = finest if level.factor == 1 else LevelPixels(self.tiff, level)
            number = self.tiff.directories.index(level.directory)
            for tile in _touched(level, patches.regions):
                if not level.counts[tile]:
                    if level.factor == 1 and patches.compose(level.region(tile)):
                        unscanned.append(level.region(tile))
                    continue
                found = new_tile(finest, pixels, patches, tile)
                if found is None:
                    continue
                edited = level.codec.edit(pixels.stored(tile), *found, pixels.name(tile))
                packed = pack_cells(edited.cells, level.region(tile), edited.cell)
                changes.append(
                    TileChange(
                        number,
                        tile,
                        level.factor,
                        level.region(tile),
                        edited.cell,
                        edited.halo,
                        packed,
                    )
                )
                tiles.append(_NewTile(number, tile, position, len(edited.data)))
                padding = bytes(-len(edited.data) % _TILE_ALIGN)
                try:
                    spool.write(edited.data + padding)
                except OSError as error:
                    raise OutputError(
                        f"{self._target}: the disk is full ({error.strerror}). Nothing was "
                        "written; free some space or choose another folder."
                    ) from error
                digest.update(edited.data)
                position += len(edited.data) + len(padding)
        return tiles, tuple(changes), digest.hexdigest()

    def _description(self, told: dict[str, str], identity: str) -> tuple[int, bytes]:
        old = self.tiff.text(self.tiff.chain[0], 270)
        identity += repr(sorted(told.items()))
        new = restored_description(
            old, told, identity=identity, source=self._source.name, target=self._target.name
        )
        return (305, software_note(told)) if new is None else (270, new)


class _Layout:
    """The file that is to be written: the source, a spool of tiles, directories, the trailer."""

    def __init__(
        self,
        tiff: TiffStructure,
        levels: list[Level],
        tiles: list[_NewTile],
        text: tuple[int, bytes],
        trailer: Trailer,
    ) -> None:
        self._tiff, self._text, self._trailer = tiff, text, trailer
        self._levels = {
            level.directory.offset: (STRIP_TAGS if level.strips else TILE_TAGS)[0]
            for level in levels
        }
        self._tiles: dict[int, list[_NewTile]] = {}
        for new in tiles:
            self._tiles.setdefault(tiff.directories[new.directory].offset, []).append(new)

    def size(self, spooled: int) -> int:
        """Return what the file takes at most."""
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
        first = start + tiff.size
        first += -first % _TILE_ALIGN
        spooled = spool.seek(0, os.SEEK_END)
        copy_bytes(spool, 0, spooled, file, first)
        writer = DirectoryWriter(file, first + spooled, tiff.byteorder, big=big)
        chain = write_chain(
            writer, tiff.chain, lambda directory: self._entries(directory, writer, start, first)
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

    def _entries(
        self, directory: Directory, writer: DirectoryWriter, start: int, first: int
    ) -> list[Entry]:
        entries = dict(directory.entries)
        if start:
            for tag in _FREE_LISTS:
                entries.pop(tag, None)
        for tag, entry in entries.items():
            if entry.data is None and entry.size <= writer.inline:
                entries[tag] = Entry(tag, entry.type, entry.count, self._tiff.data(entry))
            elif entry.data is None:
                entries[tag] = Entry(tag, entry.type, entry.count, None, entry.offset + start)
        new = self._tiles.get(directory.offset, [])
        if new or start:
            for tag, entry in self._places(directory, writer, start, first, new):
                entries[tag] = entry
        if directory is self._tiff.chain[0]:
            tag, text = self._text
            entries[tag] = Entry(tag, 2, len(text) + 1, text + b"\0")
        return list(entries.values())

    def _places(
        self,
        directory: Directory,
        writer: DirectoryWriter,
        start: int,
        first: int,
        new: list[_NewTile],
    ) -> Iterator[tuple[int, Entry]]:
        """Give where tiles and strips lie now, and their lengths."""
        for place, length in (TILE_TAGS, STRIP_TAGS):
            if place not in directory.entries or length not in directory.entries:
                continue
            offsets = self._tiff.numbers(directory, place)
            counts = self._tiff.numbers(directory, length)
            offsets[offsets != 0] += start  # 0: never scanned
            if directory.offset in self._levels and place == self._levels[directory.offset]:
                for tile in new:
                    offsets[tile.tile], counts[tile.tile] = first + tile.offset, tile.length
            yield place, writer.offsets(place, offsets)
            yield length, writer.offsets(length, counts)


def _touched(level: Level, regions: list[Region]) -> list[int]:
    """Return the tiles of a level that regions of level 0 touch, in order."""
    found: set[int] = set()
    f = level.factor
    for x, y, w, h in regions:
        right, bottom = -(-(x + w) // f), -(-(y + h) // f)
        found.update(level.tiles((x // f, y // f, right - x // f, bottom - y // f)))
    return sorted(found)
