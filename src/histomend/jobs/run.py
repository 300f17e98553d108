"""Carries out a job, and accounts for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from histomend.errors import display_name
from histomend.image import Image
from histomend.image.stacks import Stack, original_order
from histomend.jobs.engines import run_stage, threads_of
from histomend.jobs.job import Job, Mask, Outcome
from histomend.jobs.progress import Advance, ProgressDisplay
from histomend.ledger import Record, build_record
from histomend.slides.sink import ArraySink

Progress = Advance | bool
"""Called with (parts done, parts in all); or True to show a bar."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Result:
    """What `restore`, `denoise` and `upscale` return.

    Parameters
    ----------
    image : Image or Stack
        The new pixels, with what is known of the file.
    record : Record
        What was done.
    source : Image or Stack
    mask : (H, W) bool or None
        What was restored; None where the whole image was worked on.
    uncertainty : (H, W) float32 or None
        Standard deviation of the samples' pixel values, mean over channels, as a fraction of
        the file type's range; 0 outside the mask. None for a single sample.
    t_map : (H, W) or (Z, H, W) float32 or None
        At which step of diffusion each place was taken to be: how degraded it is. Where it
        rounds to 0, the pixels are those of the image. None for methods that know no t.
    control : (H, W, 3) or None
        What the autoencoder makes of the cleaned image that steered the diffusion, if it was
        asked for (Histo-Diffusion's Fig. 5).
    """

    image: Image | Stack
    record: Record
    source: Image | Stack
    mask: Mask | None = None
    uncertainty: npt.NDArray[np.float32] | None = None
    t_map: npt.NDArray[np.float32] | None = None
    control: npt.NDArray[Any] | None = None

    @property
    def pixels(self) -> npt.NDArray[Any]:
        """The new pixels, an array of the shape and type of the one that was given."""
        return original_order(self.image)

    def save(
        self, path: str | Path, *, force: bool = False, lossy: bool = False
    ) -> Mapping[str, str]:
        """Write the image, its record and its maps beside it; return where each is.

        Raises
        ------
        SettingError, OutputError
        """
        from histomend.jobs.outputs import Output

        output = Output(Path(path))
        output.check(self.maps(), force=force, lossy=lossy)
        return output.write(self, force=force, lossy=lossy)

    def maps(self) -> list[str]:
        """Return the names of the maps that lie beside the image."""
        held = {"uncertainty": self.uncertainty, "t_map": self.t_map, "control": self.control}
        found = [name for name, array in held.items() if array is not None]
        return [*(["mask"] if self.record.settings.get("detected") else []), *found]

    def _repr_png_(self) -> bytes:
        """Return before and after side by side, as notebooks show it."""
        from histomend.jobs.preview import before_and_after

        return before_and_after(self.source, self.image)

    def __repr__(self) -> str:
        record, pixels = self.record, self.pixels
        shape = "×".join(str(side) for side in pixels.shape)
        return f"<{record.task} by {record.method}: {shape} {pixels.dtype}, {record.nfe} calls>"


def execute(job: Job, *, progress: Progress | None = None) -> Result:
    """Carry out a job.

    Parameters
    ----------
    progress : function of (parts done, parts in all), or True, optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.

    Raises
    ------
    ResourceError
        There is too little memory.
    """
    with displayed(progress, job.task) as advance:
        return _carry_out(job, advance)


def displayed(
    progress: Progress | None, name: str, unit: str = "parts"
) -> AbstractContextManager[Advance | None]:
    """Return what tells how far work has come: a bar of its own, or the function of a user."""
    if progress is True:
        return ProgressDisplay(unit=unit).file(name)
    return nullcontext(progress or None)


def _carry_out(job: Job, advance: Advance | None) -> Result:
    lock, done = threading.Lock(), 0

    def tick() -> None:
        nonlocal done
        with lock:
            done += 1
            if advance is not None:
                advance(done, job.parts)

    size = job.output
    if job.mask is None:
        sink = ArraySink.empty(size.planes, size.height, size.width, size.channels, size.dtype)
    else:
        sink = ArraySink(job.source.values.copy())
    carry: Any = None
    threads = 1
    for make in job.stages:
        stage = make(carry)
        threads = threads_of(stage)
        carry = stage.place(run_stage(stage, job.device, job.options.batch, tick), sink)
    outcome: Outcome = carry
    for notice in outcome.notices:
        _log.info("%s: %s", display_name(job.source.where), display_name(notice))
    figures = dict(outcome.figures)
    if job.measure is not None:
        figures |= job.measure(job.source.values, sink.values)
    image = job.source.like(sink.values, size.mpp)
    record = build_record(
        job.task,
        job.source.about,
        image,
        method=job.options.method,
        model=job.model,
        options=job.repeats,
        settings={
            "preset": job.options.preset,
            **job.settings,
            "device": str(job.device),
            "threads": threads,
            "torch": torch.__version__,
        },
        seed=job.options.seed,
        nfe=outcome.nfe,
        units=job.units,
        windows=job.windows,
        figures=figures,
        mask=job.mask,
        uncertainty=outcome.uncertainty,
        notices=(*job.notices, *outcome.notices),
        provenance=outcome.provenance,
    )
    return Result(
        image,
        record,
        job.source.about,
        job.mask,
        outcome.uncertainty,
        outcome.t_map,
        outcome.control,
    )
