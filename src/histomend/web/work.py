"""From what was drawn and chosen on the page to a job of the queue, and its result on the desk."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from histomend.errors import JobError, LedgerError, RegionError, SettingError
from histomend.image.pixels import MIN_SIDE, Region
from histomend.image.places import make_folder
from histomend.image.writing import write_text
from histomend.jobs.companions import record_of
from histomend.jobs.outputs import Output
from histomend.jobs.progress import Advance
from histomend.ledger import Record
from histomend.slides.whole import is_worked_on_by_parts
from histomend.web.companions import result_of
from histomend.web.desk import Desk, Item
from histomend.web.drawing import Drawn, as_geojson, box_of, polygons_of
from histomend.web.pyramid import Pyramid, SlidePyramid
from histomend.web.queue import DONE, WAITING, Entry, Queue
from histomend.web.wishes import Options, Task, check_model, command_line, output_path

MOST_SIDE_PX = 8192
"""Of the part of a slide that one job of the page works on."""
# Tissue around a mask that a restoration may copy from and fit to.
_AROUND_PX = 512


class Wish(BaseModel):
    """What somebody asks for on the page."""

    model_config = ConfigDict(extra="forbid")

    task: Task
    item: int
    drawing: list[Drawn] = Field(default_factory=list, max_length=20_000)
    region: tuple[int, int, int, int] | None = None
    whole: bool = False
    options: Options = Field(default_factory=Options)


class Bench:
    """Where the jobs of the page are made and done.

    Parameters
    ----------
    desk : Desk
    folder : Path
        Of the results.
    models : dict of name -> folder
        Beside the bundled ones.
    device : str
    """

    def __init__(
        self, desk: Desk, folder: Path, models: dict[str, Path] | None = None, device: str = "auto"
    ) -> None:
        self.desk, self.folder, self.models, self.device = desk, folder, models or {}, device
        self.queue = Queue(folder, self.carry_out)
        for entry in self.queue.entries:  # of an earlier run
            if entry.state == DONE and Path(entry.output).is_file():
                self._show(entry)

    def plan(self, wish: Wish) -> tuple[Entry, dict[str, Any] | None]:
        """Return the job of a wish, and the GeoJSON that becomes its mask.

        Raises
        ------
        InputError, ModelError
        """
        item = self.desk.item(wish.item)
        first = self.desk.pyramid(item, 0)
        options = wish.options.of(wish.task)
        check_model(options.get("model"), self.models)
        region = self._region(wish, item, first)
        drawn = None
        if wish.task == "restore":
            drawn = as_geojson(wish.drawing, first.width, first.height)
        # The command of the same name takes the same way.
        whole = region is None and is_worked_on_by_parts(item.path, wish.task)
        if whole and wish.task == "upscale":
            from histomend.methods.slides import slide_factor  # imports PyTorch

            slide_factor(item.path, options["scale"])
        taken = {Path(entry.output) for entry in self.queue.entries}
        output = output_path(self.folder, item.path, wish.task, taken, whole=whole)
        mask = None if drawn is None else output.with_name(f"{output.stem}.mask.geojson")
        shown = dict(options)
        if shown.get("model") in self.models:
            shown["model"] = self.models[shown["model"]]
        command = command_line(
            wish.task,
            item.path,
            output,
            mask=mask,
            region=region,
            options=shown,
            device=self.device,
        )
        entry = Entry(
            0,
            wish.task,
            str(item.path),
            str(output),
            command,
            None if mask is None else str(mask),
            region,
            whole,
            options,
        )
        return entry, drawn

    def _region(self, wish: Wish, item: Item, first: Pyramid) -> Region | None:
        """Return what part of an image is worked on; None for all of it."""
        slide = isinstance(first, SlidePyramid)
        if wish.whole:
            if not slide:
                raise SettingError(
                    f"{item.name} is no slide: all of it is worked on anyhow. Leave `whole` away."
                )
            return None
        region = None
        if slide and wish.task == "restore":
            region = box_of(wish.drawing, first.width, first.height, margin=_AROUND_PX)
        elif wish.region is not None:
            region = _inside(wish.region, first.width, first.height)
        elif slide:
            raise RegionError(
                f"{item.name} is a whole slide. Zoom in: what is then in view is worked on; or "
                "ask for the whole slide."
            )
        if region is not None:
            _check_size(region)
            if slide:
                region = _at_least(region, first.width, first.height)
        return region

    def ask(self, wish: Wish) -> Entry:
        """Put a wish into the queue.

        Raises
        ------
        InputError, ModelError, OutputError
        """
        entry, drawn = self.plan(wish)
        if drawn is not None and entry.mask is not None:
            make_folder(self.folder)
            write_text(Path(entry.mask), json.dumps(drawn), force=True)
        return self.queue.add(entry)

    def carry_out(self, entry: Entry, advance: Advance) -> None:
        """Do a job of the queue, write its result, and lay it on the desk.

        Raises
        ------
        HistomendError
        """
        source, output = Path(entry.source), Path(entry.output)
        if self.desk.of_path(source) is None:
            raise JobError(
                f"{source} is not open. Open it with `histomend view` and ask once more."
            )
        mask = None if entry.mask is None else Path(entry.mask)
        if not _is_written(output):  # a run that ended between the result and this line
            options = {**entry.options, "device": self.device, "mask": mask}
            if "model" in options:
                options["model"] = check_model(options["model"], self.models)
            if mask is None:
                del options["mask"]
            make = _make_slide if entry.whole else _make_image
            make(entry, options, advance)
        self._show(entry)

    def _show(self, entry: Entry) -> None:
        item = self.desk.of_path(Path(entry.source))
        path = Path(entry.output)
        if item is not None and all(version.path != path for version in item.versions):
            item.versions.append(result_of(path, in_source=True))

    def suggest(self, item: Item, region: Region | None) -> list[dict[str, Any]]:
        """Return what a detector takes for artifacts, as things drawn, the largest first.

        Raises
        ------
        InputError
        """
        from histomend.api import detect

        first = self.desk.pyramid(item, 0)
        if isinstance(first, SlidePyramid) or region is not None:
            region = _inside(region or (0, 0, 0, 0), first.width, first.height)
            _check_size(region)
            region = _at_least(region, first.width, first.height)
        mask = detect(item.path, region=region)
        return polygons_of(mask, (0, 0) if region is None else region[:2])


def _make_image(entry: Entry, options: dict[str, Any], advance: Advance) -> None:
    # Imported here, as PyTorch takes seconds, and looking does not need it.
    from histomend.jobs.run import execute
    from histomend.methods.decide import decide

    source = Path(entry.source)
    job = decide(entry.task, source, region=entry.region, **options)
    advance(0, job.parts)
    result = execute(job, progress=advance)
    target = Output(Path(entry.output), source, options.get("mask"))
    target.check(result.maps(), force=True, lossy=False)
    target.write(result, force=True)


def _make_slide(entry: Entry, options: dict[str, Any], advance: Advance) -> None:
    """Work on a slide as a whole; what an interrupted run finished is not done again."""
    from histomend.jobs.slide_fields import execute_slide_field
    from histomend.jobs.slide_run import check_free, execute_slide
    from histomend.methods.slides import decide_slide, decide_slide_field

    output = Path(entry.output)
    check_free(output, force=False)
    if entry.task == "restore":
        execute_slide(decide_slide(entry.source, output, **options), progress=advance)
        return
    job = decide_slide_field(entry.task, entry.source, output, **options)
    advance(0, len(job.blocks.all()))
    execute_slide_field(job, progress=advance)


def told(entry: Entry, desk: Desk) -> dict[str, Any]:
    """Return what the page needs to know of a job."""
    item = desk.of_path(Path(entry.source))
    stopped = entry.state == WAITING and item is None
    versions = [] if item is None else [version.path for version in item.versions]
    output = Path(entry.output)
    return {
        **asdict(entry),
        "name": Path(entry.source).name,
        "output_name": output.name,
        "folder": str(output.parent),
        "version": versions.index(output) if output in versions else None,
        "item": None if item is None else item.number,
        "state": "its image is not open" if stopped else entry.state,
    }


def _is_written(output: Path) -> bool:
    """Return whether a result is there; it is written last, after its record."""
    if not output.is_file():
        return False
    try:
        Record.read(record_of(output))
    except LedgerError:
        return False
    return True


def _inside(region: Region, width: int, height: int) -> Region:
    """Cut a region at the border of the image."""
    x, y, w, h = region
    left, top = max(0, x), max(0, y)
    right, bottom = min(width, x + w), min(height, y + h)
    if left >= right or top >= bottom:
        raise RegionError("Nothing of the image is in view. Press 0 to see all of it, or zoom in.")
    return left, top, right - left, bottom - top


def _check_size(region: Region) -> None:
    if max(region[2:]) > MOST_SIDE_PX:
        raise RegionError(
            f"{region[2]} x {region[3]} px are more than a job of the page takes at once "
            f"({MOST_SIDE_PX} px a side). Zoom in, or use the command line."
        )


def _at_least(region: Region, width: int, height: int) -> Region:
    """Grow a region that is smaller than what can be restored, within the image."""
    x, y, w, h = region
    wide, high = min(width, max(w, MIN_SIDE)), min(height, max(h, MIN_SIDE))
    return min(x, width - wide), min(y, height - high), wide, high
