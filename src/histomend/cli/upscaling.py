"""The verb that enlarges images: upscale."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.options import (
    AsJson,
    Device,
    Force,
    Inputs,
    Model,
    Mpp,
    Out,
    Region,
    Sampler,
    Seed,
    Steps,
    parse_region,
)
from histomend.cli.screen import facts, progress, say
from histomend.cli.several import Several

if TYPE_CHECKING:
    from histomend.upscale_files import UpscaleFiles


class Colour(str, Enum):
    """What the result takes of the cleaned image."""

    difference = "difference"
    wavelet = "wavelet"
    adain = "adain"
    none = "none"


def upscale(
    inputs: Inputs,
    out: Out,
    scale: Annotated[
        float | None, typer.Option(help="How many times larger, 1 to 8; any number between.")
    ] = None,
    target_mpp: Annotated[
        float | None,
        typer.Option(help="Instead of --scale: micrometres per pixel to come out with."),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            help="histo-diffusion, bicubic, lanczos, rrdb-gan, swinir-gan, or published (weight "
            "files)."
        ),
    ] = "histo-diffusion",
    model: Model = None,
    preset: Annotated[
        str, typer.Option(help="fast (at most ten calls) or paper (50 ancestral steps).")
    ] = "fast",
    steps: Steps = None,
    sampler: Sampler = None,
    generation: Annotated[
        float,
        typer.Option(help="Fidelity: 0 is the cleaned image, 1 is generated from pure noise."),
    ] = 1.0,
    colour: Annotated[
        Colour | None,
        typer.Option(help="What the result takes of the cleaned image, in place of the preset's."),
    ] = None,
    control_out: Annotated[
        Path | None,
        typer.Option(help="Write the decoded control here; a folder for several inputs."),
    ] = None,
    mpp: Mpp = None,
    region: Region = None,
    seed: Seed = 0,
    device: Device = "auto",
    lossy: Annotated[bool, typer.Option("--lossy", help="Allow a .jpg output.")] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge RGB images, by any factor from 1 to 8.

    Beside each output NAME.png lies NAME.upscale.json, which says what was done.
    """
    from histomend.upscale_files import plan_upscales

    part = parse_region(region)
    jobs = plan_upscales(inputs, out, control_out)
    files = Several([job.source for job in jobs], alone=len(inputs) == 1 and not inputs[0].is_dir())
    # Before anything is computed or imported: the outputs may exist already.
    jobs = [job for job in jobs if files.attempt(job.source, partial(job.check, force, lossy))]
    if jobs:
        from histomend.recipes.upscale_methods import upscaler_for
        from histomend.upscale import upscale as enlarge

        loaded = upscaler_for(method, model, device)

        def run(job: UpscaleFiles) -> dict[str, Any]:
            with progress(job.source.name, "parts") as advance:
                result = enlarge(
                    job.source,
                    scale=scale,
                    target_mpp=target_mpp,
                    method=method,
                    model=loaded,
                    preset=preset,
                    steps=steps,
                    sampler=sampler,
                    seed=seed,
                    generation=generation,
                    colour=None if colour is None else colour.value,
                    keep_control=job.control is not None,
                    mpp=mpp,
                    region=part,
                    device=device,
                    progress=advance,
                )
            for notice in result.record.notices:
                say(notice, title=job.source.name)
            written = job.write(result, force, lossy)
            record = result.record
            return {**written, **record.output, "nfe": record.nfe, "deviation": record.deviation}

        for job in jobs:
            if files.attempt(job.source, partial(run, job)) and not as_json:
                facts(files.records[job.source].items())
    files.end(as_json=as_json, failure="Not enlarged")
