"""The verb that makes training data out of slides: tiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.options import AsJson, Seed
from histomend.cli.screen import answer, facts, say, table
from histomend.errors import HistomendError
from histomend.jobs.progress import ProgressDisplay


def tiles(
    slides: Annotated[
        list[Path], typer.Argument(metavar="SLIDES...", help="Slides, images, or folders of them.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="A new folder.")],
    mpp: Annotated[float, typer.Option(help="Micrometres per pixel of the tiles.")],
    size: Annotated[int, typer.Option(help="Side of a tile, in pixels.")],
    source_mpp: Annotated[
        float | None, typer.Option(help="Micrometres per pixel of files that do not say.")
    ] = None,
    tissue: Annotated[float, typer.Option(help="Least share of a tile that is tissue.")] = 0.5,
    artifacts: Annotated[
        float, typer.Option(help="Largest share of a tile that may be an artifact.")
    ] = 0.01,
    sharpness: Annotated[
        float, typer.Option(help="Least sharpness, relative to the slide's sharp tissue.")
    ] = 0.65,
    per_slide: Annotated[
        int | None, typer.Option(help="Most tiles of a slide, spread over it.")
    ] = None,
    validation_share: Annotated[
        float, typer.Option(help="Share of the slides held out as split val.")
    ] = 0.2,
    seed: Seed = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on in a folder that was begun.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Cut tiles for training where slides show sharp tissue without artifacts.

    DIR gets a folder of PNGs for each slide, manifest.csv (which every training reads, held out
    slides included), and summary.json: what was rejected, and why.
    """
    from histomend.curate.collection import Collection
    from histomend.curate.settings import TileSettings

    settings = TileSettings(
        mpp=mpp,
        size=size,
        tissue=tissue,
        artifacts=artifacts,
        sharpness=sharpness,
        per_slide=per_slide,
        validation_share=validation_share,
        seed=seed,
        source_mpp=source_mpp,
    )
    made = Collection.begin(slides, out, settings, resume=resume)
    reports: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    undone = sum(made.done(name) is None for name in made.slides)
    display = ProgressDisplay(undone, "places")
    for name, path in made.slides.items():
        report = made.done(name)
        try:
            if report is None:
                with display.file(path.name) as advance:
                    report = made.cut(name, reports, advance)
        except HistomendError as error:
            if len(made.slides) == 1:
                made.forget()
                raise
            say(str(error), title="Error", style="bold red")
            failed[name] = str(error)
            continue
        reports.append(report)
    summary = made.finish(reports, failed)
    if as_json:
        answer(summary)
    else:
        _show(summary, out)
    if validation_share > 0 and not any(r["tiles"] for r in reports if r["split"] == "val"):
        say("no slide is held out, so figures of a training will be made on its own tiles.")
    if failed:
        files = ", ".join(str(made.slides[name]) for name in failed)
        say(f"{len(failed)} of {len(made.slides)} slides: {files}", title="Not cut")
        raise typer.Exit(HistomendError.exit_code)


def _show(summary: dict[str, Any], out: Path) -> None:
    from histomend.curate.judging import REASONS

    rows = [
        (
            one["slide"],
            one["split"],
            one["tiles"],
            *(one["rejected"][reason] for reason in REASONS),
            one["not_looked_at"],
            f"{one['mpp']:g}",
            f"{one['usual']['sharpness']:.3f}",
        )
        for one in summary["slides"]
    ]
    headings = ("slide", "split", "tiles", *REASONS, "unseen", "mpp", "sharp")
    table(headings, rows)
    facts(
        [
            ("tiles", sum(one["tiles"] for one in summary["slides"])),
            ("manifest", out / "manifest.csv"),
        ]
    )
