"""A restored DICOM slide: the source's frames, but for those with new pixels, in a new instance.

Frames that nobody touched are the very bytes of the source. The instance says that it is derived,
of which one, and how; and holds what was replaced, for undo (`histomend.slides.dicom_trailer`).
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from histomend.image.pixels import Pixels, Region
from histomend.image.reading import file_sha256
from histomend.image.replacing import write_atomically
from histomend.slides.copying import check_slide_target, copy_bytes, open_slide_file
from histomend.slides.description import MARK
from histomend.slides.dicom_frames import DicomFrames, import_pydicom, lenient, read_frames
from histomend.slides.dicom_trailer import DicomTrailer, Piece, begin_trailer, write_trailer
from histomend.slides.jpeg_edit import Mask
from histomend.slides.patches import Patches, full_disk, open_spool
from histomend.slides.slide_sink import DICOM, Written
from histomend.slides.trailer import TileChange, pack_cells

_ITEM = struct.Struct("<II")
_ITEM_TAG, _LAST_TAG = 0xE000FFFE, 0xE0DDFFFE
_PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
_LARGEST_OFFSET = (1 << 32) - 1  # of the table of 32 bits
_LONGEST = 1024  # characters of a value of kind ST


@dataclass(frozen=True)
class _NewFrame:
    """A frame that was edited, waiting in a spool."""

    offset: int
    length: int
    sha256: str
    change: TileChange


class DicomSink:
    """The frames of a slide of one instance, some of them with new pixels.

    Parameters
    ----------
    source, target : Path
    sha256 : str
        Of the source.
    force : bool
        An existing target may be replaced.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, OutputError, MissingDependencyError
    """

    def __init__(self, source: Path, target: Path, *, sha256: str, force: bool = False) -> None:
        check_slide_target(source, target, force=force)
        self._source, self._target, self._sha256 = source, target, sha256
        self._file = open_slide_file(source)
        try:
            self._frames = read_frames(self._file, str(source))
            self._patches = Patches(target.parent, 3, np.dtype(np.uint8))
            self._spool = open_spool(target.parent)
        except BaseException:
            self._file.close()
            raise
        self._regions: list[Region] = []

    def close(self) -> None:
        """Let go of all files."""
        self._file.close()
        self._patches.close()
        self._spool.close()

    def put(self, region: Region, pixels: Pixels, mask: Mask) -> None:
        """Hand in new pixels (h, w, 3) of a region under a mask (h, w)."""
        tight = self._patches.add(region, pixels, mask)
        if tight is not None:
            self._regions.append(tight)

    def composed(self, region: Region) -> tuple[Pixels, Mask] | None:
        """Return what was put into a region so far."""
        return self._patches.compose(region)

    def settle(self, row: int) -> None:
        """Do nothing: frames are edited at the end."""

    def finish(self, fields: dict[str, str], through: Path) -> Written:
        """Write the slide, through a temporary file in the folder `through`."""
        touched = sorted({n for region in self._regions for n in self._frames.within(region)})
        frames = {n: frame for n in touched if (frame := self._edited(n)) is not None}
        digests = "".join(frames[n].sha256 for n in sorted(frames))
        identity = self._sha256 + digests + repr(sorted(fields.items()))
        identity = hashlib.sha256(identity.encode()).hexdigest()
        changes = tuple(frames[n].change for n in sorted(frames))

        def write(file: BinaryIO) -> None:
            writer = _Writer(self._frames, self._file, self._spool, file)
            held = writer.write(frames, identity, fields)
            begin_trailer(file)
            pieces, replaced = _put_together(held, self._file, file)
            trailer = DicomTrailer(self._sha256, pieces, changes, identity, fields)
            write_trailer(file, replaced, trailer)

        write_atomically(self._target, write, through=through)
        return Written(DICOM, file_sha256(self._target), len(changes))

    def _edited(self, number: int) -> _NewFrame | None:
        region = self._frames.region(number)
        found = self._patches.compose(region)
        if found is None:
            return None
        wide, high = self._frames.frame
        beyond = (0, high - region[3]), (0, wide - region[2])
        pixels = np.pad(found[0], (*beyond, (0, 0)), mode="edge")
        mask = np.pad(found[1], beyond, mode="edge")
        where = f"{self._source}, frame {number + 1}"
        edited = self._frames.codec.edit(
            self._frames.stream(self._file, number), pixels, mask, where
        )
        packed = pack_cells(edited.cells, region, edited.cell)
        change = TileChange(0, number, 1, region, edited.cell, edited.halo, packed)
        data = edited.data + b"\0" * (len(edited.data) % 2)
        try:
            offset = self._spool.seek(0, os.SEEK_END)
            self._spool.write(data)
        except OSError as error:
            raise full_disk(self._target.parent, error) from error
        return _NewFrame(offset, len(data), hashlib.sha256(data).hexdigest(), change)


class _Writer:
    """Writes an instance, and notes which bytes of the source it holds."""

    def __init__(
        self, frames: DicomFrames, source: BinaryIO, spool: BinaryIO, file: BinaryIO
    ) -> None:
        self._frames, self._source, self._spool, self._file = frames, source, spool, file

    def write(
        self, new: dict[int, _NewFrame], identity: str, fields: dict[str, str]
    ) -> list[tuple[int, int, int | None]]:
        """Write all but the trailer.

        Returns
        -------
        list of (start, bytes, place)
            Stretches of the source in their order, and where they lie in the file; None: nowhere.
        """
        frames, file = self._frames, self._file
        lengths = [length for _, length in frames.frames]
        for number, frame in new.items():
            lengths[number] = frame.length
        offsets = np.concatenate([[0], np.cumsum(np.array(lengths[:-1], np.int64) + _ITEM.size)])
        large = int(offsets[-1]) > _LARGEST_OFFSET
        tables = (offsets, np.array(lengths)) if large else None
        file.write(header_bytes(derived(frames.header, identity, fields, tables)))
        file.write(_PIXELS)
        short = b"" if large else offsets.astype("<u4").tobytes()
        file.write(_ITEM.pack(_ITEM_TAG, len(short)) + short)
        held: list[tuple[int, int, int | None]] = [(0, frames.frames[0][0], None)]
        number = 0
        while number < len(lengths):
            if number in new:
                place, length = frames.frames[number]
                held.append((place, _ITEM.size + length, None))
                file.write(_ITEM.pack(_ITEM_TAG, new[number].length))
                self._spool.seek(new[number].offset)
                file.write(self._spool.read(new[number].length))
                number += 1
                continue
            first = number
            while number < len(lengths) and number not in new:
                number += 1
            start = frames.frames[first][0]
            stop = frames.frames[number - 1][0] + _ITEM.size + lengths[number - 1]
            held.append((start, stop - start, file.tell()))
            copy_bytes(self._source, start, stop - start, file, file.tell())
            file.seek(0, os.SEEK_END)
        file.write(_ITEM.pack(_LAST_TAG, 0))
        size = self._source.seek(0, os.SEEK_END)
        held.append((frames.end, size - frames.end, None))
        return held


def _put_together(
    held: list[tuple[int, int, int | None]], source: BinaryIO, file: BinaryIO
) -> tuple[tuple[Piece, ...], int]:
    """Write what the file lacks of its source; return what the source is made of, and how much."""
    pieces: list[Piece] = []
    replaced = 0
    for start, count, place in held:
        if place is None:
            place = file.tell()
            copy_bytes(source, start, count, file, place)
            file.seek(0, os.SEEK_END)
            replaced += count
        pieces.append((place, count))
    return tuple(pieces), replaced


def derived(
    header: Any,
    identity: str,
    fields: dict[str, str],
    tables: tuple[Any, Any] | None = None,
) -> Any:
    """Return the header of an instance that is derived from another one.

    Parameters
    ----------
    header : pydicom dataset
        Of the source; not changed.
    identity : str
        What the UIDs are made of: the same for the same result.
    fields : dict of str to str
        What is told of the restoration.
    tables : (offsets, lengths) or None
        Of frames beyond 4 GiB.
    """
    pydicom = import_pydicom("the slide")
    new = pydicom.Dataset()
    with lenient():
        new.update(header)
        new.file_meta = pydicom.dataset.FileMetaDataset()
        new.file_meta.update(header.file_meta)
        new.preamble = header.preamble
        kind, instance = header.SOPClassUID, header.SOPInstanceUID
        new.ImageType = ["DERIVED", *list(header.ImageType)[1:]]
        fresh = pydicom.uid.generate_uid
        new.SOPInstanceUID = fresh(entropy_srcs=[identity, "instance"])
        new.SeriesInstanceUID = fresh(entropy_srcs=[identity, "series"])
        new.file_meta.MediaStorageSOPInstanceUID = new.SOPInstanceUID
        told = [f"{name} = {value}" for name, value in fields.items()]
        old = str(header.get("DerivationDescription", "")).strip()
        text = "; ".join([MARK, *told, *([old] if old else [])])
        new.DerivationDescription = text[:_LONGEST]
        reference = pydicom.Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = kind, instance
        new.SourceImageSequence = [reference]
        for name in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            if name in new:
                del new[name]
        if tables is not None:
            new.ExtendedOffsetTable = tables[0].astype("<u8").tobytes()
            new.ExtendedOffsetTableLengths = tables[1].astype("<u8").tobytes()
    return new


def header_bytes(header: Any) -> bytes:
    """Return the bytes of a header, with its preamble."""
    pydicom = import_pydicom("the slide")
    buffer = io.BytesIO()
    with lenient():
        pydicom.dcmwrite(buffer, header, enforce_file_format=True)
    return buffer.getvalue()
