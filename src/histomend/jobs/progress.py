"""How far work has come: a bar on a terminal, a plain line now and then anywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int, int], None]
"""Told (done, in all) as work goes on."""
PATIENCE_S = 10
"""Seconds between lines where no bar can be drawn."""


class ProgressDisplay:
    """Shows on standard error how far each of several files has come, and all of them.

    Parameters
    ----------
    files : int
        How many there are.
    unit : str
        What is counted in each.
    """

    def __init__(self, files: int = 1, unit: str = "parts") -> None:
        self.files, self.unit = files, unit
        self._number = 0
        self._began = self._told = time.monotonic()

    @contextmanager
    def file(self, name: str) -> Iterator[Advance]:
        """Show the next file while the block runs, which calls what it is given."""
        from rich.console import Console

        self._number += 1
        what = name if self.files == 1 else f"{self._number} of {self.files}  {name}"
        console = Console(stderr=True)
        if _draws(console):
            with self._bar(console, what) as update:
                yield update
        else:

            def advance(done: int, of: int) -> None:
                left = self.left(done / max(of, 1))
                self._line(what, done, of, left, self.unit)

            yield advance

    def finished(self, number: int) -> None:
        """Say now and then how many of several files are done; for files without parts."""
        self._number = number
        if self.files > 1:
            self._line("files", number, self.files, self.left(1.0))

    def left(self, share: float) -> str:
        """Return the time that all files will still take, such as 0:01:20, or nothing yet.

        Parameters
        ----------
        share : float in [0, 1]
            Of the present file that is done. The others are taken to be as large as those so far.
        """
        done = self._number - 1 + share
        if done <= 0:
            return ""
        seconds = (time.monotonic() - self._began) * (self.files - done) / done
        return str(timedelta(seconds=round(seconds)))

    def _line(self, what: str, done: int, of: int, left: str, unit: str = "") -> None:
        now = time.monotonic()
        if now - self._told < PATIENCE_S:
            return
        self._told = now
        line = f"{what}: {done} of {of} {unit}".rstrip() + (f", {left} left" if left else "")
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    @contextmanager
    def _bar(self, console: Console, what: str) -> Iterator[Advance]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit, markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        with bar:
            task = bar.add_task(what, total=None, left="")

            def advance(done: int, of: int) -> None:
                left = self.left(done / max(of, 1))
                bar.update(task, completed=done, total=of, left=left and f"{left} left")

            yield advance


def _draws(console: Console) -> bool:
    """Return whether a bar can be drawn: on terminals, and in notebooks that have widgets."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)
