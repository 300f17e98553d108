"""The verb that fits a model to a user's own images: adapt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import FILES, AsJson, Device, Inputs, Seed, option
from histomend.cli.screen import answer, facts, say
from histomend.cli.train import progress
from histomend.errors import SettingError
from histomend.jobs.progress import ProgressDisplay


def adapt(
    inputs: Inputs,
    out: Annotated[Path, option("A new folder for the model.", FILES, "-o", "--out")],
    mask: Annotated[
        Path | None,
        option("What is damaged in the one image; else NAME.mask.png beside each.", FILES),
    ] = None,
    model: Annotated[
        str,
        option("What to start from: a bundled model or a folder.", "Method", metavar="NAME|FOLDER"),
    ] = "artifusion-he",
    minutes: Annotated[
        float | None, typer.Option(help="How long to train.", min=0, show_default="5")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="How many steps at most, whatever time they take.", min=1)
    ] = None,
    source_mpp: Annotated[
        float | None,
        option("Micrometres per pixel of files that do not say; the model's by default.", FILES),
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Fit the model of restore to your own images, on the clean tissue in them.

    Tissue without artifacts is cut out of the images or slides, and the model trained on it for
    some minutes. Use it for these images, or others of the same staining and scanner. One tile in
    five is held out, and the error there is shown before and after.

    Example: histomend adapt slide.svs -o my-model --minutes 10
    """
    from histomend.curate.adapting import adapt as run

    if minutes is None and steps is None:
        minutes = 5.0
    if minutes == 0:
        raise SettingError("--minutes is 0, and nothing is learned in no time. Give it some.")
    done = run(
        inputs,
        out,
        mask=mask,
        model=model,
        minutes=minutes,
        steps=steps,
        source_mpp=source_mpp,
        seed=seed,
        device=device,
        looking=ProgressDisplay(unit="places").file,
        training=progress,
    )
    for path, why in done.passed_over.items():
        say(f"{path}: {why}", title="Passed over")
    if done.error_after >= done.error_before:
        say(
            "on held-out tissue the model has become no better. Give it more time or more images, "
            "or use the one that it started from.",
            title="Notice",
        )
    if as_json:
        answer(
            {
                "model": str(done.model),
                "images": [str(path) for path in done.images],
                "tiles": done.tiles,
                "held_out_error": {"before": done.error_before, "after": done.error_after},
                "passed_over": done.passed_over,
            }
        )
        return
    facts(
        [
            ("model", done.model),
            ("tiles", done.tiles),
            ("error on held-out tissue", f"{done.error_before:.5f} -> {done.error_after:.5f}"),
            ("use it", f"histomend restore ... --model {done.model}"),
        ]
    )
