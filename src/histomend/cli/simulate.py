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
    from histomend.image import FileSet, check_target, read_image, write_image
    from histomend.image.writing import check_format
    from histomend.jobs.companions import check_apart
    from histomend.jobs.outputs import plan_outputs
    from histomend.masks import write_mask

    made = {one.source: (one.image, one.path_of("mask")) for one in plan_outputs(inputs, out)}
    check_apart(made, (path for paths in made.values() for path in paths))

    def step(source: Path, _: PerFile) -> dict[str, Any]:
        output, mask_path = made[source]
        check_format(output, lossy=False)
        for path in (output, mask_path):
            check_target(path, force=force, new_folder=True)
        image = read_image(source, mpp=mpp, region=parse_region(region))
        damaged = damage(image.pixels, kind, seed=seed, area=area, mpp=image.mpp or 0.5)
        note = f"Damaged by Histomend with a simulated {kind}, seed {seed}."
        with FileSet(force=force) as files:
            write_mask(files.place(mask_path), damaged.mask)
            about: dict[str, Any] = {"alpha": image.alpha, "mpp": image.mpp, "icc": image.icc}
            write_image(files.place(output), damaged.pixels, note=note, **about)
        return {
            "output": str(output),
            "mask": str(mask_path),
            "kind": kind,
            "area": round(float(damaged.mask.mean()), 4),
        }

    for_each(list(made), step, alone=is_alone(inputs), as_json=as_json, failure="Not damaged")
