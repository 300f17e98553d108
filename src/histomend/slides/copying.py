"""Bytes of one file into another, shared on disk where the file system can share them."""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from histomend.errors import OutputError, UnreadableImageError
from histomend.image.regular_files import check_regular_file
from histomend.image.writing import check_target

_FICLONE = 0x40049409  # linux/fs.h: share all blocks of another file
_PIECE = 1 << 26


def check_slide_target(source: Path, target: Path, *, force: bool) -> None:
    """Fail early if a slide cannot be written here.

    Raises
    ------
    OutputError
        The target is the source, exists (and not `force`), or cannot be created.
    """
    if target.exists() and source.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the source slide itself. Choose another output.")
    check_target(target, force=force)


def open_slide_file(path: Path) -> BinaryIO:
    """Open a file for reading.

    Raises
    ------
    UnreadableImageError
        It is missing, a folder, a pipe or a device, or may not be read.
    """
    check_regular_file(path, what="a slide")
    try:
        return path.open("rb")
    except OSError as error:
        raise UnreadableImageError(
            f"{path}: cannot be opened ({error.strerror or error})."
        ) from error


def bytes_sha256(file: BinaryIO, start: int, length: int | None = None, first: bytes = b"") -> str:
    """Return the SHA-256 of a stretch of a file, which is moved.

    Parameters
    ----------
    file : binary file
    start : int
        Where the stretch begins.
    length : int or None
        Its bytes; None for all to the end.
    first : bytes
        What stands for the first ones.
    """
    digest = hashlib.sha256(first)
    file.seek(start + len(first))
    left = (1 << 63) if length is None else length - len(first)
    while left > 0 and (piece := file.read(min(1 << 20, left))):
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def copy_bytes(source: BinaryIO, offset: int, count: int, target: BinaryIO, position: int) -> None:
    """Copy bytes of one file to a place in another; both are moved.

    A whole file that goes to the start of an empty one takes no disk space and no time on file
    systems that can share blocks (XFS, btrfs).

    Raises
    ------
    UnreadableImageError
        The source ends before `count` bytes.
    OSError
        The target cannot be written.
    """
    target.flush()
    if position == 0 and offset == 0 and _shared(source, count, target):
        return
    done = _copied_in_kernel(source, offset, count, target, position)
    source.seek(offset + done)
    target.seek(position + done)
    while done < count:
        piece = source.read(min(1 << 20, count - done))
        if not piece:
            raise UnreadableImageError("the source file became shorter while it was being copied")
        target.write(piece)
        done += len(piece)
    target.flush()


def _shared(source: BinaryIO, count: int, target: BinaryIO) -> bool:
    if sys.platform != "linux" or os.fstat(source.fileno()).st_size != count:
        return False
    import fcntl

    with suppress(OSError):
        fcntl.ioctl(target.fileno(), _FICLONE, source.fileno())
        return True
    return False


def _copied_in_kernel(
    source: BinaryIO, offset: int, count: int, target: BinaryIO, position: int
) -> int:
    """Copy as much as the kernel will; return how many bytes that was."""
    done = 0
    if sys.platform == "linux":
        with suppress(OSError):
            while done < count:
                part = os.copy_file_range(
                    source.fileno(),
                    target.fileno(),
                    min(count - done, _PIECE),
                    offset + done,
                    position + done,
                )
                if part == 0:
                    break
                done += part
    return done
