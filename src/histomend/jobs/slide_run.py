"""Carries out a job on a whole slide: part by part, each an image like any other.

While a part goes through the network, the next one is read and the one before is written. What is
finished lies in a journal beside the output, so that a job that was killed goes on where it was,
and ends in the same bytes.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import torch

import histomend
from histomend.errors import JobError, OutputError, display_name
from histomend.exemplar.sheet import Field
from histomend.image import Image, write_atomically
from histomend.image.reading import file_sha256
from histomend.jobs.companions import RECORD, is_one_of, left_over, name_beside, record_of
from histomend.jobs.engines import given_threads
from histomend.jobs.job import Mask
from histomend.jobs.journal import Journal, begun_writing, journal_of
from histomend.jobs.progress import Advance
from histomend.jobs.run import Progress, displayed
from histomend.jobs.slide_elsewhere import find_elsewhere
from histomend.jobs.slide_engine import Earlier, Finished, SlideEngine, in_order
from histomend.jobs.slide_job import FOUND, SlideJob, found_beside
from histomend.jobs.slide_parts import read_part, restore_part, work_on_part
from histomend.jobs.waiting import Awaited
from histomend.ledger import Record
from histomend.ledger.slides import SlideAccount
from histomend.slides.dicom_sink import DicomSink
from histomend.slides.slide_sink import (
    DICOM,
    PYRAMID,
    ZARR,
    AppendedSink,
    PyramidSink,
    SlideSink,
    check_place,
)
from histomend.slides.whole import Slide, open_slide
from histomend.tiles.seams import bare_notice
from histomend.tiles.slide_plan import SlidePart

_log = logging.getLogger(__name__)
_Start: TypeAlias = "Callable[[SlidePart], Callable[[], Finished]]"


@dataclass(frozen=True)
class SlideResult:
    """What became of a slide.

    Parameters
    ----------
    output : Path
        The restored slide.
    record : Record
        What was done; written beside it.
    """

    output: Path
    record: Record


def execute_slide(
    job: SlideJob,
    *,
    progress: Progress | None = None,
    engine: SlideEngine | None = None,
    awaited: Awaited | None = None,
) -> SlideResult:
    """Carry out a job, or go on with it where it was killed.

    Parameters
    ----------
    engine : SlideEngine or None
        Who restores the parts; this process unless given. The slide has the same bytes.
    progress : function of (masked pixels done, masked pixels in all), or True, optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.
    awaited : Awaited or None
        Waits for another process that works on the output; without it that is an error.

    Raises
    ------
    JobError
        Another process works on it; finished parts are of a job with other inputs; the slide was
        changed.
    OutputError
        The output exists, or the disk is too small.
    ResourceError
        There is too little memory.
    UnreadableImageError
        The slide is damaged in a place that is needed.
    """
    work = partial(_executed, job, progress, engine)
    if awaited is None:
        return work()
    return awaited.carried_out(job.identity(), work, partial(result_of, job.writing.target))


def _executed(job: SlideJob, progress: Progress | None, engine: SlideEngine | None) -> SlideResult:
    target = job.writing.target
    check_free(target, force=job.writing.force)
    with (
        displayed(progress, job.path.name, "masked px") as advance,
        open_slide(job.path, mpp=job.source.mpp, sha256=job.source.sha256) as slide,
        Journal(journal_of(target), job.identity()) as journal,
    ):
        if journal.finished and target.exists():
            return already_done(target, journal)
        check_disk(target.parent, job.disk_bytes())
        beside, found = name_beside(target), found_beside(target)
        if job.found is not None:
            _write_found(job.found, found, journal.folder)
        account = SlideAccount(job.source, job.size)
        with closing(_sink(job, slide, again=begun_writing(journal.folder))) as sink:
            _SlideRun(job, slide, sink, journal, advance or _nothing, engine).parts(account)
            journal.begin_writing()
            written = sink.finish(_fields(job), journal.folder)
        bare = sum(window["bare_glass"] for window in account.windows)
        said = (bare_notice(bare, len(account.windows)),) if bare else ()
        record = account.record(
            written,
            lossy=job.container == PYRAMID and job.writing.lossy,
            method=job.options.method,
            model=job.model,
            options=job.repeats,
            settings={
                "preset": job.options.preset,
                **job.settings,
                "device": str(job.device),
                "threads": given_threads(),
                "torch": torch.__version__,
            },
            seed=job.options.seed,
            notices=(*job.notices, *said),
        )
        if job.options.detected:
            record = replace(record, maps={"mask": file_sha256(found)})
        write_record(record, target, beside, keep=job.mask_file)
        journal.remove()
    return SlideResult(target, record)


def write_record(record: Record, target: Path, beside: str, *, keep: Path | None = None) -> None:
    """Write the record of a slide, and remove what lies there of the one that it replaces.

    Parameters
    ----------
    beside : what names of files beside the slide begin with
    keep : a mask that was read, and so stays
    """
    path = target.with_name(f"{beside}.{RECORD}")
    found = target.with_name(f"{beside}.{FOUND}")
    stays = record.maps or (keep is not None and is_one_of(found, [keep]))
    if found.exists() and not stays:
        for old in left_over(path, {"mask": found})[0]:
            old.unlink()
    record.write(path, force=True)


def check_free(target: Path, *, force: bool, new_folder: bool = False) -> None:
    """Fail if there is an output already that the job may not replace.

    What an earlier run of the same job wrote before it was killed may be replaced.

    Parameters
    ----------
    new_folder : bool
        The folder will be made if it is not there.

    Raises
    ------
    OutputError
    """
    if not (target.exists() and begun_writing(journal_of(target))):
        check_place(target, force=force, new_folder=new_folder)


def already_done(target: Path, journal: Journal) -> SlideResult:
    """Return the result of a job that was killed when all was done but for its journal.

    Raises
    ------
    LedgerError
        The record was removed since.
    """
    result = result_of(target)
    journal.remove()
    return result


def result_of(target: Path) -> SlideResult:
    """Return a result that is there.

    Raises
    ------
    LedgerError
        The record was removed since.
    """
    return SlideResult(target, Record.read(record_of(target)))


def _nothing(done: int, of: int) -> None:
    """Tell nobody."""


def _write_found(data: bytes, target: Path, through: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomically(target, write, through=through)


def check_disk(folder: Path, needed: int) -> None:
    """Fail if a folder, which may not be there yet, has no room for so many bytes.

    Raises
    ------
    OutputError
    """
    there = next((place for place in (folder, *folder.parents) if place.is_dir()), folder)
    free = shutil.disk_usage(there).free
    if free < needed:
        raise OutputError(
            f"{folder}: {needed / 1e9:.1f} GB are needed there, and {free / 1e9:.1f} GB are free. "
            "Free some space, or choose another folder for the output."
        )


def _sink(job: SlideJob, slide: Slide, *, again: bool) -> SlideSink:
    writing, force = job.writing, job.writing.force or again
    if job.container in (PYRAMID, ZARR):
        of_tiff = {
            "lossless": not writing.lossy,
            "beside": {} if writing.drop else slide.reader.beside(),
        }
        return PyramidSink(
            slide.reader.read,
            writing.target,
            job.size,
            job.source.pixels.dtype,
            job.container,
            mpp=job.source.mpp,
            icc=job.source.icc,
            name=job.path.name,
            force=force,
            **({} if job.container == ZARR else of_tiff),
        )
    if job.container == DICOM:
        return DicomSink(job.path, writing.target, sha256=job.source.sha256 or "", force=force)
    return AppendedSink(
        job.path,
        writing.target,
        sha256=job.source.sha256 or "",
        force=force,
        compacted=writing.compact,
        drop=writing.drop,
    )


def _fields(job: SlideJob) -> dict[str, str]:
    """Return what the description of the slide says: nothing that changes from run to run."""
    fields = {
        "Restored by": f"Histomend {histomend.__version__}",
        "Restored method": job.options.method,
        "Restored pixels": str(job.plan.masked_px),
    }
    if job.model is not None and job.model.get("sha256"):
        fields["Restored with model"] = str(job.model["sha256"])
    if job.container in (PYRAMID, ZARR):
        fields |= {"Source SHA-256": job.source.sha256 or ""}
    return fields


class _SlideRun:
    """The parts of one slide on their way."""

    def __init__(
        self,
        job: SlideJob,
        slide: Slide,
        sink: SlideSink,
        journal: Journal,
        advance: Advance,
        engine: SlideEngine | None,
    ) -> None:
        self._job, self._slide, self._sink = job, slide, sink
        self._journal, self._advance, self._engine = journal, advance, engine
        self._done_px = 0

    def parts(self, account: SlideAccount) -> None:
        """Restore all parts that are not finished, and hand all of them to the sink."""
        with (
            ThreadPoolExecutor(1) as self._reading,
            ThreadPoolExecutor(1) as self._writing,
            self._starts() as start,
        ):
            self._all(account, start)

    def _all(self, account: SlideAccount, start: _Start) -> None:
        plan = self._job.plan
        finished = sum(self._journal.has(part.key) for part in plan.parts)
        if finished:
            said = display_name(self._job.path), finished, len(plan.parts)
            _log.info("%s: goes on with %d of %d parts done", *said)
        ahead = 2 if self._engine is None else self._engine.ahead
        put: set[str] = set()
        writes: list[Future[None]] = []

        def ready(part: SlidePart) -> bool:
            return put.issuperset(part.after)

        done = in_order(plan.parts, self._journal, start, ahead, ready)
        for part, row, found in zip(plan.parts, plan.rows_done(), done, strict=True):
            arrays, report = found
            account.add(report)
            for write in writes:  # at most one part waits to be written
                write.result()
            writes = [self._writing.submit(self._put, part, arrays, row)]
            put.add(part.key)
            self._done_px += part.masked_px
            self._advance(self._done_px, plan.masked_px)
        for write in writes:
            write.result()

    @contextmanager
    def _starts(self) -> Iterator[_Start]:
        """Give what begins a part: here, or by the engine; both keep it when it is finished."""
        if self._engine is None:
            yield self._begun_here
            return
        with self._engine.serving(self._job, work_on_part) as begin:
            yield lambda part: begin(part, self._earlier(part), partial(self._keep, part)).result

    def _begun_here(self, part: SlidePart) -> Callable[[], Finished]:
        earlier = self._earlier(part)
        read = self._reading.submit(read_part, self._job, self._slide, part)

        def finish() -> Finished:
            found = self._restored(part, *read.result(), earlier)
            self._keep(part, found)
            return found

        return finish

    def _keep(self, part: SlidePart, found: Finished) -> None:
        self._writing.submit(self._journal.put, part.key, *found).result()

    def _earlier(self, part: SlidePart) -> Earlier:
        """Return what became of the parts that one comes after."""
        if not part.after:
            return None
        return self._writing.submit(self._sink.composed, part.region).result()

    def _put(self, part: SlidePart, arrays: dict[str, Any], row: int) -> None:
        pixels, mask = arrays["pixels"], arrays["mask"]
        if mask.shape != part.core[:1:-1] or pixels.shape[:2] != mask.shape:
            raise JobError(
                f"{self._journal.folder}: the part {part.key} is not one of this job. Remove the "
                "folder to begin anew."
            )
        self._sink.put(part.core, pixels, mask)
        self._sink.settle(row)

    def _restored(self, part: SlidePart, image: Image, mask: Mask, earlier: Earlier) -> Finished:
        def advance(parts: int, of: int) -> None:
            share = parts / max(of, 1)
            self._advance(self._done_px + int(share * part.masked_px), self._job.plan.masked_px)

        def elsewhere() -> tuple[Field, ...]:
            # All reading is done by one thread.
            read = self._reading.submit(find_elsewhere, self._job, self._slide, part)
            return read.result()

        return restore_part(self._job, part, image, mask, earlier, elsewhere, advance)
