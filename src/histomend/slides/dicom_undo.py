"""The source back out of a restored DICOM slide, and the proof that nothing else was changed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from histomend.errors import HistomendError, UnreadableImageError
from histomend.image.reading import file_sha256
from histomend.image.replacing import write_atomically
from histomend.slides.copying import copy_bytes, open_slide_file
from histomend.slides.dicom_frames import DicomFrames, lenient, read_frames
from histomend.slides.dicom_sink import derived
from histomend.slides.dicom_trailer import DicomTrailer, read_dicom_trailer
from histomend.slides.trailer import Proof, TileChange

_PIECE = 1 << 20


def undo_dicom(restored: Path, target: Path) -> str:
    """Write the source of a restored slide, byte for byte; return its SHA-256.

    Raises
    ------
    UnreadableImageError
        It is damaged: what comes out is not the source. Nothing is written then.
    OutputError
    """
    with open_slide_file(restored) as source:
        trailer = read_dicom_trailer(source, str(restored))

        def write(file: BinaryIO) -> None:
            if _sha256(source, trailer) != trailer.sha256:
                raise UnreadableImageError(
                    f"{restored}: is damaged: what it holds is not the slide that it was made "
                    "from. Copy the file again."
                )
            place = 0
            for start, count in trailer.pieces:
                copy_bytes(source, start, count, file, place)
                place += count

        write_atomically(target, write)
    return trailer.sha256


def verify_dicom(restored: Path, source: Path | None = None) -> Proof:
    """Prove that a restored slide differs from its source only where it says so.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, MissingDependencyError
        It is damaged so that it cannot be examined.
    """
    problems: list[str] = []
    with open_slide_file(restored) as file:
        trailer = read_dicom_trailer(file, str(restored))
        whole = file_sha256(restored)
        if source is not None and file_sha256(source) != trailer.sha256:
            problems.append(f"{source} is not the slide that this one was made from")
        if _sha256(file, trailer) != trailer.sha256:
            problems.append("the bytes of the source are not those that it was made from")
            return Proof(tuple(problems), trailer.sha256, 0, trailer.changes, whole)
        new = read_frames(file, str(restored))
        inner = io.BufferedReader(_SourceWithin(file, trailer))
        old = read_frames(inner, f"{restored}, the source in it")
        if not _same_header(new, derived(old.header, trailer.identity, trailer.fields)):
            problems.append("its header says other things than that it was derived from its source")
        changed = {change.tile: change for change in trailer.changes}
        if (len(new.frames), new.size, new.frame) != (len(old.frames), old.size, old.frame):
            problems.append("it has other frames than its source")
        else:
            problems += _compared(inner, old, file, new, changed)
    return Proof(tuple(problems), trailer.sha256, len(old.frames), trailer.changes, whole)


def _same_header(new: DicomFrames, expected: Any) -> bool:
    """Compare all but where frames lie."""
    places = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    with lenient():
        found = [each for each in new.header if each.keyword not in places]
        return found == list(expected)


def _compared(
    inner: BinaryIO,
    old: DicomFrames,
    file: BinaryIO,
    new: DicomFrames,
    changed: dict[int, TileChange],
) -> Iterator[str]:
    """Tell which frames differ where they may not; only changed ones are decoded."""
    for number in range(len(old.frames)):
        before, after = old.stream(inner, number), new.stream(file, number)
        change = changed.get(number)
        if change is None:
            if before != after:
                yield f"frame {number + 1} is not the source's"
            continue
        x, y, w, h = old.region(number)
        shape = old.frame[::-1]
        try:
            one = old.codec.decode(before, shape, f"frame {number + 1} of the source")
            other = new.codec.decode(after, shape, f"frame {number + 1}")
        except HistomendError as error:
            yield str(error)
            continue
        outside = (one != other).any(2)[:h, :w] & ~change.grown()
        if outside.any():
            yield (
                f"{int(outside.sum())} px of the frame at x={x}, y={y} changed outside of the mask"
            )


def _sha256(file: BinaryIO, trailer: DicomTrailer) -> str:
    """Return the hash of the source in a file."""
    digest = hashlib.sha256()
    for start, count in trailer.pieces:
        file.seek(start)
        left = count
        while left > 0 and (part := file.read(min(_PIECE, left))):
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()


class _SourceWithin(io.RawIOBase):
    """The source of a restored slide, as a file."""

    name = "the source"

    def __init__(self, file: BinaryIO, trailer: DicomTrailer) -> None:
        self._file, self._pieces = file, trailer.pieces
        self._size = sum(count for _, count in trailer.pieces)
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        before = 0
        for start, count in self._pieces:
            if self._place < before + count:
                within = self._place - before
                wanted = min(len(buffer), count - within)
                self._file.seek(start + within)
                data = self._file.read(wanted)
                buffer[: len(data)] = data
                self._place += len(data)
                return len(data)
            before += count
        return 0
