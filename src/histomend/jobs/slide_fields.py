"""Whole slides that are denoised or enlarged: block by block, into a new slide."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch

import histomend
from histomend.errors import JobError
from histomend.image import Image
from histomend.jobs.companions import name_beside
from histomend.jobs.engines import given_threads
from histomend.jobs.job import Job, Pixels
from histomend.jobs.journal import Journal, journal_of
from histomend.jobs.progress import Advance
from histomend.jobs.run import Progress, displayed, execute
from histomend.jobs.slide_engine import Earlier, Finished, SlideEngine, in_order
from histomend.jobs.slide_job import Writing
from histomend.jobs.slide_run import (
    SlideResult,
    already_done,
    check_disk,
    check_free,
    result_of,
    write_record,
)
from histomend.jobs.waiting import Awaited
from histomend.ledger import NOTES, OutputRecord, Record, SourceRecord
from histomend.ledger.schema import plain
from histomend.slides.ome_zarr import write_ome_zarr
from histomend.slides.pyramid import TILE, write_pyramid
from histomend.slides.slide_sink import ZARR
from histomend.slides.tile_folders import slide_sha256
from histomend.slides.whole import Slide, open_slide
from histomend.tiles.slide_blocks import Block, Blocks

Decide = Callable[[Image, int], Job]
"""Decides what is done to a block of a slide that is in memory, with a seed."""


@dataclass(frozen=True)
class SlideFieldJob:
    """Everything decided before the first network call.

    Parameters
    ----------
    task : "denoise" or "upscale"
    source : Image
        What is known of the slide.
    size : (width, height)
    container : str
        How it is written: `PYRAMID` or `ZARR` of `histomend.slides.slide_sink`.
    factor : int
        By which it is enlarged.
    writing : Writing
    decide : Decide
    method : str
    seed : int
    device : torch.device
    model : dict or None
    options : dict
        Those that give the same again.
    notices : tuple of str
    """

    task: str
    source: Image
    size: tuple[int, int]
    container: str
    factor: int
    writing: Writing
    decide: Decide
    method: str
    seed: int
    device: torch.device
    model: dict[str, Any] | None
    options: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The slide."""
        return Path(self.source.source or "")

    @property
    def blocks(self) -> Blocks:
        """What is worked on at a time."""
        return Blocks(self.size, self.factor)

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel of the result."""
        return None if self.source.mpp is None else self.source.mpp / self.factor

    def identity(self) -> dict[str, Any]:
        """Return all that the bytes of the result depend on, for the journal."""
        return {
            "the slide": self.source.sha256,
            "the task": self.task,
            "the method": self.method,
            "the model": None if self.model is None else self.model.get("sha256"),
            "the seed": self.seed,
            "the kind of output": self.container,
            "JPEG allowed": self.writing.lossy,
            **{f"the option {name}": value for name, value in self.options.items()},
            "the device": str(self.device),
            "the number of threads": given_threads(),
            "the version of Histomend": histomend.__version__,
            "the version of PyTorch": torch.__version__,
            "the version of imagecodecs": imagecodecs.__version__,
        }

    def disk_bytes(self) -> int:
        """Return about how much disk is needed in all, the source not counted."""
        raw = 3 * self.size[0] * self.size[1] * self.factor**2
        return int(2.4 * raw * self.source.pixels.dtype.itemsize)

    def describe(self) -> dict[str, Any]:
        """Return what would be done, for `--dry-run`."""
        return {
            "task": self.task,
            "method": self.method,
            "model": None if self.model is None else self.model.get("name"),
            "width": self.size[0] * self.factor,
            "height": self.size[1] * self.factor,
            "mpp": self.mpp,
            "written": self.container,
            **self.options,
            "units": len(self.blocks.all()),
            "disk_bytes": self.disk_bytes(),
            "notices": list(self.notices),
        }


def execute_slide_field(
    job: SlideFieldJob,
    *,
    progress: Progress | None = None,
    engine: SlideEngine | None = None,
    awaited: Awaited | None = None,
) -> SlideResult:
    """Carry out a job, or go on with it where it was killed.

    Parameters
    ----------
    progress : function of (blocks done, blocks in all), or True, optional
    engine : SlideEngine or None
        Who works on the blocks; this process unless given. The slide has the same bytes.
    awaited : Awaited or None
        As of `execute_slide`.

    Raises
    ------
    JobError, OutputError, ResourceError, UnreadableImageError
        As of `execute_slide`.
    """
    work = partial(_executed, job, progress, engine)
    if awaited is None:
        return work()
    return awaited.carried_out(job.identity(), work, partial(result_of, job.writing.target))


def _executed(
    job: SlideFieldJob, progress: Progress | None, engine: SlideEngine | None
) -> SlideResult:
    target, blocks = job.writing.target, job.blocks.all()
    check_free(target, force=job.writing.force)
    with (
        displayed(progress, job.path.name, "blocks") as advance,
        open_slide(job.path, mpp=job.source.mpp, sha256=job.source.sha256) as slide,
        Journal(journal_of(target), job.identity()) as journal,
    ):
        if journal.finished and target.exists():
            return already_done(target, journal)
        check_disk(target.parent, job.disk_bytes())
        nfe, notices = 0, dict.fromkeys(job.notices)
        reports = _blocks(job, slide, journal, blocks, engine, advance)
        for done, report in enumerate(reports, 1):
            nfe += report["nfe"]
            notices |= dict.fromkeys(report["notices"])
            if advance is not None:
                advance(done, len(blocks))
        journal.begin_writing()
        _write(job, journal)
        record = _record(job, nfe, len(blocks), tuple(notices))
        write_record(record, target, name_beside(target))
        journal.remove()
    return SlideResult(target, record)


def _blocks(
    job: SlideFieldJob,
    slide: Slide,
    journal: Journal,
    blocks: Sequence[Block],
    engine: SlideEngine | None,
    advance: Advance | None,
) -> Iterator[dict[str, Any]]:
    """Work on all blocks that are not finished; give the report of each, in their order."""
    keeping = threading.Lock()

    def keep(block: Block, found: Finished) -> None:
        with keeping:
            journal.put(block.key, *found)

    def here(block: Block) -> Callable[[], Finished]:
        def finish() -> Finished:
            # Told within a block too, so that whoever listens can end the job there.
            at = blocks.index(block)
            tick = None if advance is None else partial(_still, advance, at, len(blocks))
            found = _worked_on(job, slide, block, tick)
            keep(block, found)
            return found

        return finish

    if engine is None:
        for _, report in in_order(blocks, journal, here, 1):
            yield report
        return
    with engine.serving(job, _work_on_block) as begin:

        def there(block: Block) -> Callable[[], Finished]:
            return begin(block, None, partial(keep, block)).result

        for _, report in in_order(blocks, journal, there, engine.ahead):
            yield report


def _work_on_block(job: SlideFieldJob, slide: Slide, block: Block, earlier: Earlier) -> Finished:
    """Work on a block, which depends on no other."""
    return _worked_on(job, slide, block, None)


def _still(advance: Advance, done: int, blocks: int, *_: int) -> None:
    advance(done, blocks)


def _worked_on(job: SlideFieldJob, slide: Slide, block: Block, tick: Advance | None) -> Finished:
    image = replace(slide.part(block.read), region=None)
    result = execute(job.decide(image, job.seed), progress=tick)
    pixels = np.asarray(result.pixels)
    x, y, w, h = (side * job.factor for side in block.kept)
    left, top = x - block.read[0] * job.factor, y - block.read[1] * job.factor
    kept = pixels[top : top + h, left : left + w]
    slices = {str(row // TILE): kept[row : row + TILE] for row in range(0, h, TILE)}
    return slices, {"nfe": result.record.nfe, "notices": list(result.record.notices)}


def _write(job: SlideFieldJob, journal: Journal) -> None:
    blocks, dtype = job.blocks, job.source.pixels.dtype

    def part(block: Block, start: int, stop: int) -> Pixels:
        top = block.kept[1] * job.factor
        first, last = (start - top) // TILE, (stop - top - 1) // TILE
        found = journal.arrays(block.key, [str(number) for number in range(first, last + 1)])
        if found is None:
            raise JobError(
                f"{journal.folder}: the block {block.key} is damaged. Start again: it is done anew."
            )
        return np.concatenate(found)[start - top - first * TILE : stop - top - first * TILE]

    write = (
        write_ome_zarr
        if job.container == ZARR
        else partial(write_pyramid, lossless=not job.writing.lossy)
    )
    write(
        job.writing.target,
        (job.size[0] * job.factor, job.size[1] * job.factor),
        lambda start, stop: blocks.rows(start, stop, part, dtype),
        mpp=job.mpp,
        dtype=dtype,
        icc=job.source.icc,
        name=job.path.name,
        fields={
            "Made by": f"Histomend {histomend.__version__}",
            "Made by method": job.method,
            "Source SHA-256": job.source.sha256 or "",
        },
        force=True,
        through=journal.folder,
    )


def _record(job: SlideFieldJob, nfe: int, units: int, notices: tuple[str, ...]) -> Record:
    source, (width, height) = job.source, job.size
    dtype = source.pixels.dtype.name
    return Record(
        task=job.task,
        histomend=histomend.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source=SourceRecord(
            job.path.name, source.sha256, None, None, width, height, dtype, source.mpp,
            source.lossy, None,
        ),
        output=OutputRecord(
            None, width * job.factor, height * job.factor, dtype, job.mpp, job.writing.lossy,
            job.container, slide_sha256(job.writing.target),
        ),
        method=job.method,
        model=None if job.model is None else plain(job.model, "model"),
        options=plain(job.options, "options"),
        settings={
            "device": str(job.device), "threads": given_threads(), "torch": torch.__version__,
        },
        seed=job.seed,
        nfe=nfe,
        units=units,
        windows=(),
        regions=(),
        figures={},
        notices=notices,
        note=NOTES[job.task],
    )  # fmt: skip
