"""The verb that finds artifacts: detect."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from histomend.cli.options import (
    FILES,
    METHOD,
    AsJson,
    Device,
    Force,
    Inputs,
    Model,
    Mpp,
    Out,
    Region,
    one_of,
    option,
    parse_region,
)
from histomend.cli.per_file import PerFile, for_each, is_alone, say_passed_over
from histomend.errors import SettingError

if TYPE_CHECKING:
    from histomend.image import Image

METHODS = ("learned", "threshold")


def detect(
    inputs: Inputs,
    out: Out,
    method: Annotated[
        str, one_of(lambda: METHODS, "{}: a network that learned artifacts, or fixed rules.")
    ] = "learned",
    model: Model = None,
    classes: Annotated[
        list[str] | None,
        option("Only these classes: fold,bubble,ink,debris,...", METHOD, "--class"),
    ] = None,
    probability: Annotated[
        float | None,
        option(
            "Mark from this probability on; by default the detector's own.",
            METHOD,
            "--probability",
            min=0.01,
            max=0.99,
        ),
    ] = None,
    smallest_um2: Annotated[
        float | None,
        option("Leave out regions smaller than this, in um2.", METHOD, "--smallest-um2", min=0),
    ] = None,
    mpp: Mpp = None,
    region: Region = None,
    geojson: Annotated[
        bool, option("In a folder, write GeoJSON (for QuPath).", FILES, "--geojson")
    ] = False,
    labels: Annotated[
        bool, option("Also write NAME.labels.png, the class of each pixel.", FILES, "--labels")
    ] = False,
    overview: Annotated[
        bool, option("Also write NAME.overview.png, to look at.", FILES, "--overview")
    ] = False,
    summary: Annotated[
        Path | None,
        option("Table with a row per image: shares of the tissue by class (.csv, .json).", FILES),
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Find artifacts, and write them as masks (.png) or as annotations of QuPath (.geojson).

    White in a mask is what may be restored. What is out of focus, hazy or marked by the scanner
    is told, and is in GeoJSON, labels and tables, but not in the mask: unless --class names it.

    Example: histomend detect tissue.png -o found.geojson
    """
    from histomend.image import check_target
    from histomend.jobs.outputs import make_folder, pair_outputs

    if method == "threshold":
        own = {
            "--model": model,
            "--class": classes,
            "--probability": probability,
            "--smallest-um2": smallest_um2,
            "--labels": labels or None,
            "--overview": overview or None,
            "--summary": summary,
        }
        given = [name for name, value in own.items() if value is not None]
        if given:
            raise SettingError(
                f"{given[0]} goes with --method learned: thresholds tell no classes and no "
                "probabilities."
            )
    part = parse_region(region)
    say_passed_over(inputs)
    pairs = pair_outputs(inputs, out, ".geojson" if geojson else ".png")
    if summary is not None:
        make_folder(summary.parent)
        check_target(summary, force=force)
    rows: list[dict[str, Any]] = []
    learned = _Learned(model, classes, probability, smallest_um2, device)

    def step(source: Path, files: PerFile) -> dict[str, Any]:
        from histomend.image import read_image
        from histomend.masks import regions, write_mask

        output = pairs[source]
        make_folder(output.parent)
        for path in _outputs(output, labels=labels, overview=overview):
            check_target(path, force=force)
        image = read_image(source, mpp=mpp, region=part)
        # GeoJSON is in the coordinates of the whole image, as QuPath shows it.
        origin = (0, 0) if part is None else part[:2]
        if method == "threshold":
            from histomend.detect.threshold import detect as find

            mask = find(image.pixels, mpp=image.mpp)
            write_mask(output, mask, origin=origin, force=force)
            return {
                "mask": str(output),
                "area": round(float(mask.mean()), 4),
                "regions": len(regions(mask)),
            }
        told, row, notices = learned.write(
            image, output, origin, labels=labels, overview=overview, force=force
        )
        for notice in notices:
            files.notice(source, notice)
        rows.append({"image": str(source), **row})
        return told

    def end() -> None:
        if summary is not None and rows:
            from histomend.detect.reports import write_summary

            write_summary(summary, rows, force=force)

    for_each(
        list(pairs), step, alone=is_alone(inputs), as_json=as_json, failure="Not searched", end=end
    )


def _outputs(output: Path, *, labels: bool, overview: bool) -> list[Path]:
    """Return the mask or annotations, and what is written beside them."""
    names = [name for name, wanted in (("labels", labels), ("overview", overview)) if wanted]
    return [output, *(output.with_name(f"{output.stem}.{name}.png") for name in names)]


class _Learned:
    """The detector with the user's settings; loaded when the first image is there."""

    def __init__(
        self,
        model: str | None,
        classes: list[str] | None,
        probability: float | None,
        smallest_um2: float | None,
        device: str,
    ):
        self.model, self.classes, self.device = model, classes, device
        self.probability, self.smallest_um2 = probability, smallest_um2
        self._detector: Any = None

    def write(
        self,
        image: Image,
        output: Path,
        origin: tuple[int, int],
        *,
        labels: bool,
        overview: bool,
        force: bool,
    ) -> tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]:
        """Search an image, and return what to show, the row of the table, and notices."""
        from histomend.detect import reports
        from histomend.detect.learned import detector_named, find, limits_for
        from histomend.masks import write_mask
        from histomend.masks.artifact_classes import chosen_classes

        kinds = chosen_classes(self.classes)
        if self._detector is None:
            self._detector = detector_named(self.model, self.device)
        limits = limits_for(self._detector, self.probability, self.smallest_um2)
        where = str(image.source)
        detection = find(
            image.pixels, mpp=image.mpp, detector=self._detector, limits=limits, where=where
        )
        found = detection.found
        if output.suffix.lower() == ".geojson":
            content = reports.quality_annotations(found, kinds, origin)
            reports.write_annotations(output, content, force=force)
        else:
            write_mask(output, found.mask(kinds), force=force)
        _, *beside = _outputs(output, labels=labels, overview=overview)
        for path in beside:
            if path.name.endswith(".labels.png"):
                reports.write_picture(path, found.label_image(), force=force)
            else:
                pixels = reports.eight_bit(image.pixels)
                reports.write_picture(path, reports.overview(pixels, found), force=force)
        row = found.summary()
        told = {
            "mask": str(output),
            "mpp": row["mpp"],
            "regions": row["regions"],
            "found": {
                region.kind: sum(1 for other in found.regions if other.kind == region.kind)
                for region in found.regions
            },
            "artifact_share": row["artifact_share"],
            "restorable_share": row["restorable_share"],
        }
        return told, row, detection.notices
