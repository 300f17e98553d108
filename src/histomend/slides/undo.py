"""The source back out of a restored slide, and the proof that nothing else was changed.

Both need the restored file alone, a TIFF that was appended to or a DICOM instance.

>>> undo(restored, original)           # the source, byte for byte
>>> proof = verify(restored)
>>> proof.ok, proof.problems
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from histomend.errors import HistomendError, UnreadableImageError
from histomend.image.reading import file_sha256
from histomend.image.replacing import write_atomically
from histomend.slides.copying import (
    bytes_sha256,
    check_slide_target,
    copy_bytes,
    open_slide_file,
)
from histomend.slides.dicom_trailer import is_restored_dicom
from histomend.slides.dicom_undo import undo_dicom, verify_dicom
from histomend.slides.tiff_levels import STRIP_TAGS, TILE_TAGS, LevelPixels, pyramid_levels
from histomend.slides.tiff_structure import CHILD_TAGS, Directory, TiffStructure
from histomend.slides.trailer import Proof, Trailer, is_appended, read_trailer

_NOTES = (270, 305)
_FREE_LISTS = (288, 289)


def holds_source(path: Path) -> bool:
    """Tell whether a file holds the slide that it was made from."""
    return is_appended(path) or is_restored_dicom(path)


def undo(restored: Path | str, target: Path | str, *, force: bool = False) -> str:
    """Write the source of a restored slide, byte for byte; return its SHA-256.

    Raises
    ------
    UnsupportedImageError
        The file was not written by appending.
    UnreadableImageError
        It is damaged: what comes out is not the source. Nothing is written then.
    OutputError
        The target exists, or cannot be written.
    """
    restored, target = Path(restored), Path(target)
    check_slide_target(restored, target, force=force)
    if is_restored_dicom(restored):
        return undo_dicom(restored, target)
    with open_slide_file(restored) as source:
        trailer = read_trailer(source, str(restored))

        def write(file: BinaryIO) -> None:
            copy_bytes(source, trailer.start, trailer.length, file, 0)
            if trailer.start == 0:
                file.seek(0)
                file.write(trailer.header)
                file.flush()
            if bytes_sha256(file, 0, trailer.length) != trailer.sha256:
                raise UnreadableImageError(
                    f"{restored}: is damaged: what it holds is not the slide that it was made "
                    "from. Copy the file again."
                )

        write_atomically(target, write)
    return trailer.sha256


def verify(restored: Path | str, source: Path | str | None = None) -> Proof:
    """Prove that a restored slide differs from its source only where it says so.

    The bytes of the source are compared by their hash, the places of all tiles with those in the
    source, and of the changed tiles the pixels outside of what may have changed.

    Parameters
    ----------
    restored : Path
    source : Path or None
        The original, if it is at hand: its hash is compared too.

    Raises
    ------
    UnsupportedImageError
        The file was not written by appending.
    UnreadableImageError
        It is damaged so that it cannot be examined.
    """
    restored = Path(restored)
    if is_restored_dicom(restored):
        return verify_dicom(restored, None if source is None else Path(source))
    problems: list[str] = []
    with open_slide_file(restored) as file:
        trailer = read_trailer(file, str(restored))
        if source is not None and file_sha256(Path(source)) != trailer.sha256:
            problems.append(f"{source} is not the slide that this one was made from")
        first = b"" if trailer.start else trailer.header
        if bytes_sha256(file, trailer.start, trailer.length, first) != trailer.sha256:
            problems.append("the bytes of the source are not those that it was made from")
            return Proof(tuple(problems), trailer.sha256, 0, trailer.changes)
        appended = bytes_sha256(file, trailer.start + trailer.length)
        new = TiffStructure(file, str(restored))
        old = TiffStructure(
            file,
            f"{restored}, the source in it",
            start=trailer.start,
            length=trailer.length,
            header=trailer.header,
        )
        tiles = _compare_directories(old, new, trailer, problems)
        if not problems:
            _compare_pixels(old, new, trailer, problems)
    return Proof(tuple(problems), trailer.sha256, tiles, trailer.changes, appended)


def _compare_directories(
    old: TiffStructure, new: TiffStructure, trailer: Trailer, problems: list[str]
) -> int:
    """Compare all tags of all directories; return how many tiles that were."""
    if len(old.directories) != len(new.directories) or len(old.chain) != len(new.chain):
        problems.append("it has other images than its source")
        return 0
    changed: dict[int, set[int]] = {}
    for change in trailer.changes:
        changed.setdefault(change.directory, set()).add(change.tile)
    tiles = 0
    for number, (before, after) in enumerate(zip(old.directories, new.directories, strict=True)):
        own = changed.get(number, set())
        tiles += _compare_places(old, before, new, after, trailer.start, own, number, problems)
        skipped = {*CHILD_TAGS, *TILE_TAGS, *STRIP_TAGS}
        skipped |= set(_FREE_LISTS) if trailer.start else set()
        skipped |= set(_NOTES) if number == 0 else set()
        tags = (before.entries.keys() | after.entries.keys()) - skipped
        for tag in sorted(tags):
            one, other = before.entries.get(tag), after.entries.get(tag)
            if one is None or other is None or old.data(one) != new.data(other):
                problems.append(f"tag {tag} of image {number} is not the source's")
    return tiles


def _compare_places(
    old: TiffStructure,
    before: Directory,
    new: TiffStructure,
    after: Directory,
    start: int,
    changed: set[int],
    number: int,
    problems: list[str],
) -> int:
    tiles = 0
    for place, length in (TILE_TAGS, STRIP_TAGS):
        expected, offsets = old.numbers(before, place), new.numbers(after, place)
        counts, lengths = old.numbers(before, length), new.numbers(after, length)
        if len(expected) != len(offsets) or len(counts) != len(lengths):
            problems.append(f"image {number} has another number of tiles than its source")
            continue
        expected[expected != 0] += start
        moved = offsets != expected
        if len(counts) == len(expected):
            moved |= counts != lengths
        extra = sorted(set(np.flatnonzero(moved).tolist()) - changed)
        if extra:
            problems.append(
                f"{len(extra)} tiles of image {number} are not the source's, tile {extra[0]} first"
            )
        tiles += len(expected)
    return tiles


def _compare_pixels(
    old: TiffStructure, new: TiffStructure, trailer: Trailer, problems: list[str]
) -> None:
    """Decode the changed tiles of both and compare them outside of where they may differ."""
    before = {old.directories.index(v.directory): v for v in pyramid_levels(old)}
    after = {new.directories.index(v.directory): v for v in pyramid_levels(new)}
    for change in trailer.changes:
        if change.directory not in before or change.directory not in after:
            problems.append(f"image {change.directory} is listed as changed and is no level")
            return
        one = LevelPixels(old, before[change.directory])
        other = LevelPixels(new, after[change.directory])
        x, y, w, h = one.level.region(change.tile)
        try:
            same = one.tile(change.tile)[:h, :w] == other.tile(change.tile)[:h, :w]
        except HistomendError as error:
            problems.append(str(error))
            continue
        outside = ~same.all(2) & ~change.grown()
        if outside.any():
            problems.append(
                f"{int(outside.sum())} px of the tile at x={x}, y={y} of the level at "
                f"1/{change.factor} changed outside of the mask"
            )
