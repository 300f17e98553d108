"""Places of outputs: folders that are made for them, and why a file cannot be written there."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from histomend.errors import OutputError


def make_folder(folder: Path) -> list[Path]:
    """Create a folder and those above it; return which were not there.

    Raises
    ------
    OutputError
        If that is not possible.
    """
    made: list[Path] = []
    try:
        missing = [place for place in (folder, *folder.parents) if not place.is_dir()]
        for place in missing:
            check_leads_somewhere(place)
        for place in reversed(missing):
            with suppress(FileExistsError):
                place.mkdir()
                made.append(place)
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        for place in reversed(made):
            with suppress(OSError):
                place.rmdir()
        raise OutputError(
            f"{folder}: the folder cannot be created ({error.strerror}). "
            "Check the permissions, or choose another one."
        ) from error
    return made


@contextmanager
def kept_if_filled(folder: Path) -> Iterator[None]:
    """Make a folder; if the block fails and nothing lies in it, it goes again.

    Raises
    ------
    OutputError
        If it cannot be made.
    """
    made = make_folder(folder)
    try:
        yield
    except BaseException:
        for place in reversed(made):
            with suppress(OSError):
                place.rmdir()
        raise


def check_leads_somewhere(missing: Path) -> None:
    """Refuse to make a folder on the way out of one that is not there: none/../new.

    Raises
    ------
    OutputError
    """
    if missing.name == "..":
        raise OutputError(
            f"{missing}: there is no folder {missing.parent} to go up from. Name the folder itself."
        )


def exists_already(path: Path) -> OutputError:
    """Return the error for a file that is there and may not be replaced."""
    return OutputError(f"{path}: exists already. Choose another name, or overwrite: --force.")


def output_error(path: Path, error: OSError) -> OutputError:
    """Return the error for a file that the machine did not let us write."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(
            f"{path}: the disk is full. Nothing was written; free some space or choose another "
            "folder."
        )
    if error.errno == errno.EFBIG:
        return OutputError(
            f"{path}: the file is larger than this disk or this account allows (ulimit -f). "
            "Nothing was written; choose another folder."
        )
    return OutputError(
        f"{path}: cannot be written ({error.strerror or error}). Check the permissions of "
        f"{path.parent}, or choose another folder."
    )
