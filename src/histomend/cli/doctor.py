"""The verb that checks this machine: doctor."""

from __future__ import annotations

import typer

from histomend.cli.options import AsJson
from histomend.cli.screen import answer, table

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
