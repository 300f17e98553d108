"""What is printed: results on standard output, everything else on standard error."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import typer

from histomend.errors import display_name


def say(message: str, *, title: str = "", style: str = "") -> None:
    """Tell the user something on standard error.

    Parameters
    ----------
    message : plain text, never read as markup: it may hold file names with brackets.
    title, style : an optional word before it, and how rich shows it.
    """
    from rich.console import Console
    from rich.text import Text

    message, title = display_name(message), display_name(title)
    text = Text.assemble((f"{title}: ", style), message) if title else Text(message)
    # Where it cannot be told, that cannot be told either: the exit code remains, and the record.
    with suppress(OSError):
        Console(stderr=True, soft_wrap=True).print(text)


def answer(result: object) -> None:
    """Print a result as JSON on standard output."""
    text = json.dumps(result, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:  # JSON has escapes of its own
        text = json.dumps(result, indent=2, default=str)
    typer.echo(text)


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        # A first column names things, to be copied: it is never cut, nor broken into lines.
        least = max((len(str(row[0])) for row in rows), default=0) if number == 0 else None
        drawn.add_column(heading, overflow="fold", no_wrap=number == 0, min_width=least)
    for row in rows:
        drawn.add_row(
            *(cell if isinstance(cell, Text) else Text(display_name(cell)) for cell in row)
        )
    Console().print(drawn)


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values on standard output, one pair a line.

    Of a list of sentences, and of what is itself made of names and values, each has a line.
    """
    named = [(f"{name}:", value) for name, value in pairs]
    width = max((len(name) for name, _ in named), default=0)
    for name, value in named:
        for number, line in enumerate(_lines(value)):
            typer.echo(f"{'' if number else name:<{width}} {line}")


def _lines(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}: {_shown(item)}" for name, item in value.items()] or ["-"]
    if isinstance(value, list) and not all(isinstance(item, int) for item in value):
        return [_shown(item) for item in value]
    return [_shown(value)]


def _shown(value: object) -> str:
    """Write a value as a person would: nothing as a dash, four digits of a fraction."""
    if value is None or value == []:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_shown(item)}" for name, item in value.items())
    return display_name(value)


def paragraphs(doc: str | None) -> str:
    """Return a docstring for the help, in which each paragraph is one line that may flow."""
    parts = inspect.cleandoc(doc or "").split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in parts)
