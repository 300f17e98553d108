"""The verb that restores whole fields: denoise."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.options import (
    AsJson,
    Axes,
    Device,
    Force,
    Inputs,
    Model,
    Out,
    Sampler,
    Seed,
    Steps,
)
from histomend.cli.screen import facts, progress, say
from histomend.cli.several import Several

if TYPE_CHECKING:
    from histomend.field_files import FieldFiles


def denoise(
    inputs: Inputs,
    out: Out,
    model: Model = None,
    method: Annotated[
        str, typer.Option(help="rscd, or one of the methods that it is compared with.")
    ] = "rscd",
    preset: Annotated[
        str, typer.Option(help="How rscd or conditional samples; see `histomend presets`.")
    ] = "fast",
    steps: Steps = None,
    sampler: Sampler = None,
    t_map: Annotated[
        Path | None,
        typer.Option(
            "--t-map", help="Where the map of t goes (.tif, or a folder); else beside OUT."
        ),
    ] = None,
    axes: Axes = None,
    seed: Seed = 0,
    device: Device = "auto",
    batch: Annotated[
        int, typer.Option(min=1, help="Groups of tiles at a time; does not change the result.")
    ] = 8,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Restore images of which the whole field is degraded: noise, scattering, low signal.

    Beside each output NAME.tif lie NAME.t-map.tif, how degraded each place was taken to be, and
    NAME.denoise.json, what was done. One to three channels, single images and z-stacks.
    """
    from histomend.field_files import plan_fields

    jobs = plan_fields(inputs, out, t_map)
    files = Several([job.source for job in jobs], alone=len(inputs) == 1 and not inputs[0].is_dir())
    # Before anything is computed or imported: the outputs may exist already.
    jobs = [job for job in jobs if files.attempt(job.source, partial(job.check, force))]
    if jobs:
        from histomend.denoise import denoise as restore
        from histomend.recipes.field_methods import model_for

        loaded = model_for(method, model, device)

        def run(job: FieldFiles) -> dict[str, Any]:
            with progress(job.source.name, "groups of tiles") as advance:
                result = restore(
                    job.source,
                    model=loaded,
                    method=method,
                    preset=preset,
                    steps=steps,
                    sampler=sampler,
                    seed=seed,
                    axes=axes,
                    device=device,
                    batch=batch,
                    progress=advance,
                )
            for notice in result.record.notices:
                say(notice, title=job.source.name)
            written = job.write(result, force)
            return {**written, "nfe": result.record.nfe, "t": result.record.t}

        for job in jobs:
            if files.attempt(job.source, partial(run, job)) and not as_json:
                facts(files.records[job.source].items())
    files.end(as_json=as_json, failure="Not restored")
