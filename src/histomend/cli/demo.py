"""The verb that shows what Histomend does without any file from outside: demo."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import Device, Force, Model
from histomend.cli.screen import say


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")] = Path("demo"),
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Damage two fields of tissue, find and restore the damage, and measure what came of it.

    Needs no file from outside. Open OUT/index.html afterwards, or `histomend view OUT`.
    """
    from histomend.demo.run import run

    page = run(out, model=model, device=device, force=force, report=say)
    say(f"Open {page} in a browser, or look closer: histomend view {shlex.quote(str(out))}")
