"""The verb that asks people: rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli import EXIT_INTERRUPTED
from histomend.cli.options import FILES, AsJson, Force, one_of, option
from histomend.cli.screen import answer, say, table
from histomend.cli.view import Browser, Port, opened, require_web
from histomend.errors import SettingError

if TYPE_CHECKING:
    from histomend.evaluate.study import Study

STUDY = "Study"
"""A panel of the help."""


def rate(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PAIRS...]", help="Two folders with files of the same names, or their folder."
        ),
    ] = None,
    out: Annotated[
        Path | None, option("File of the study, .json; goes on with one.", FILES, "-o", "--out")
    ] = None,
    question: Annotated[
        str, one_of(lambda: ("preference", "real"), "What is asked: {}.", STUDY)
    ] = "preference",
    catches: Annotated[
        int,
        option(
            "Trials with one right answer, which show who looks.", STUDY, "--catch", min=0, max=100
        ),
    ] = 2,
    repeat: Annotated[
        int,
        option(
            "Trials to show a second time, to see whether raters agree with themselves.",
            STUDY,
            min=0,
            max=100,
        ),
    ] = 0,
    seed: Annotated[int, option("Of the order and the sides.", STUDY, min=0)] = 0,
    report: Annotated[
        Path | None, option("Say what came of a study, instead of asking.", STUDY)
    ] = None,
    csv: Annotated[
        Path | None, option("With --report: write all answers to this table.", STUDY, "--csv")
    ] = None,
    port: Port = 0,
    browser: Browser = True,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Ask people, who are not told what is what, which of two images is better, or if one is real.

    The first folder holds the real images, or those to compare with. Each rater has an order of
    their own by the seed, sees each side as often, and may stop and go on. Answers are given by
    keys, and kept at once.

    Example: histomend rate bicubic/ ours/ -o study.json; histomend rate --report study.json
    """
    if report is not None:
        if folders or out is not None:
            raise SettingError("--report reads a study: leave the pairs and -o away.")
        _report(report, csv, force=force, as_json=as_json)
        return
    if not folders or out is None or csv is not None:
        raise SettingError(
            "Name two folders of images and the file of the study: histomend rate A B -o "
            "study.json. What came of it: histomend rate --report study.json."
        )
    require_web()
    from histomend.image import make_folder
    from histomend.web.rating import rate_app
    from histomend.web.server import serve

    study = _study(folders, out, question, catches, repeat, seed)
    make_folder(out.parent)
    study.write()
    count = len(study.trials(0))
    say(f"{len(study.pairs)} pairs, {count} trials a rater; answers go to {out}")
    try:
        serve(rate_app(study), port, lambda address: opened(address, browser=browser))
    except KeyboardInterrupt as error:
        said = f"{len(study.answers)} answers are in {out}. The same command goes on."
        say(said, title="Interrupted", style="bold")
        raise typer.Exit(EXIT_INTERRUPTED) from error


def _study(
    folders: list[Path], out: Path, question: str, catches: int, repeats: int, seed: int
) -> Study:
    """Return the study of a file, or a new one."""
    from histomend.evaluate.study import Study, pairs_of

    pairs, names = pairs_of(folders)
    asked = Study(out, pairs, names, question, seed, catches, repeats)
    if not out.exists():
        return asked
    known = Study.read(out)
    if replace(known, path=out, raters=[], answers=[]) != asked:
        raise SettingError(
            f"{out}: is a study of other pairs or settings. Name another file, or the folders, "
            "--question, --catch, --repeat and --seed that it was begun with."
        )
    return known


def _report(path: Path, csv: Path | None, *, force: bool, as_json: bool) -> None:
    from histomend.evaluate.study import PREFERENCE, Study
    from histomend.evaluate.study_report import report, rows_of

    study = Study.read(path)
    if csv is not None:
        _write_csv(csv, rows_of(study), force=force)
    found = report(study)
    if as_json:
        answer(found)
        return
    first, second = study.names
    rows = [*found["raters"], {"rater": "all", **found["pooled"]}]
    if study.question == PREFERENCE:
        table(
            ("rater", first, second, "equal", f"for {second}", "95 %", "catches", "same again",
             "s each"),
            [
                (
                    row["rater"], row["first"], row["second"], row["equal"],
                    _percent(row["share_second"]), _interval(row), _caught(row), _again(row),
                    _seconds(row),
                )
                for row in rows
            ],
        )  # fmt: skip
    else:
        table(
            ("rater", "answers", "right", "95 %", "at first sight", "95 %", "Matthews",
             f"{second} taken for real", "catches", "same again", "s each"),
            [
                (
                    row["rater"], row["answers"], _percent(row["share_right"]), _interval(row),
                    _percent(row["first_sight"]["share_right"]), _interval(row["first_sight"]),
                    "-" if row["matthews"] is None else f"{row['matthews']:.2f}",
                    row["taken_for_real"], _caught(row), _again(row), _seconds(row),
                )
                for row in rows
            ],
        )  # fmt: skip
    kappa = found["kappa"]
    said = "needs two raters who answered everything" if kappa is None else f"{kappa:.2f}"
    typer.echo(f"Fleiss' kappa: {said}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f} %"


def _interval(row: dict[str, Any]) -> str:
    return f"{100 * row['low']:.0f} to {100 * row['high']:.0f} %"


def _caught(row: dict[str, Any]) -> str:
    return f"{row['catches_right']} of {row['catches']}"


def _again(row: dict[str, Any]) -> str:
    return f"{row['again_same']} of {row['again']}"


def _seconds(row: dict[str, Any]) -> str:
    return "-" if row["seconds"] is None else f"{row['seconds']:.1f}"


def _write_csv(path: Path, rows: list[dict[str, Any]], *, force: bool) -> None:
    import csv
    import io

    from histomend.image.writing import write_text

    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    write_text(path, text.getvalue(), force=force)
