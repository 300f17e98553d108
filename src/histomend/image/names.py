"""Names of files as they can be shown: those that are not UTF-8, or hold control characters."""

from __future__ import annotations


def display_name(name: object) -> str:
    """Return a name, or a text with names in it, that can be written anywhere as UTF-8.

    Bytes that are not UTF-8 become U+FFFD, and control characters but line breaks and tabs their
    escapes, so that no name moves the cursor of a terminal.
    """
    text = str(name).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(
        char if char.isprintable() or char in "\n\t" or char.isspace() else repr(char)[1:-1]
        for char in text
    )
