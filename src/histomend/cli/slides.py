"""Whole slides among the files of a verb."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from histomend.cli.screen import facts
from histomend.errors import SettingError
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.cli.per_file import Files, PerFile
    from histomend.jobs.outputs import Output
    from histomend.jobs.ray_engine import RayEngine


@dataclass(frozen=True)
class WholeSlides:
    """What works on whole slides.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"
    options : dict
        Of `histomend.methods.slides.decide_slide` or `decide_slide_field`, apart from files.
    engine : "local" or "ray"
    ray_address : str or None
        Of a cluster.
    wait : bool
        Wait for another process that works on the same output.
    traced : bool
        Whether the states on the way are asked for, which only images have.
    """

    task: str
    options: dict[str, Any]
    engine: str = "local"
    ray_address: str | None = None
    wait: bool = False
    traced: bool = False

    def takes(self, output: Output, run: PerFile) -> bool:
        """Tell whether the source of an output is a slide; of what is unreadable, too."""
        from histomend.slides.whole import is_worked_on_by_parts

        found = False

        def look() -> None:
            nonlocal found
            found = is_worked_on_by_parts(output.source, self.task)
            asked = [name for name in ("compact", "no_label") if self.options.get(name)]
            asked += ["engine ray"] if self.engine == "ray" else []
            asked += ["wait"] if self.wait else []
            if asked and not found:
                name = asked[0].replace("_", "-")
                raise SettingError(f"{output.source}: is no whole slide. Leave --{name} away.")
            if found and self.traced:
                raise SettingError(
                    f"{output.source}: --trace is for images. Take a part of the slide: --region."
                )

        return not run.attempt(output.source, look) or found

    def carry_out(self, outputs: Sequence[Output], run: PerFile, files: Files) -> None:
        """Work on slides, one after the other, or all by the same workers."""
        unit = "masked px" if self.task == "restore" else "blocks"
        display = ProgressDisplay(len(outputs), unit)
        wanted = [output for output in outputs if "error" not in run.records[output.source]]
        with ExitStack() as stack, self._workers(wanted, files) as engine:

            def work(output: Output) -> bool:
                step = partial(self._work, _named(output), run, files, display, engine)
                return run.attempt(output.source, step)

            worked: Iterable[bool] = map(work, wanted)
            if engine is not None and len(wanted) > 1:
                # Slides share the workers, so that none waits while a slide is put together.
                pool = ThreadPoolExecutor(engine.workers + 1)
                stack.callback(pool.shutdown, wait=False, cancel_futures=True)
                worked = pool.map(work, wanted)
            for number, (output, done) in enumerate(zip(wanted, worked, strict=True), 1):
                if engine is not None:
                    display.finished(number)
                if done and not files.as_json:
                    facts(run.records[output.source].items())

    @contextmanager
    def _workers(self, outputs: Sequence[Output], files: Files) -> Iterator[RayEngine | None]:
        if self.engine != "ray" or files.dry_run or not outputs:
            yield None
            return
        from histomend.jobs.ray_engine import RayEngine

        with RayEngine(self.ray_address, self.options["device"]) as engine:
            yield engine

    def _work(
        self,
        output: Output,
        run: PerFile,
        files: Files,
        display: ProgressDisplay,
        engine: RayEngine | None,
    ) -> dict[str, Any]:
        from histomend.image.places import kept_if_filled
        from histomend.jobs.slide_run import check_free

        if files.dry_run:
            check_free(output.image, force=files.force, new_folder=True)
            return self._worked(output, run, files, display, engine)
        with kept_if_filled(output.image.parent):
            check_free(output.image, force=files.force)
            return self._worked(output, run, files, display, engine)

    def _worked(
        self,
        output: Output,
        run: PerFile,
        files: Files,
        display: ProgressDisplay,
        engine: RayEngine | None,
    ) -> dict[str, Any]:
        from histomend.jobs.companions import record_of
        from histomend.jobs.slide_fields import execute_slide_field
        from histomend.jobs.slide_job import found_beside
        from histomend.jobs.slide_run import check_disk, execute_slide
        from histomend.jobs.waiting import Awaited
        from histomend.methods.slides import decide_slide, decide_slide_field

        paths = output.source, output.image
        tell = partial(run.notice, output.source)
        awaited = Awaited(output.image, tell) if self.wait and not files.dry_run else None
        if self.task == "restore":
            job = decide_slide(*paths, output.mask, **self.options)
            work = partial(execute_slide, job, engine=engine, awaited=awaited)
        else:
            field = decide_slide_field(self.task, *paths, **self.options)
            work = partial(execute_slide_field, field, engine=engine, awaited=awaited)
        if files.dry_run:
            described = job.describe() if self.task == "restore" else field.describe()
            check_disk(output.image.parent, described["disk_bytes"])
            return {"output": str(output.image), **described}
        # Of slides that are worked on side by side it is told how many are done.
        alone = engine is None or display.files == 1
        with display.file(output.source.name) if alone else nullcontext() as advance:
            result = work(progress=advance)
        for notice in result.record.notices:
            run.notice(output.source, notice)
        found = found_beside(result.output)
        if found.exists() and found != output.mask and not result.record.maps:
            said = f"{found} is not of this call, and stays. Remove it if you need it no more."
            run.notice(output.source, said)
        return {
            "output": str(result.output),
            "record": str(record_of(result.output)),
            "nfe": result.record.nfe,
            **result.record.figures,
        }


def _named(output: Output) -> Output:
    """Give a slide in a folder of outputs the suffix of a slide."""
    if output.image.suffix != ".png" or output.image.stem != output.source.stem:
        return output
    suffix = ".svs" if output.source.suffix.lower() == ".svs" else ".tif"
    return replace(output, image=output.image.with_suffix(suffix))


def whole_slides(
    task: str,
    options: dict[str, Any],
    *,
    region: object,
    engine: str,
    ray_address: str | None,
    wait: bool,
    traced: bool = False,
) -> WholeSlides | None:
    """Return what works on whole slides; None where a region of each is an image.

    Raises
    ------
    SettingError
        What is only for whole slides was asked for with a region, or an address without Ray.
    """
    if ray_address is not None and engine != "ray":
        raise SettingError("--ray-address is for --engine ray. Add it, or leave the address away.")
    if region is None:
        return WholeSlides(task, options, engine, ray_address, wait, traced)
    if options.get("compact") or options.get("no_label"):
        raise SettingError("--compact and --no-label are for whole slides. Leave --region away.")
    if engine == "ray":
        raise SettingError("--engine ray is for whole slides. Leave --region away, or the engine.")
    if wait:
        raise SettingError("--wait is for whole slides. Leave --region away, or the waiting.")
    return None
