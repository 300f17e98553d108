"""Verbs about this machine: doctor and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import AsJson, Device, Force, Model
from histomend.cli.screen import answer, say, table

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def doctor(as_json: AsJson = False) -> None:
    """Check versions, devices, threads, weights and disk; each with what to do about it."""
    from dataclasses import asdict

    from rich.text import Text

    from histomend.doctor import examine

    checks = examine()
    if as_json:
        answer([asdict(check) for check in checks])
    else:
        table(
            ("status", "check", "found", "what to do"),
            (
                (Text(check.status, _STYLES[check.status]), check.name, check.message, check.fix)
                for check in checks
            ),
        )
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")] = Path("demo"),
    model: Model = None,
    device: Device = "auto",
    force: Force = False,
) -> None:
    """Damage two fields of tissue, find and restore the damage, and measure what came of it.

    Needs no file from outside. Open OUT/index.html afterwards.
    """
    from histomend.demo.run import run

    page = run(out, model=model, device=device, force=force, report=say)
    say(f"Open {page} in a browser.")
