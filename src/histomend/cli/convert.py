"""Verbs that convert what others published: calibrator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import AsJson, Force
from histomend.cli.screen import answer, facts, say


def calibrator(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE", help="The authors' checkpoint, or its state dict.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Convert the step calibrator that RSCD's authors published.

    The file is opened without running anything in it. The calibrator then tells t of our cosine
    schedule.
    """
    from dataclasses import asdict

    from histomend.image import check_target
    from histomend.jobs.outputs import make_folder
    from histomend.models.config import CONFIG
    from histomend.models.conversion import convert_calibrator

    make_folder(out)
    check_target(out / CONFIG, force=force)
    config = asdict(convert_calibrator(checkpoint, out))
    if as_json:
        answer(config)
        return
    card = config.pop("card")
    facts([*config.items(), *card.items()])
    say(f"Use it: histomend train rscd ... --channels 2 --calibrator {out}")
