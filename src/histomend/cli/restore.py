"""The verb that restores regions: restore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    option,
    parse_region,
    preset_of,
)
from histomend.cli.per_file import Files, carry_out
from histomend.cli.screen import say
from histomend.cli.slides import whole_slides
from histomend.errors import SettingError
from histomend.methods import MAX_SHARE

if TYPE_CHECKING:
    from histomend.jobs.outputs import Output


def restore(
    inputs: Inputs,
    out: Out,
    mask: Annotated[
        Path | None,
        option("White is restored: PNG, TIFF, GeoJSON; a folder for several inputs.", FILES),
    ] = None,
    detect: Annotated[bool, option("Find the artifacts instead.", FILES, "--detect")] = False,
    classes: Annotated[
        list[str] | None,
        option(
            "What counts in the masks: classes of GeoJSON, or labels. With --detect, what is "
            "restored of what is found.",
            FILES,
            "--class",
        ),
    ] = None,
    detector: Annotated[
        str,
        option(
            "With --detect: learned, threshold, or a detector's name or folder.",
            FILES,
            metavar="NAME|FOLDER",
        ),
    ] = "learned",
    max_share: Annotated[
        float,
        option(
            "With --detect, the most of the tissue to restore.", FILES, "--max-share", min=0, max=1
        ),
    ] = MAX_SHARE,
    method: Annotated[str, method_of("restore")] = "artifusion",
    model: Model = None,
    preset: Annotated[str | None, preset_of("restore")] = None,
    steps: Steps = None,
    sampler: Sampler = None,
    seed: Seed = 0,
    samples: Annotated[
        int, option("Restorations to draw; their deviation is the uncertainty.", SAMPLING, min=1)
    ] = 1,
    mpp: Mpp = None,
    region: Region = None,
    device: Device = "auto",
    batch: Batch = 8,
    engine: Engine = "local",
    ray_address: RayAddress = None,
    wait: Wait = False,
    trace: Annotated[
        Path | None, option("Folder for the states on the way, as PNG.", FILES)
    ] = None,
    lossy: Lossy = False,
    compact: Annotated[
        bool, option("Of a slide, leave what was replaced out of the file.", FILES, "--compact")
    ] = False,
    no_label: Annotated[
        bool, option("Of a slide, leave label and macro image out too.", FILES, "--no-label")
    ] = False,
    force: Force = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Restore the masked or detected artifacts of images.

    Without --mask and --detect a mask that lies beside an image is taken: NAME.mask.png,
    NAME_mask.png or NAME-mask.png, also .tif and .geojson.

    Beside each output NAME.png lie NAME.ledger.json, which proves and undoes the change, with
    --detect also NAME.mask.png, and with --samples NAME.uncertainty.png.

    A whole slide becomes a whole slide, of which only what is masked differs; the same command
    goes on with one that was interrupted. With --region it is an image like any other.

    Example: histomend restore tissue.png --mask mask.png -o restored.png
    """
    from histomend.jobs.inputs import IMAGE_SUFFIXES, WITH_SLIDES
    from histomend.jobs.outputs import plan_outputs, trace_to

    part = parse_region(region)
    taken = WITH_SLIDES if part is None else IMAGE_SUFFIXES
    beside = {} if detect or mask is not None else _masks_beside(inputs, taken)
    if (mask is not None or any(beside.values())) == detect:
        raise SettingError(
            f"{'Both --mask and --detect were given' if detect else 'No mask was given'}. "
            "Say where the artifacts are: either --mask FILE (white is restored), or --detect to "
            "have them found."
        )
    outputs = plan_outputs(inputs, out, masks=mask, taken=taken)
    if beside:
        outputs = [replace(o, mask=beside[o.source]) for o in outputs if o.source in beside]
    maps = [*(["mask"] if detect else []), *(["uncertainty"] if samples > 1 else [])]

    from histomend.jobs.inputs import folder_name

    def of(output: Output) -> dict[str, Any]:
        states = None
        if trace is not None:
            states = trace_to(trace / folder_name(output.source))
        return {"mask": output.mask, "trace": states}

    options: dict[str, Any] = {
        "method": method,
        "model": model,
        "preset": preset,
        "steps": steps,
        "sampler": sampler,
        "seed": seed,
        "samples": samples,
        "mask_classes": [name for text in classes or () for name in text.split(",")] or None,
        "detect": detect,
        "max_share": max_share,
        "detector": detector,
        "mpp": mpp,
        "device": device,
        "batch": batch,
    }
    of_slides = {"compact": compact, "no_label": no_label, "lossy": lossy, "force": force}
    slides = whole_slides(
        "restore",
        {**options, **of_slides},
        region=part,
        engine=engine,
        ray_address=ray_address,
        wait=wait,
        traced=trace is not None,
    )
    carry_out(
        "restore",
        Files(
            inputs,
            outputs,
            tuple(maps),
            force=force,
            lossy=lossy,
            dry_run=dry_run,
            as_json=as_json,
        ),
        failure="Not restored",
        options={**options, "region": part},
        of=of,
        slides=slides,
    )


def _masks_beside(inputs: list[Path], taken: tuple[str, ...]) -> dict[Path, Path | None]:
    """Return the mask beside each image, and say which are used."""
    from histomend.jobs.inputs import list_images, with_masks

    found = with_masks(list_images(inputs, taken))
    masks = [str(mask) for mask in found.values() if mask is not None]
    if masks:
        more = f" and {len(masks) - 1} more" if len(masks) > 1 else ""
        say(f"no --mask was named; {masks[0]}{more} beside the image is used", title="Notice")
    return found
