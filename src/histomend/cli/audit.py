"""The verb that says what may be trusted of a result: audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.options import FILES, METHOD, AsJson, Device, Force, option
from histomend.cli.screen import answer, say
from histomend.errors import HistomendError, SettingError
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.evaluate.audit.audit import Audit

_MARKS = {"fine": "fine   ", "look": "LOOK   ", "unknown": "unknown"}


def audit(
    results: Annotated[
        list[Path],
        typer.Argument(metavar="RESULT...", help="Images that Histomend wrote, or folders."),
    ],
    source: Annotated[
        Path | None,
        option("What was denoised or enlarged; a folder for several.", FILES),
    ] = None,
    out: Annotated[
        Path | None,
        option("Folder for audit.json and a map of the intervals' widths.", FILES, "-o", "--out"),
    ] = None,
    model: Annotated[
        str | None, option("Where the model lies now, if it was moved.", METHOD)
    ] = None,
    seeds: Annotated[int, option("Other seeds to draw.", METHOD, min=2)] = 4,
    trials: Annotated[
        int, option("Sound places of the image to restore the same way.", METHOD, min=0)
    ] = 12,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Say what may be trusted of a result, and what nobody can know.

    Of a restored image: whether anything else was touched, where its pixels came from, how much
    other seeds would have given, how the same method does in sound places of the same image, whose
    truth is known, and intervals that hold for 90 % of the pixels there. Of a denoised or enlarged
    image: nuclei lost and gained, and places where it does not show what the source shows.

    Example: histomend audit restored.png -o audit
    """
    from histomend.evaluate.audit.audit import audit as run
    from histomend.jobs.inputs import list_images

    images = list_images(results)
    if source is not None and not source.is_dir() and len(images) > 1:
        raise SettingError(
            f"--source {source} is one file, and there are {len(images)} images. Name a folder "
            "that holds the source of each, by the name in its record."
        )
    if out is not None:
        _check_free(out, force=force)
    display = ProgressDisplay(len(images), "runs")
    done: list[Audit] = []
    failed: dict[str, str] = {}
    for image in images:
        try:
            with display.file(image.name) as advance:
                found = run(
                    image,
                    source=_source_of(image, source),
                    model=model,
                    seeds=seeds,
                    trials=trials,
                    device=device,
                    tick=advance,
                )
        except HistomendError as error:
            if len(images) == 1:
                raise
            say(str(error), title="Error", style="bold red")
            failed[str(image)] = str(error)
            continue
        done.append(found)
        if not as_json:
            _show(found, alone=len(images) == 1)
    told = {"audits": [each.as_json() for each in done], "failed": failed}
    if out is not None:
        _write(out, done, told)
    if as_json:
        answer(told)
    if failed:
        say(f"{len(failed)} of {len(images)} images", title="Not audited")
        raise typer.Exit(HistomendError.exit_code)


def _source_of(image: Path, source: Path | None) -> Path | None:
    if source is None or not source.is_dir():
        return source
    from histomend.jobs.companions import record_of
    from histomend.ledger import Record

    return source / (Record.read(record_of(image)).source.name or image.name)


def _show(found: Audit, *, alone: bool) -> None:
    if not alone:
        typer.echo(found.image)
    for finding in found.findings:
        typer.echo(f"{_MARKS[finding.verdict]}  {finding.name}: {finding.said}")


def _check_free(out: Path, *, force: bool) -> None:
    from histomend.image import check_target

    check_target(out / "audit.json", force=force, new_folder=True)


def _write(out: Path, done: list[Audit], told: dict[str, Any]) -> None:
    import json

    import numpy as np

    from histomend.image import FileSet, write_image, write_text

    with FileSet(force=True) as files:
        write_text(files.place(out / "audit.json"), json.dumps(told, indent=2) + "\n", force=True)
        for each in done:
            width = each.width_map()
            if width is not None:
                grey = np.rint(255 * width).astype(np.uint8)
                target = files.place(out / f"{each.image.stem}.width.png")
                write_image(target, np.repeat(grey[..., None], 3, 2), force=True)
