"""Errors as a person reads them: what of them is the machine's, and what is a fault of ours."""

from __future__ import annotations

import errno

from histomend.errors import HistomendError, ResourceError


def named(error: Exception) -> HistomendError | None:
    """Return an error that says what, why and what to do; None for a fault in Histomend.

    What the operating system refuses is never such a fault, wherever it is met first.
    """
    if isinstance(error, HistomendError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError(
            "there is not enough memory. Work on a part of the image with --region, or close other "
            "programs."
        )
    if isinstance(error, BrokenPipeError) and error.filename is None:
        return ResourceError("Whoever read what is printed here has ended before it was all told.")
    if isinstance(error, OSError) and error.errno is not None:
        where = error.filename if error.filename is not None else "standard output or a file"
        where = where.decode(errors="replace") if isinstance(where, bytes) else where
        advice = {
            errno.EACCES: "Check the permissions.",
            errno.EPERM: "Check the permissions.",
            errno.ENAMETOOLONG: "Choose a shorter name.",
            errno.ENOSPC: "Free some space, or choose another folder.",
            errno.EDQUOT: "Free some space, or choose another folder.",
            errno.ELOOP: "The link leads nowhere; name the file itself.",
        }.get(error.errno, "Check the path and the disk.")
        return ResourceError(f"{where}: {error.strerror or error}. {advice}")
    return None
