"""The verb that measures restored images against true ones: evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from histomend.cli.options import FILES, METHOD, AsJson, Force, Mpp, option
from histomend.cli.screen import answer, say, table
from histomend.errors import SettingError
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.evaluate.own_pairs import Evaluation


def evaluate(
    restored: Annotated[
        Path | None, typer.Argument(help="A restored image, or a folder of them.")
    ] = None,
    truth: Annotated[
        Path | None, typer.Argument(help="The true image, or a folder: equal names.")
    ] = None,
    listed: Annotated[
        bool, option("List all measures: range, library, what each needs.", FILES, "--list")
    ] = False,
    mask: Annotated[
        Path | None, option("Where was restored: a mask for all, or a folder of them.", FILES)
    ] = None,
    measure: Annotated[
        list[str] | None, option("Only these measures, by name (--list); can be repeated.", METHOD)
    ] = None,
    weights: Annotated[
        list[str] | None,
        option(
            "Weights of a measure, MEASURE=PATH; can be repeated.", METHOD, metavar="MEASURE=PATH"
        ),
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

    Example: histomend evaluate restored/ truth/ --html report.html; histomend evaluate --list
    """
    if listed:
        _list(as_json)
        return
    if restored is None or truth is None:
        raise SettingError("Name the restored and the true images, or list the measures: --list.")
    from histomend.evaluate.own_pairs import evaluate_pairs, find_pairs
    from histomend.evaluate.report import page, rows_as_csv
    from histomend.image import FileSet, check_target, write_text
    from histomend.jobs.engines import usable_cores

    for path in (csv, html):
        if path is not None:
            check_target(path, force=force, new_folder=True)
    pairs = find_pairs(restored, truth, mask)
    places, workers = weights_named(weights or []), usable_cores()
    with ProgressDisplay(unit="pairs").file("measuring") as advance:
        found = evaluate_pairs(
            pairs, measures=measure, places=places, mpp=mpp, workers=workers, tick=advance
        )
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


def weights_named(texts: list[str]) -> dict[str, str]:
    """Read MEASURE=PATH.

    Raises
    ------
    SettingError
        No measure has the name, or a path is missing.
    """
    from histomend.evaluate.columns import MEASURES

    places = {}
    for text in texts:
        name, equals, place = text.partition("=")
        if name not in MEASURES or not (equals and place):
            raise SettingError(
                f"--weights {text!r}: give MEASURE=PATH, with one of {', '.join(MEASURES)}."
            )
        places[name] = place
    return places


def _list(as_json: bool) -> None:
    from histomend.evaluate.listing import HEADER, listed

    if as_json:
        answer([dict(zip(HEADER, row, strict=True)) for row in listed()])
        return
    table(HEADER, listed())


def _show(found: Evaluation) -> None:
    rows = [
        (
            found.columns[key].header,
            figure.text(found.columns[key].digits),
            figure.count,
            found.about(key),
        )
        for key, figure in found.summary.items()
    ]
    table(("measure", "all pairs (95 % interval)", "pairs", ""), rows)
