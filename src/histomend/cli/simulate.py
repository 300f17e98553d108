"""The verb that damages images on purpose: simulate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.options import (
    AsJson,
    Force,
    Inputs,
    Mpp,
    Out,
    Region,
    Seed,
    one_of,
    parse_region,
)
from histomend.cli.per_file import PerFile, for_each, is_alone

KINDS = (
    "fold",
    "bubble",
    "ink",
    "debris",
    "dark_spot",
    "out_of_focus",
    "streak",
    "illumination",
    "stain",
    "marker",
    "smear",
    "haze",
    "chatter",
    "stripes",
    "stitching",
)
"""Those of `histomend.damage.artifacts`."""


def simulate(
    inputs: Inputs,
    out: Out,
    kind: Annotated[str, one_of(lambda: KINDS, "The artifact: {}.")],
    seed: Seed = 0,
    area: Annotated[
        float, typer.Option(min=0.001, max=0.9, help="Share of the image to damage.")
    ] = 0.12,
    mpp: Mpp = None,
    region: Region = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Damage images with a simulated artifact; NAME.mask.png tells exactly where.

    Example: histomend simulate tissue.png -o damaged.png --kind fold
    """
    from histomend.damage.artifacts import simulate as damage
    from histomend.image import check_output, check_target, read_image, write_image
    from histomend.jobs.outputs import Output, make_folder, pair_outputs
    from histomend.masks import write_mask

    pairs = pair_outputs(inputs, out)

    def step(source: Path, files: PerFile) -> dict[str, Any]:
        output = pairs[source]
        mask_path = Output(output).path_of("mask")
        make_folder(output.parent)
        check_output(output, force=force, source=source)
        check_target(mask_path, force=force)
        image = read_image(source, mpp=mpp, region=parse_region(region))
        damaged = damage(image.pixels, kind, seed=seed, area=area, mpp=image.mpp or 0.5)
        note = f"Damaged by Histomend with a simulated {kind}, seed {seed}."
        write_mask(mask_path, damaged.mask, force=force)
        write_image(
            output, damaged.pixels, alpha=image.alpha, mpp=image.mpp, icc=image.icc, note=note,
            force=force,
        )  # fmt: skip
        return {
            "output": str(output),
            "mask": str(mask_path),
            "kind": kind,
            "area": round(float(damaged.mask.mean()), 4),
        }

    for_each(list(pairs), step, alone=is_alone(inputs), as_json=as_json, failure="Not damaged")
