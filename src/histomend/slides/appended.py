"""A restored slide as its source, byte for byte, with new tiles and new directories behind it.

Only the place of the first directory in the header changes, so tiles that nobody touched are the
very bytes that the scanner wrote, vendors' private offsets stay valid, and undo is a truncation.
Nothing appears under the name of the output before all of it is on the disk.

>>> with AppendedSlide(source, target) as out:
...     for (x, y, w, h), pixels, mask in restored:      # in any order
...         out.put((x, y, w, h), pixels, mask)          # level 0; True: these are new
...         out.settle(row)                              # if nothing comes any more above it
...     report = out.finish({"Restored by": "histomend 0.1.0"})
>>> report.changes[0].grown()      # where that tile may differ from the source

New pixels wait in a nameless file beside the output, and the tiles made of them in another, so
that neither a slide nor its changes are ever in memory. Tiles are edited when it is known that they
are complete: by `settle`, while a network still works on what lies below, else by `finish`. The
bytes of the output depend on the source, on what was put and on the description; not on the order
in which it was put, nor on when tiles were edited.

What was replaced is still in the file. To get rid of it, or of a label: `histomend.slides.compact`.
The thumbnail, which is no level, stays as it was.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from histomend.errors import JobError, RegionError
from histomend.image.pixels import Pixels, Region, check_region
from histomend.image.reading import file_sha256
from histomend.image.replacing import write_atomically
from histomend.slides.appended_file import AppendedFile, NewTile
from histomend.slides.copying import bytes_sha256, check_slide_target, open_slide_file
from histomend.slides.description import check_fields, restored_description, software_note
from histomend.slides.faded_levels import new_tile
from histomend.slides.jpeg_edit import Mask
from histomend.slides.patches import Patches, full_disk, open_spool
from histomend.slides.tiff_levels import LevelPixels, check_places, pyramid_levels
from histomend.slides.tiff_structure import TiffStructure
from histomend.slides.tiff_writing import CLASSIC_LIMIT, check_movable
from histomend.slides.trailer import TileChange, Trailer, pack_cells

PROMOTED_START = 4096
"""Where the source begins in a file that became a BigTIFF: a whole block of any file system."""
_ALL_ROWS = 1 << 62


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
    appended_sha256 : str
        Of all bytes behind those of the source.
    """

    path: Path
    sha256: str
    changes: tuple[TileChange, ...]
    never_scanned: tuple[Region, ...]
    promoted: bool
    appended_sha256: str


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
        self._spool: BinaryIO | None = None
        self._tiles: list[tuple[NewTile, TileChange, str]] = []
        self._never_scanned: list[Region] = []
        self._settled = 0
        try:
            self._state = self._stat()
            self.tiff = TiffStructure(self._file, str(self._source))
            self.levels = pyramid_levels(self.tiff)
            check_places(self.tiff)
            check_slide_target(self._source, self._target, force=force)
            # Tiles of level 0 are read for all levels, those of other levels once.
            self._pixels = [LevelPixels(self.tiff, self.levels[0])]
            self._pixels += [LevelPixels(self.tiff, v, cache_bytes=0) for v in self.levels[1:]]
            self._waiting: list[set[int]] = [set() for _ in self.levels]
            codec = self.levels[0].codec
            kind = codec.dtype.newbyteorder("=")
            self._patches = Patches(self._target.parent, codec.samples, kind)
            self._spool = open_spool(self._target.parent)
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
        if self._spool is not None:
            self._spool.close()
            self._spool = None

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
        if y < self._settled:
            raise RegionError(
                f"{self._source}: new pixels at y={y}, but rows above {self._settled} were settled."
            )
        tight = self._open_patches().add((x, y, w, h), pixels, mask)
        if tight is not None:
            for level, waiting in zip(self.levels, self._waiting, strict=True):
                waiting.update(level.tiles(_cells(tight, level.factor)))

    def composed(self, region: Region) -> tuple[Pixels, Mask] | None:
        """Return the pixels that were put into a region so far, and where; None without any."""
        return self._open_patches().compose(region)

    def settle(self, row: int) -> None:
        """Edit all tiles that are complete if no new pixels come any more above a row.

        Parameters
        ----------
        row : int
            In pixels of level 0.

        Raises
        ------
        UnreadableImageError, UnsupportedImageError
            A touched tile is damaged or cannot be edited.
        OutputError
            The disk is full.
        """
        self._settled = max(self._settled, row)
        for level, pixels, waiting in zip(self.levels, self._pixels, self._waiting, strict=True):
            ready = [
                tile
                for tile in waiting
                if sum(level.region(tile)[1::2]) * level.factor <= self._settled
            ]
            waiting.difference_update(ready)
            for tile in sorted(ready):
                self._edit(pixels, tile)

    def finish(
        self,
        fields: dict[str, str] | None = None,
        *,
        through: Path | None = None,
        target: Path | None = None,
    ) -> AppendedReport:
        """Write the slide.

        Parameters
        ----------
        fields : dict of str to str or None
            What its description is to say, besides that it was restored and from what.
        through : Path or None
            The folder of the temporary file, on the file system of the target; by default that of
            the target.
        target : Path or None
            Another file than the target, which the description still names.

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
        self._open_patches()
        told = dict(fields or {})
        sha256 = self._sha256 or file_sha256(self._source)
        told |= {"Source SHA-256": sha256, "Source bytes": str(self.tiff.size)}
        check_fields(told)
        self.settle(_ALL_ROWS)
        order = sorted(self._tiles, key=lambda found: (found[0].directory, found[0].tile))
        changes = tuple(change for _, change, _ in order)
        digests = "".join(digest for _, _, digest in order)
        trailer = Trailer(sha256, self.tiff.size, 0, self.tiff.header, changes)
        text = self._description(told, sha256 + digests)
        whole = AppendedFile(self.tiff, self.levels, [tile for tile, _, _ in order], text, trailer)
        promoted = not self.tiff.big and whole.size() >= self._limit
        if promoted:
            check_movable(self.tiff)
        if self._stat() != self._state:
            raise JobError(
                f"{self._source}: was changed while it was being restored. Nothing was "
                "written; start again."
            )
        start = PROMOTED_START if promoted else 0
        spool = self._open_spool()
        place = target or self._target
        digest = ""

        def write(file: BinaryIO) -> None:
            nonlocal digest
            whole.write(self._file, spool, file, start)
            digest = bytes_sha256(file, start + self.tiff.size)

        write_atomically(place, write, through=through)
        never_scanned = tuple(sorted(self._never_scanned, key=lambda region: region[1::-1]))
        return AppendedReport(place, sha256, changes, never_scanned, promoted, digest)

    def _open_patches(self) -> Patches:
        if self._patches is None:
            raise JobError(f"{self._target}: this writer is closed.")
        return self._patches

    def _open_spool(self) -> BinaryIO:
        if self._spool is None:
            raise JobError(f"{self._target}: this writer is closed.")
        return self._spool

    def _stat(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def _edit(self, pixels: LevelPixels, tile: int) -> None:
        """Edit one tile into the spool."""
        level, patches, spool = pixels.level, self._open_patches(), self._open_spool()
        region = level.region(tile)
        if not level.counts[tile]:
            if level.factor == 1 and patches.compose(region):
                self._never_scanned.append(region)
            return
        found = new_tile(self._pixels[0], pixels, patches, tile)
        if found is None:
            return
        edited = level.codec.edit(pixels.stored(tile), *found, pixels.name(tile))
        directory = self.tiff.directories.index(level.directory)
        packed = pack_cells(edited.cells, region, edited.cell)
        change = TileChange(directory, tile, level.factor, region, edited.cell, edited.halo, packed)
        try:
            offset = spool.seek(0, os.SEEK_END)
            spool.write(edited.data)
        except OSError as error:
            raise full_disk(self._target.parent, error) from error
        new = NewTile(directory, tile, offset, len(edited.data))
        self._tiles.append((new, change, hashlib.sha256(edited.data).hexdigest()))

    def _description(self, told: dict[str, str], identity: str) -> tuple[int, bytes]:
        old = self.tiff.text(self.tiff.chain[0], 270)
        identity += repr(sorted(told.items()))
        new = restored_description(
            old, told, identity=identity, source=self._source.name, target=self._target.name
        )
        return (305, software_note(told)) if new is None else (270, new)


def _cells(region: Region, factor: int) -> Region:
    """Return the pixels of a level that a region of level 0 touches."""
    x, y, w, h = region
    right, bottom = -(-(x + w) // factor), -(-(y + h) // factor)
    return x // factor, y // factor, right - x // factor, bottom - y // factor
