"""The verb that finds artifacts: detect."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

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
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.detect.found import Found
    from histomend.image import Image
    from histomend.jobs.progress import Advance
    from histomend.models.detector import Detector

METHODS = ("learned", "threshold")
GRANDQC_ENDING = "_mask.png"


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
    grandqc: Annotated[
        bool,
        option("Also write NAME_mask.png, with the labels that GrandQC gives.", FILES, "--grandqc"),
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

    What is found on a whole slide is written as GeoJSON, in pixels of the slide.

    Example: histomend detect tissue.png -o found.geojson
    """
    from histomend.image import check_target
    from histomend.jobs.companions import check_apart
    from histomend.jobs.outputs import pair_outputs
    from histomend.masks.artifact_classes import chosen_classes

    if method == "threshold":
        own = {
            "--model": model,
            "--class": classes,
            "--probability": probability,
            "--smallest-um2": smallest_um2,
            "--labels": labels or None,
            "--grandqc": grandqc or None,
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
    endings = [
        ending
        for ending, wanted in (
            (".labels.png", labels),
            (GRANDQC_ENDING, grandqc),
            (".overview.png", overview),
        )
        if wanted
    ]
    beside = {
        source: [output.with_name(output.stem + ending) for ending in endings]
        for source, output in pairs.items()
    }
    tables = [] if summary is None else [summary]
    check_apart(pairs, [*pairs.values(), *(p for paths in beside.values() for p in paths), *tables])
    for table in tables:
        check_target(table, force=force, new_folder=True)
    rows: list[dict[str, Any]] = []
    display = ProgressDisplay(len(pairs))
    search: _Search
    if method == "threshold":
        search = _Thresholds(force)
    else:
        limits = probability, smallest_um2
        search = _Learned(model, chosen_classes(classes), limits, device, force, rows)

    def step(source: Path, files: PerFile) -> dict[str, Any]:
        from histomend.image import read_image
        from histomend.slides.whole import is_whole_slide

        output = pairs[source]
        if part is None and is_whole_slide(source):
            if endings:
                raise SettingError(
                    f"{source}: labels and overviews are of images, and this is a whole slide. "
                    "Look at the GeoJSON on the slide in QuPath."
                )
            if output.suffix == ".png" and output.stem == source.stem:
                output = output.with_suffix(".geojson")  # in a folder of outputs
            with display.file(source.name) as advance:
                told, notices = search.slide(source, output, mpp, advance)
        else:
            for path in (output, *beside[source]):
                check_target(path, force=force, new_folder=True)
            image = read_image(source, mpp=mpp, region=part)
            # GeoJSON is in the coordinates of the whole image, as QuPath shows it.
            origin = (0, 0) if part is None else part[:2]
            told, notices = search.image(image, output, origin, beside[source])
        for notice in notices:
            files.notice(source, notice)
        return {"mask": str(output), **told}

    def end() -> None:
        if summary is not None and rows:
            from histomend.detect.reports import write_summary
            from histomend.image import FileSet

            with FileSet(force=force) as files:
                write_summary(files.place(summary), rows)

    for_each(
        list(pairs), step, alone=is_alone(inputs), as_json=as_json, failure="Not searched", end=end
    )


Told = tuple[dict[str, Any], tuple[str, ...]]


class _Search(Protocol):
    """What finds artifacts, writes them, and returns what to show and what to tell."""

    def image(
        self, image: Image, output: Path, origin: tuple[int, int], beside: list[Path]
    ) -> Told: ...

    def slide(self, source: Path, output: Path, mpp: float | None, advance: Advance) -> Told: ...


@dataclass(frozen=True)
class _Thresholds:
    """The rules of the paper."""

    force: bool

    def image(
        self, image: Image, output: Path, origin: tuple[int, int], beside: list[Path]
    ) -> Told:
        """Search an image."""
        from histomend.detect.threshold import detect as find
        from histomend.image import FileSet
        from histomend.masks import regions, write_mask

        mask = find(image.pixels, mpp=image.mpp)
        with FileSet(force=self.force) as files:
            write_mask(files.place(output), mask, origin=origin)
        return {"area": round(float(mask.mean()), 4), "regions": len(regions(mask))}, ()

    def slide(self, source: Path, output: Path, mpp: float | None, advance: Advance) -> Told:
        """Search a whole slide."""
        from histomend.api_slides import detect_slide
        from histomend.detect.threshold import Thresholds

        rules = Thresholds()
        found = detect_slide(
            source, output, mpp=mpp, thresholds=rules, force=self.force, progress=advance
        )
        return {"regions": found}, ()


@dataclass
class _Learned:
    """The detector with the user's settings; loaded when the first image is there."""

    model: str | None
    classes: list[str] | None
    limits: tuple[float | None, float | None]
    device: str
    force: bool
    rows: list[dict[str, Any]]

    @cached_property
    def detector(self) -> Detector:
        """The weights, loaded once."""
        from histomend.detect.learned import detector_named

        return detector_named(self.model, self.device)

    def image(
        self, image: Image, output: Path, origin: tuple[int, int], beside: list[Path]
    ) -> Told:
        """Search an image."""
        from histomend.detect import reports
        from histomend.detect.learned import find, limits_for
        from histomend.image import FileSet
        from histomend.image.depth import eight_bit
        from histomend.masks import write_mask

        limits = limits_for(self.detector, *self.limits)
        detection = find(
            image.pixels,
            mpp=image.mpp,
            detector=self.detector,
            limits=limits,
            where=str(image.source),
        )
        found = detection.found
        with FileSet(force=self.force) as files:
            for path in beside:
                if path.name.endswith(".labels.png"):
                    reports.write_picture(files.place(path), found.label_image())
                elif path.name.endswith(GRANDQC_ENDING):
                    reports.write_plain(files.place(path), reports.grandqc_labels(found))
                else:
                    drawn = reports.overview(eight_bit(image.pixels), found)
                    reports.write_picture(files.place(path), drawn)
            if output.suffix.lower() == ".geojson":
                content = reports.quality_annotations(found, self.classes, origin)
                reports.write_annotations(files.place(output), content)
            else:
                write_mask(files.place(output), found.mask(self.classes))
        return self._told(str(image.source), found), detection.notices

    def slide(self, source: Path, output: Path, mpp: float | None, advance: Advance) -> Told:
        """Search a whole slide."""
        from histomend.detect.learned import limits_for
        from histomend.detect.slides import search_slide
        from histomend.image import check_target
        from histomend.slides.whole import open_slide

        if output.suffix.lower() not in (".geojson", ".json"):
            raise SettingError(f"{output}: what is found on a whole slide is written as .geojson.")
        check_target(output, force=self.force, new_folder=True)
        limits = limits_for(self.detector, *self.limits)
        with open_slide(source, mpp=mpp) as opened:
            searched = search_slide(opened, detector=self.detector, limits=limits, progress=advance)
        searched.write(output, self.classes, force=self.force)
        return self._told(str(source), searched.found), searched.detection.notices

    def _told(self, name: str, found: Found) -> dict[str, Any]:
        """Keep the row of the table, and return what to show."""
        row = found.summary()
        self.rows.append({"image": name, **row})
        counts = Counter(region.kind for region in found.regions)
        return {
            "mpp": row["mpp"],
            "regions": row["regions"],
            "found": dict(counts),
            "artifact_share": row["artifact_share"],
            "restorable_share": row["restorable_share"],
        }
