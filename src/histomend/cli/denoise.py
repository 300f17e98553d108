"""The verb that restores whole fields: denoise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from histomend.cli.options import (
    FILES,
    METHOD,
    AsJson,
    Axes,
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

CAMERA = "Camera"
"""A panel of the help."""


def denoise(
    inputs: Inputs,
    out: Out,
    method: Annotated[str, method_of("denoise")] = "rscd",
    model: Model = None,
    preset: Annotated[str | None, preset_of("denoise")] = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    gain: Annotated[
        float | None,
        option("Values of the file per photon; by default it is estimated.", CAMERA, min=0),
    ] = None,
    offset: Annotated[
        float | None, option("Value of the file where no light falls.", CAMERA)
    ] = None,
    read_noise: Annotated[
        float | None,
        option(
            "Standard deviation of the noise in the dark, in values of the file.", CAMERA, min=0
        ),
    ] = None,
    stabilise: Annotated[
        str,
        one_of(
            lambda: ("auto", "none"), "Bring noise to one strength, if the model knows: {}.", CAMERA
        ),
    ] = "auto",
    t_map: Annotated[
        Path | None,
        option("Where the map of t goes (.tif, or a folder); else beside OUT.", FILES, "--t-map"),
    ] = None,
    axes: Axes = None,
    per_channel: Annotated[
        bool | None,
        option(
            "Restore each channel by itself, or all together. Unless named: together where they "
            "are colours, or the model is for as many.",
            METHOD,
            "--per-channel/--together",
        ),
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
    """Restore images of which the whole field is degraded: noise, scattering, low signal.

    Beside each output NAME.tif lie NAME.t-map.tif, how degraded each place was taken to be, and
    NAME.ledger.json, what was done. Any number of channels, single images and z-stacks. A slide
    in the format of a scanner becomes a new pyramid, block by block.

    Example: histomend denoise noisy.tif -o clean.tif
    """
    from histomend.jobs.inputs import IMAGE_SUFFIXES, WITH_SLIDES
    from histomend.jobs.outputs import plan_outputs

    options: dict[str, Any] = {
        "method": method,
        "model": model,
        "preset": preset,
        "steps": steps,
        "sampler": sampler,
        "seed": seed,
        "gain": gain,
        "offset": offset,
        "read_noise": read_noise,
        "stabilise": stabilise,
        "axes": axes,
        "per_channel": per_channel,
        "mpp": mpp,
        "device": device,
        "batch": batch,
    }
    part = parse_region(region)
    taken = WITH_SLIDES if part is None else IMAGE_SUFFIXES
    slides = whole_slides(
        "denoise",
        {**options, "lossy": lossy, "force": force},
        region=part,
        engine=engine,
        ray_address=ray_address,
        wait=wait,
    )
    carry_out(
        "denoise",
        Files(
            inputs,
            plan_outputs(inputs, out, t_map=t_map, taken=taken),
            ("t_map",),
            force=force,
            lossy=lossy,
            dry_run=dry_run,
            as_json=as_json,
        ),
        failure="Not restored",
        options={**options, "region": part},
        slides=slides,
    )
