"""The verb that finds artifacts: detect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from histomend.cli.options import (
    FILES,
    AsJson,
    Force,
    Inputs,
    Mpp,
    Out,
    Region,
    option,
    parse_region,
)
from histomend.cli.per_file import PerFile, for_each, is_alone, say_passed_over
from histomend.jobs.progress import ProgressDisplay


def detect(
    inputs: Inputs,
    out: Out,
    mpp: Mpp = None,
    region: Region = None,
    geojson: Annotated[
        bool, option("In a folder, write GeoJSON (for QuPath).", FILES, "--geojson")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find artifacts by thresholds and write them as masks (.png or .geojson).

    Look at the mask before you restore with it: thresholds miss what looks like tissue, above
    all out-of-focus regions.

    What is found on a whole slide is written as GeoJSON, in pixels of the slide.

    Example: histomend detect tissue.png -o found.geojson
    """
    from histomend.api_slides import detect_slide
    from histomend.detect.threshold import detect as find
    from histomend.image import FileSet, check_target, read_image
    from histomend.jobs.companions import check_apart
    from histomend.jobs.outputs import pair_outputs
    from histomend.masks import regions, write_mask
    from histomend.slides.whole import is_whole_slide

    part = parse_region(region)
    say_passed_over(inputs)
    pairs = pair_outputs(inputs, out, ".geojson" if geojson else ".png")
    check_apart(pairs, pairs.values())

    display = ProgressDisplay(len(pairs))

    def step(source: Path, _: PerFile) -> dict[str, Any]:
        output = pairs[source]
        if part is None and is_whole_slide(source):
            if output.suffix == ".png" and output.stem == source.stem:
                output = output.with_suffix(".geojson")  # in a folder of outputs
            with display.file(source.name) as advance:
                found = detect_slide(source, output, mpp=mpp, force=force, progress=advance)
            return {"mask": str(output), "regions": found}
        check_target(output, force=force, new_folder=True)
        image = read_image(source, mpp=mpp, region=part)
        mask = find(image.pixels, mpp=image.mpp)
        # GeoJSON is in the coordinates of the whole image, as QuPath shows it.
        with FileSet(force=force) as files:
            write_mask(files.place(output), mask, origin=(0, 0) if part is None else part[:2])
        return {
            "mask": str(output),
            "area": round(float(mask.mean()), 4),
            "regions": len(regions(mask)),
        }

    for_each(list(pairs), step, alone=is_alone(inputs), as_json=as_json, failure="Not searched")
