"""Carries out a job on a whole slide: part by part, each an image like any other.

While a part goes through the network, the next one is read and the one before is written. What is
finished lies in a journal beside the output, so that a job that was killed goes on where it was,
and ends in the same bytes.
"""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

import histomend
from histomend.errors import JobError, OutputError
from histomend.image import Image, Intensity, check_target, write_atomically
from histomend.jobs.companions import record_of
from histomend.jobs.engines import given_threads
from histomend.jobs.job import Mask, Pixels
from histomend.jobs.journal import Journal, begun_writing, journal_of
from histomend.jobs.progress import Advance
from histomend.jobs.run import Progress, displayed, execute
from histomend.jobs.slide_job import SlideJob, found_beside
from histomend.ledger import Record
from histomend.ledger.slides import SlideAccount, part_report
from histomend.slides.slide_sink import PYRAMID, AppendedSink, PyramidSink, SlideSink
from histomend.slides.source import ArraySource
from histomend.slides.whole import Slide, open_slide
from histomend.tiles.seams import bare_notice, fill_smoothly
from histomend.tiles.slide_plan import SlidePart

_log = logging.getLogger(__name__)
# Other artifacts are covered with colours of their surroundings, which need no detail.
_COARSE = 8


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


def execute_slide(job: SlideJob, *, progress: Progress | None = None) -> SlideResult:
    """Carry out a job, or go on with it where it was killed.

    Parameters
    ----------
    progress : function of (masked pixels done, masked pixels in all), or True, optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.

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
    target = job.writing.target
    with (
        displayed(progress, job.path.name, "masked px") as advance,
        open_slide(job.path, mpp=job.source.mpp, sha256=job.source.sha256) as slide,
        Journal(journal_of(target), job.identity()) as journal,
    ):
        check_free(target, force=job.writing.force)
        _check_disk(job)
        if job.found is not None:
            _write_found(job.found, target, journal.folder)
        account = SlideAccount(job.source, job.size)
        with closing(_sink(job, slide, again=begun_writing(journal.folder))) as sink:
            _SlideRun(job, slide, sink, journal, advance or _nothing).parts(account)
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
        record.write(record_of(target), force=True)
        journal.remove()
    return SlideResult(target, record)


def check_free(target: Path, *, force: bool) -> None:
    """Fail if there is an output already that the job may not replace.

    What an earlier run of the same job wrote before it was killed may be replaced.

    Raises
    ------
    OutputError
    """
    if not (target.exists() and begun_writing(journal_of(target))):
        check_target(target, force=force)


def _nothing(done: int, of: int) -> None:
    """Tell nobody."""


def _write_found(data: bytes, target: Path, through: Path) -> None:
    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomically(found_beside(target), write, through=through)


def _check_disk(job: SlideJob) -> None:
    folder = job.writing.target.parent
    free, needed = shutil.disk_usage(folder).free, job.disk_bytes()
    if free < needed:
        raise OutputError(
            f"{folder}: {needed / 1e9:.1f} GB are needed there, and {free / 1e9:.1f} GB are free. "
            "Free some space, or choose another folder for the output."
        )


def _sink(job: SlideJob, slide: Slide, *, again: bool) -> SlideSink:
    writing, force = job.writing, job.writing.force or again
    if job.container == PYRAMID:
        return PyramidSink(
            slide.reader.read,
            writing.target,
            job.size,
            job.source.pixels.dtype,
            mpp=job.source.mpp,
            icc=job.source.icc,
            name=job.path.name,
            lossless=not writing.lossy,
            force=force,
        )
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
    if job.container == PYRAMID:
        fields |= {"Source SHA-256": job.source.sha256 or ""}
    return fields


class _SlideRun:
    """The parts of one slide on their way."""

    def __init__(
        self, job: SlideJob, slide: Slide, sink: SlideSink, journal: Journal, advance: Advance
    ) -> None:
        self._job, self._slide, self._sink = job, slide, sink
        self._journal, self._advance = journal, advance
        self._done_px = 0

    def parts(self, account: SlideAccount) -> None:
        """Restore all parts that are not finished, and hand all of them to the sink."""
        parts = self._job.plan.parts
        finished = [self._journal.has(part.key) for part in parts]
        if any(finished):
            _log.info(
                "%s: goes on with %d of %d parts done", self._job.path, sum(finished), len(parts)
            )
        with ThreadPoolExecutor(1) as reading, ThreadPoolExecutor(1) as writing:
            todo = [part for part, done in zip(parts, finished, strict=True) if not done]
            ahead: dict[str, Future[tuple[Image, Mask]]] = {}
            writes: list[Future[None]] = []
            for part, row in zip(parts, self._job.plan.rows_done(), strict=True):
                found = self._journal.get(part.key)
                if found is None:
                    for each in todo[:2]:
                        if each.key not in ahead:
                            ahead[each.key] = reading.submit(self._read, each)
                    read = ahead.pop(part.key, None) or reading.submit(self._read, part)
                    earlier = None
                    if part.after:
                        earlier = writing.submit(self._sink.composed, part.region).result()
                    found = self._restored(part, *read.result(), earlier)
                    writing.submit(self._journal.put, part.key, *found).result()
                todo = [each for each in todo if each is not part]
                arrays, report = found
                account.add(report)
                for write in writes:  # at most one part waits to be written
                    write.result()
                writes = [writing.submit(self._put, part, arrays, row)]
                self._done_px += part.masked_px
                self._advance(self._done_px, self._job.plan.masked_px)
            for write in writes:
                write.result()

    def _read(self, part: SlidePart) -> tuple[Image, Mask]:
        return self._slide.part(part.region), self._job.mask.read(part.region)

    def _put(self, part: SlidePart, arrays: dict[str, Any], row: int) -> None:
        pixels, mask = arrays["pixels"], arrays["mask"]
        if mask.shape != part.core[:1:-1] or pixels.shape[:2] != mask.shape:
            raise JobError(
                f"{self._journal.folder}: the part {part.key} is not one of this job. Remove the "
                "folder to begin anew."
            )
        self._sink.put(part.core, pixels, mask)
        self._sink.settle(row)

    def _restored(
        self, part: SlidePart, image: Image, mask: Mask, earlier: tuple[Pixels, Mask] | None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Restore a part; return its core with the mask, and what is to be said of it."""
        own, done = part.own(mask), part.finished(mask)
        avoid = mask & ~own
        pixels = image.pixels
        if earlier is not None:
            put = done & earlier[1]
            pixels = np.where(put[..., None], earlier[0], pixels)
            done = put
        else:
            done = np.zeros_like(mask)
        pixels = _covered(pixels, avoid & ~done)
        source = ArraySource(replace(image, pixels=pixels))
        options = replace(
            self._job.options,
            seed=part.seed(self._job.options.seed),
            avoid=avoid if avoid.any() else None,
        )
        decided = self._job.decide(source, own, options)

        def advance(parts: int, of: int) -> None:
            share = parts / max(of, 1)
            self._advance(self._done_px + int(share * part.masked_px), self._job.plan.masked_px)

        result = execute(decided, progress=advance)
        report = part_report(result.record, part.region)
        # Of all windows of the slide it is said at the end.
        bare = sum(window["bare_glass"] for window in report["windows"])
        own_notice = bare_notice(bare, len(report["windows"]))
        report["notices"] = [text for text in report["notices"] if text != own_notice]
        x, y, w, h = part.core
        left, top = x - part.region[0], y - part.region[1]
        place = np.s_[top : top + h, left : left + w]
        within = own[place]
        kept = np.where(within[..., None], result.pixels[place], 0)
        return {"pixels": kept.astype(image.pixels.dtype), "mask": within}, report


def _covered(pixels: Pixels, hidden: Mask) -> Pixels:
    """Return pixels where other artifacts are covered with the colours around them.

    They are neither tissue to be seen by a network nor restored here.
    """
    if not hidden.any():
        return pixels
    intensity = Intensity.for_dtype(pixels.dtype)
    few = np.s_[_COARSE // 2 :: _COARSE, _COARSE // 2 :: _COARSE]
    values = np.asarray(intensity.encode(pixels[few]), np.float32)
    smooth = fill_smoothly(values, hidden[few])
    rows, columns = np.nonzero(hidden)
    there = np.minimum(rows // _COARSE, smooth.shape[0] - 1)
    across = np.minimum(columns // _COARSE, smooth.shape[1] - 1)
    out = pixels.copy()
    out[rows, columns] = intensity.decode(smooth[there, across].clip(-1, 1), pixels.dtype)
    return out
