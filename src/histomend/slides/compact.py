"""A slide written anew with only what its directories refer to: no replaced tile, no label.

An appended slide still holds what was replaced. Here compressed tiles and strips are copied as
they are, and everything else is left behind: tiles that were replaced, images that were dropped,
and the means to undo. Data that a vendor reaches by offsets in tags of its own are lost.

>>> compact(restored, shareable, drop=("label", "macro"))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from histomend.errors import SettingError, UnsupportedImageError
from histomend.image.replacing import write_atomically
from histomend.slides.copying import check_slide_target, open_slide_file
from histomend.slides.tiff_levels import STRIP_TAGS, TILE_TAGS
from histomend.slides.tiff_structure import Directory, Entry, TiffStructure
from histomend.slides.tiff_writing import (
    CLASSIC_LIMIT,
    DirectoryWriter,
    check_movable,
    header,
    write_chain,
)

ASSOCIATED = ("label", "macro", "thumbnail")
"""Images beside the slide itself that can be dropped; a macro image often shows the label."""


@dataclass(frozen=True)
class CompactReport:
    """What was written.

    Parameters
    ----------
    path : Path
    dropped : tuple of str
        Names of the images that were left out.
    promoted : bool
        The file became a BigTIFF.
    """

    path: Path
    dropped: tuple[str, ...]
    promoted: bool


def compact(
    source: Path | str,
    target: Path | str,
    *,
    drop: tuple[str, ...] = (),
    force: bool = False,
    classic_limit: int = CLASSIC_LIMIT,
    through: Path | None = None,
) -> CompactReport:
    """Write a slide anew.

    Parameters
    ----------
    source, target : Path
    drop : tuple of str
        Of "label", "macro", "thumbnail": images of an Aperio slide that are left out.
    force : bool
        An existing target may be replaced.
    classic_limit : int
        Bytes from which on a classic TIFF becomes a BigTIFF.
    through : Path or None
        The folder of the temporary file, by default that of the target.

    Raises
    ------
    SettingError
        An image of another name is to be dropped.
    UnsupportedImageError
        NDPI; or images are to be dropped of a slide that does not name them.
    UnreadableImageError
        The source is damaged.
    OutputError
        The target exists or cannot be written.
    """
    source, target = Path(source), Path(target)
    with open_slide_file(source) as file:
        tiff = TiffStructure(file, str(source))
        names = _checked_names(tiff, drop)
        kept = [d for d in tiff.chain if names.get(d.offset) not in drop]
        dropped = tuple(names[d.offset] for d in tiff.chain if d not in kept)
        check_slide_target(source, target, force=force)
        big = tiff.big or _size(tiff, kept) >= classic_limit
        write_atomically(target, lambda out: _write(tiff, kept, out, big=big), through=through)
    return CompactReport(target, dropped, big and not tiff.big)


def check_compactable(source: Path, drop: tuple[str, ...] = ()) -> None:
    """Fail early if `compact` could not write a slide anew.

    Raises
    ------
    SettingError, UnsupportedImageError, UnreadableImageError
    """
    with open_slide_file(source) as file:
        _checked_names(TiffStructure(file, str(source)), drop)


def _checked_names(tiff: TiffStructure, drop: tuple[str, ...]) -> dict[int, str]:
    for name in drop:
        if name not in ASSOCIATED:
            raise SettingError(f"drop: {name!r} is not one of {', '.join(ASSOCIATED)}.")
    check_movable(tiff)
    names = _names(tiff)
    if drop and not names:
        raise UnsupportedImageError(
            f"{tiff.where}: does not name its images as Aperio slides do, so that it is unknown "
            "which is the label. Nothing was written."
        )
    return names


def _names(tiff: TiffStructure) -> dict[int, str]:
    """Return what an Aperio slide calls the images beside its levels, by directory."""
    first = tiff.text(tiff.chain[0], 270) or b""
    if not first.startswith(b"Aperio"):
        return {}
    names = {tiff.chain[0].offset: "slide"}
    for place, directory in enumerate(tiff.chain):
        # "Aperio Image Library v11.2.1 \nlabel 387x463"
        lines = (tiff.text(directory, 270) or b"").splitlines()
        word = lines[1].split(b" ")[0].decode("latin-1") if len(lines) > 1 else ""
        if word in ("label", "macro"):
            names[directory.offset] = word
        elif place == 1 and 322 not in directory.entries:
            names[directory.offset] = "thumbnail"
    return names


def _everything(kept: list[Directory]) -> list[Directory]:
    found: dict[int, Directory] = {}

    def collect(directory: Directory) -> None:
        if directory.offset not in found:
            found[directory.offset] = directory
            for children in directory.children.values():
                for child in children:
                    collect(child)

    for directory in kept:
        collect(directory)
    return list(found.values())


def _size(tiff: TiffStructure, kept: list[Directory]) -> int:
    """Return what the file takes at most."""
    total = 4096
    for directory in _everything(kept):
        total += sum(2 * entry.size + 64 for entry in directory.entries.values())
        for _, length in (TILE_TAGS, STRIP_TAGS):
            lengths = tiff.numbers(directory, length)
            total += int(lengths.sum()) + 8 * len(lengths)
    return total


def _write(tiff: TiffStructure, kept: list[Directory], file: BinaryIO, *, big: bool) -> None:
    writer = DirectoryWriter(file, 16, tiff.byteorder, big=big)
    # Tiles first and directories behind them, so that a viewer reads all directories at once.
    places = {
        directory.offset: _copy_tiles(tiff, directory, writer) for directory in _everything(kept)
    }

    def entries_of(directory: Directory) -> list[Entry]:
        own = {entry.tag: entry for entry in places[directory.offset]}
        return [
            own.get(tag) or Entry(tag, entry.type, entry.count, tiff.data(entry))
            for tag, entry in directory.entries.items()
            if tag not in (288, 289)
        ]

    first = write_chain(writer, kept, entries_of)
    file.seek(0)
    file.write(header(tiff.byteorder, big, first).ljust(16, b"\0"))


def _copy_tiles(tiff: TiffStructure, directory: Directory, writer: DirectoryWriter) -> list[Entry]:
    """Copy the tiles and strips of a directory, each once however often it is referred to."""
    entries: list[Entry] = []
    for place, length in (TILE_TAGS, STRIP_TAGS):
        offsets, counts = tiff.numbers(directory, place), tiff.numbers(directory, length)
        if len(offsets) != len(counts):
            raise tiff.damaged(f"it lists {len(offsets)} tiles and {len(counts)} lengths")
        if not len(offsets):
            continue
        new = np.zeros_like(offsets)
        pairs = np.stack([offsets, counts], 1)
        _, first, same = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
        copied = np.zeros(len(first), np.int64)
        for i in np.argsort(first).tolist():
            offset, count = pairs[first[i]].tolist()
            copied[i] = writer.put(tiff.read(offset, count), 2) if count else 0
        new[:] = copied[same.reshape(-1)]
        entries += [writer.offsets(place, new), writer.offsets(length, counts)]
    return entries
