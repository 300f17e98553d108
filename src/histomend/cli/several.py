"""Files that are worked on one after the other; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import typer

from histomend.cli.screen import answer, say
from histomend.errors import HistomendError


class Several:
    """What became of each file.

    Parameters
    ----------
    sources : files
    alone : whether the one file that was named fails the verb itself
    """

    def __init__(self, sources: Sequence[Path], *, alone: bool):
        self.records: dict[Path, dict[str, Any]] = {
            source: {"source": str(source)} for source in sources
        }
        self.alone = alone

    def attempt(self, source: Path, step: Callable[[], dict[str, Any] | None]) -> bool:
        """Take a file one step further, and return whether that worked."""
        try:
            self.records[source] |= step() or {}
        except HistomendError as error:
            if self.alone:
                raise
            say(str(error), title="Error", style="bold red")
            self.records[source] |= {"error": str(error), "kind": type(error).__name__}
            return False
        return True

    def end(self, *, as_json: bool, failure: str) -> None:
        """Print all records as JSON if wanted, and fail if a file did.

        Parameters
        ----------
        failure : str
            What the files that failed are called, for instance "Not restored".
        """
        if as_json:
            answer(list(self.records.values()))
        failed = [record["source"] for record in self.records.values() if "error" in record]
        if failed:
            say(f"{len(failed)} of {len(self.records)} files: {', '.join(failed)}", title=failure)
            raise typer.Exit(HistomendError.exit_code)
