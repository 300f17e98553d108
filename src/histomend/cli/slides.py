"""Whole slides among the files of a verb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from histomend.cli.screen import facts
from histomend.errors import SettingError
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.cli.per_file import Files, PerFile
    from histomend.jobs.outputs import Output


@dataclass(frozen=True)
class WholeSlides:
    """What works on whole slides.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"
    options : dict
        Of `histomend.methods.slides.decide_slide` or `decide_slide_field`, apart from files.
    traced : bool
        Whether the states on the way are asked for, which only images have.
    """

    task: str
    options: dict[str, Any]
    traced: bool = False

    def takes(self, output: Output, run: PerFile) -> bool:
        """Tell whether the source of an output is a slide; of what is unreadable, too."""
        from histomend.slides.whole import is_worked_on_by_parts

        found = False

        def look() -> None:
            nonlocal found
            found = is_worked_on_by_parts(output.source, self.task)
            asked = [name for name in ("compact", "no_label") if self.options.get(name)]
            if asked and not found:
                name = asked[0].replace("_", "-")
                raise SettingError(f"{output.source}: is no whole slide. Leave --{name} away.")
            if found and self.traced:
                raise SettingError(
                    f"{output.source}: --trace is for images. Take a part of the slide: --region."
                )

        return not run.attempt(output.source, look) or found

    def carry_out(self, outputs: Sequence[Output], run: PerFile, files: Files) -> None:
        """Restore slides, one after the other."""
        unit = "masked px" if self.task == "restore" else "blocks"
        display = ProgressDisplay(len(outputs), unit)
        for output in outputs:
            if "error" in run.records[output.source]:
                continue
            step = partial(self._work, _named(output), run, files, display)
            if run.attempt(output.source, step) and not files.as_json:
                facts(run.records[output.source].items())

    def _work(
        self, output: Output, run: PerFile, files: Files, display: ProgressDisplay
    ) -> dict[str, Any]:
        from histomend.image.replacing import make_folder
        from histomend.jobs.slide_fields import execute_slide_field
        from histomend.jobs.slide_run import check_free, execute_slide
        from histomend.methods.slides import decide_slide, decide_slide_field

        if not files.dry_run:
            make_folder(output.image.parent)
            check_free(output.image, force=files.force)
        paths = output.source, output.image
        if self.task == "restore":
            job = decide_slide(*paths, output.mask, **self.options)
            work = partial(execute_slide, job)
        else:
            field = decide_slide_field(self.task, *paths, **self.options)
            work = partial(execute_slide_field, field)
        if files.dry_run:
            described = job.describe() if self.task == "restore" else field.describe()
            return {"output": str(output.image), **described}
        with display.file(output.source.name) as advance:
            result = work(progress=advance)
        for notice in result.record.notices:
            run.notice(output.source, notice)
        return {
            "output": str(result.output),
            "record": str(output.record),
            "nfe": result.record.nfe,
            **result.record.figures,
        }


def _named(output: Output) -> Output:
    """Give a slide in a folder of outputs the suffix of a slide."""
    if output.image.suffix != ".png" or output.image.stem != output.source.stem:
        return output
    suffix = ".svs" if output.source.suffix.lower() == ".svs" else ".tif"
    return replace(output, image=output.image.with_suffix(suffix))
