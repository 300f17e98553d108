"""The verb that enlarges images: upscale."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from histomend.cli.options import (
    FILES,
    SAMPLING,
    AsJson,
    Batch,
    Device,
    DryRun,
    Engine,
    Force,
    Inputs,
    Lossy,
    Model,
    Mpp,
    Out,
    RayAddress,
    Region,
    Sampler,
    Seed,
    Steps,
    Wait,
    method_of,
    one_of,
    option,
    parse_region,
    preset_of,
)
from histomend.cli.per_file import Files, carry_out
from histomend.cli.slides import whole_slides

COLOURS = ("difference", "wavelet", "adain", "none")
"""Those of `histomend.methods.colour`."""


def upscale(
    inputs: Inputs,
    out: Out,
    scale: Annotated[
        float | None, option("How many times larger, 1 to 8; any number between.", FILES)
    ] = None,
    target_mpp: Annotated[
        float | None, option("Instead of --scale: micrometres per pixel to come out with.", FILES)
    ] = None,
    method: Annotated[str, method_of("upscale")] = "histo-diffusion",
    model: Model = None,
    preset: Annotated[str | None, preset_of("upscale")] = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    generation: Annotated[
        float,
        option("Fidelity: 0 is the cleaned image, 1 is generated from pure noise.", SAMPLING),
    ] = 1.0,
    colour: Annotated[
        str | None,
        one_of(
            lambda: COLOURS,
            "What the result takes of the cleaned image, in place of the preset's: {}.",
            SAMPLING,
        ),
    ] = None,
    control_out: Annotated[
        Path | None,
        option("Write the decoded control here; a folder for several inputs.", FILES),
    ] = None,
    mpp: Mpp = None,
    region: Region = None,
    device: Device = "auto",
    batch: Batch = 8,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    wait: Wait = False,
    lossy: Lossy = False,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Enlarge RGB images, by any factor from 1 to 8.

    Beside each output NAME.png lies NAME.ledger.json, which says what was done. A slide in the
    format of a scanner is enlarged by a whole number, block by block, into a new pyramid.

    Example: histomend upscale scan.png -o large.png --scale 4
    """
    from histomend.jobs.inputs import IMAGE_SUFFIXES, WITH_SLIDES
    from histomend.jobs.outputs import plan_outputs

    options: dict[str, Any] = {
        "method": method,
        "model": model,
        "scale": scale,
        "target_mpp": target_mpp,
        "preset": preset,
        "steps": steps,
        "sampler": sampler,
        "seed": seed,
        "generation": generation,
        "colour": colour,
        "mpp": mpp,
        "device": device,
        "batch": batch,
    }
    part = parse_region(region)
    taken = WITH_SLIDES if part is None else IMAGE_SUFFIXES
    slides = whole_slides(
        "upscale",
        {**options, "lossy": lossy, "force": force},
        region=part,
        engine=engine,
        ray_address=ray_address,
        wait=wait,
    )
    carry_out(
        "upscale",
        Files(
            inputs,
            plan_outputs(inputs, out, control=control_out, taken=taken),
            () if control_out is None else ("control",),
            force=force,
            lossy=lossy,
            dry_run=dry_run,
            as_json=as_json,
        ),
        failure="Not enlarged",
        options={**options, "keep_control": control_out is not None, "region": part},
        slides=slides,
    )
