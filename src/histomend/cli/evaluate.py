"""The verb that measures restored images against true ones: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histomend.cli.options import FILES, METHOD, AsJson, Force, Mpp, option
from histomend.cli.screen import answer, say, table
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.evaluate.own_pairs import Evaluation

_BETTER = {"higher": "↑", "lower": "↓", "one": "→ 1"}


def evaluate(
    restored: Annotated[Path, typer.Argument(help="A restored image, or a folder of them.")],
    truth: Annotated[Path, typer.Argument(help="The true image, or a folder: equal names.")],
    mask: Annotated[
        Path | None, option("Where was restored: a mask for all, or a folder of them.", FILES)
    ] = None,
    measure: Annotated[
        list[str] | None, option("Only these measures, by name; can be repeated.", METHOD)
    ] = None,
    mpp: Mpp = None,
    csv: Annotated[Path | None, option("Also write a table for other programs.", FILES)] = None,
    html: Annotated[
        Path | None, option("Also write a page with pictures, to look at.", FILES)
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure restored images against the true ones, each with a 95 % interval.

    A high PSNR alone means little: a blur has one. Look at sharpness (Laplacian, spectrum), border
    and nuclei beside it, and at the pictures.

    Example: histomend evaluate restored/ truth/ --html report.html
    """
    from histomend.evaluate.own_pairs import evaluate_pairs, find_pairs
    from histomend.evaluate.report import page, rows_as_csv
    from histomend.image import FileSet, check_target, write_text

    for path in (csv, html):
        if path is not None:
            check_target(path, force=force, new_folder=True)
    pairs = find_pairs(restored, truth, mask)
    with ProgressDisplay(unit="pairs").file("measuring") as advance:
        found = evaluate_pairs(pairs, measures=measure, mpp=mpp, tick=advance)
    with FileSet(force=force) as files:
        if csv is not None:
            write_text(files.place(csv), rows_as_csv(found), force=force)
        if html is not None:
            write_text(files.place(html), page(found), force=force)
    if as_json:
        answer(found.as_json())
        return
    _show(found)
    for note in found.notes:
        say(note, title="Notice")


def _show(found: Evaluation) -> None:
    from histomend.evaluate.own_pairs import MEASURES

    rows = [
        (
            f"{MEASURES[key].name} {_BETTER[MEASURES[key].better]}",
            figure.text(MEASURES[key].digits),
            figure.count,
            MEASURES[key].about,
        )
        for key, figure in found.summary.items()
    ]
    table(("measure", "mean (95 % interval)", "pairs", ""), rows)
