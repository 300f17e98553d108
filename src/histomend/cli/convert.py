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

    from histomend.errors import OutputError
    from histomend.image import FileSet, check_target
    from histomend.jobs.companions import check_apart
    from histomend.models.config import CONFIG
    from histomend.models.conversion import convert_calibrator
    from histomend.models.weights import WEIGHTS_FILE

    files = [out / WEIGHTS_FILE, out / CONFIG]
    check_apart([], files, others={checkpoint: "the checkpoint"})
    if others := [path for path in out.glob("model-*.safetensors") if path.is_file()]:
        raise OutputError(f"{others[0]}: belongs to another model. Name another folder: -o DIR.")
    for path in files:
        check_target(path, force=force, new_folder=True)
    with FileSet(force=force) as written:
        places = [written.place(path) for path in files]
        config = asdict(convert_calibrator(checkpoint, places[0].parent))
    if as_json:
        answer(config)
        return
    card = config.pop("card")
    facts([*config.items(), *card.items()])
    say(f"Use it: histomend train rscd ... --channels 2 --calibrator {out}")
