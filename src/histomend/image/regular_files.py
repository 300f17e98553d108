"""Only regular files are read: a pipe waits for ever, and a device never ends."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from histomend.errors import HistomendError, UnreadableImageError

_OTHERS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

MOST_SETTINGS = 1 << 24
"""Bytes of what describes something: a config, a state."""
MOST_MANIFEST = 1 << 28
"""The same of a list of tiles or slides."""
MOST_RECORD = 1 << 32
"""Bytes of a record, which holds the pixels under a mask."""


def check_regular_file(
    path: Path | str, error: type[HistomendError] = UnreadableImageError, what: str = "an image"
) -> int:
    """Fail if something is no regular file, before it is opened.

    Every reader asks this first. Links are followed, so a link to a device is a device.

    Parameters
    ----------
    path : Path
    error : class
        What is raised: the error that the reader of such files raises.
    what : str
        What the file was to be: "an image", "a ledger".

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    HistomendError
        Of the kind `error`: missing, a folder, a pipe, a device, links in a circle, a name that is
        too long, or no permission, of the file or of a folder on the way.
    """
    try:
        status = os.stat(path)  # noqa: PTH116  a path with a NUL byte raises here alike
    except (OSError, ValueError) as problem:
        raise error(f"{_shown(path)}: {_reason(problem, what)}") from problem
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{path}: is a folder, not {what} file. Name a file in it.")
    for test, name in _OTHERS:
        if test(status.st_mode):
            raise error(
                f"{path}: is {name}, no regular file, and might never end. Copy what it gives into "
                "a file first."
            )
    if not os.access(path, os.R_OK):
        raise error(f"{path}: cannot be opened (Permission denied). Check the permissions.")
    return status.st_size


def read_at_most(
    path: Path | str, limit: int, error: type[HistomendError], what: str = "an image"
) -> bytes:
    """Return the bytes of a regular file that is to be held in memory as a whole.

    Parameters
    ----------
    path, error, what
        As for `check_regular_file`.
    limit : int
        Most bytes.

    Raises
    ------
    HistomendError
        Of the kind `error`, as `check_regular_file` does, or because the file is larger.
    """
    size = check_regular_file(path, error, what)
    if size > limit:
        raise error(
            f"{path}: has {size / 1e6:,.0f} MB, and {what} of this kind has at most "
            f"{limit / 1e6:,.0f}. Divide it into several files."
        )
    try:
        with Path(path).open("rb") as file:
            return file.read(limit)  # not more, even if it grows meanwhile
    except OSError as problem:
        raise error(f"{path}: {_reason(problem, what)}") from problem


def read_text(
    path: Path | str, limit: int, error: type[HistomendError], what: str = "an image"
) -> str:
    """Return the UTF-8 text of a regular file, without the mark that some programs begin it with.

    Raises
    ------
    HistomendError
        Of the kind `error`, as `read_at_most` does.
    UnicodeDecodeError
        It is in another encoding; a ValueError, like what is wrong with the JSON in it.
    """
    return read_at_most(path, limit, error, what).decode("utf-8-sig")


def _shown(path: Path | str) -> str:
    """Shorten a name that no file system takes, so that the message can be read."""
    text = str(path)
    return text if len(text) <= 300 else f"{text[:120]}...{text[-40:]}"


def _reason(problem: Exception, what: str) -> str:
    number = getattr(problem, "errno", None)
    if number in (errno.ENOENT, errno.ENOTDIR):
        return "there is no such file. Check the path."
    if number == errno.ELOOP:
        return f"is a link that leads back to itself. Link to {what} file."
    if number == errno.ENAMETOOLONG:
        return "the name is too long for this file system. Check the path."
    text = getattr(problem, "strerror", None) or str(problem)
    return f"cannot be opened ({text}). Check the permissions, of the folders on the way too."


def ends_with(path: Path, end: bytes) -> bool:
    """Tell whether something is a regular file with this end."""
    try:
        size = check_regular_file(path)
        with path.open("rb") as file:
            file.seek(max(0, size - len(end)))
            return file.read(len(end)) == end
    except (HistomendError, OSError):
        return False
