"""Verbs that work on files one after the other; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from histomend.cli.failures import named
from histomend.cli.screen import answer, facts, say
from histomend.errors import HistomendError
from histomend.jobs.progress import ProgressDisplay

if TYPE_CHECKING:
    from histomend.cli.slides import WholeSlides
    from histomend.jobs.outputs import Output


class PerFile:
    """What became of each file.

    Parameters
    ----------
    sources : files
    alone : bool
        Whether there is one file that was named: then its error is the verb's.
    """

    def __init__(self, sources: Sequence[Path], *, alone: bool):
        self.records: dict[Path, dict[str, Any]] = {
            source: {"source": str(source)} for source in sources
        }
        self.alone = alone
        self._said: set[str] = set()

    def attempt(self, source: Path, step: Callable[[], dict[str, Any] | None]) -> bool:
        """Take a file one step further, and return whether that worked."""
        try:
            self.records[source] |= step() or {}
        except Exception as error:
            if self.alone:
                raise
            known = named(error)
            text = str(known) if known else f"{source}: {type(error).__name__}: {error}"
            say(text, title="Error" if known else "Unexpected error", style="bold red")
            self.records[source] |= {
                "error": str(known or error),
                "kind": type(known or error).__name__,
            }
            return False
        return True

    def notice(self, source: Path, text: str) -> None:
        """Tell the user something, once for all files."""
        if text not in self._said:
            self._said.add(text)
            say(text, title=source.name)

    def end(self, *, as_json: bool, failure: str) -> None:
        """Print all records as JSON if wanted, and fail if a file did.

        Parameters
        ----------
        failure : str
            What the files that failed are called, for instance "Not restored".
        """
        if as_json:
            answer(list(self.records.values()))
        failed = [record["source"] for record in self.records.values() if "error" in record]
        if failed:
            say(f"{len(failed)} of {len(self.records)} files: {', '.join(failed)}", title=failure)
            raise typer.Exit(HistomendError.exit_code)


def for_each(
    sources: Sequence[Path],
    step: Callable[[Path, PerFile], dict[str, Any]],
    *,
    alone: bool,
    as_json: bool,
    failure: str,
    end: Callable[[], None] = lambda: None,
) -> None:
    """Take one step with each file, and show what came of it; `end` comes after the last one."""
    files, display = PerFile(sources, alone=alone), ProgressDisplay(len(sources))
    for number, source in enumerate(sources, 1):
        if files.attempt(source, partial(step, source, files)) and not as_json:
            facts(files.records[source].items())
        display.finished(number)
    end()
    files.end(as_json=as_json, failure=failure)


@dataclass(frozen=True)
class Files:
    """The files of a verb, and what may be done to them.

    Parameters
    ----------
    inputs : files and folders
    outputs : list of Output
        See `histomend.jobs.outputs.plan_outputs`.
    maps : names of what is written beside each
    force, lossy, dry_run, as_json : bool
        As the options of these names.
    """

    inputs: Sequence[Path]
    outputs: Sequence[Output]
    maps: tuple[str, ...] = ()
    force: bool = False
    lossy: bool = False
    dry_run: bool = False
    as_json: bool = False

    @property
    def alone(self) -> bool:
        """Whether one file was named."""
        return is_alone(self.inputs)


def say_passed_over(inputs: Sequence[Path], *, slides: bool = False) -> None:
    """Tell what is in the folders that were named and is not worked on."""
    from histomend.jobs.inputs import IMAGE_SUFFIXES, WITH_SLIDES, passed_over

    for said in passed_over(inputs, WITH_SLIDES if slides else IMAGE_SUFFIXES):
        say(said, title="Notice")


def check_all_apart(outputs: Sequence[Output], maps: Sequence[str]) -> None:
    """Fail if something that is read for one output would be replaced by any of them.

    Raises
    ------
    OutputError
    """
    from histomend.jobs.companions import check_apart

    check_apart(
        (output.source for output in outputs),
        (path for output in outputs for path in output.files(maps)),
        others={output.mask: "the mask" for output in outputs if output.mask is not None},
    )


def is_alone(inputs: Sequence[Path]) -> bool:
    """Return whether one file was named."""
    from histomend.jobs.inputs import is_folder

    return len(inputs) == 1 and not is_folder(inputs[0])


def carry_out(
    task: str,
    files: Files,
    *,
    failure: str,
    options: dict[str, Any],
    of: Callable[[Output], dict[str, Any]] = lambda _: {},
    slides: WholeSlides | None = None,
) -> None:
    """Restore, denoise or upscale files.

    Parameters
    ----------
    slides : what works on whole slides, if something does
    options : dict
        Of `histomend.methods.decide.decide`, the same for all files.
    of : function of Output -> further options, for one file
    """
    run = PerFile([output.source for output in files.outputs], alone=files.alone)
    say_passed_over(files.inputs, slides=slides is not None)
    outputs = list(files.outputs)
    check_all_apart(outputs, files.maps)
    if slides is not None:
        whole = [output for output in outputs if slides.takes(output, run)]
        outputs = [output for output in outputs if output not in whole]
        slides.carry_out(whole, run, files)
    # Before anything is computed or imported: the outputs may exist already.
    check = {"force": files.force, "lossy": files.lossy}
    outputs = [
        output
        for output in outputs
        if run.attempt(output.source, partial(output.check, files.maps, **check))
    ]
    if outputs:
        from histomend.jobs.run import execute
        from histomend.methods import method_named
        from histomend.methods.decide import decide
        from histomend.methods.loading import model_for

        info = method_named(task, options["method"])
        # Loaded once for all files, if it does not depend on them.
        loaded = model_for(info, options["model"], options["device"])
        options = {**options, "model": loaded if loaded is not None else options["model"]}

        display = ProgressDisplay(len(outputs))

        read = [path for o in files.outputs for path in (o.source, o.mask) if path is not None]

        def tell_left_over(output: Output, maps: Sequence[str]) -> None:
            ours, others = output.left_over(maps, read)
            for path in ours:
                said = f"{path} is of the result that is replaced, and goes with it."
                run.notice(output.source, said)
            for path in others:
                said = f"{path} is not of this call, and stays. Remove it if you need it no more."
                run.notice(output.source, said)

        def work(output: Output) -> dict[str, Any]:
            job = decide(task, output.source, **options, **of(output))
            output.check_job(job)
            if files.dry_run:
                tell_left_over(output, files.maps)
                return {"output": str(output.image), **job.describe()}
            with display.file(output.source.name) as advance:
                result = execute(job, progress=advance)
            for notice in result.record.notices:
                run.notice(output.source, notice)
            tell_left_over(output, result.maps())
            written = output.write(result, force=files.force, lossy=files.lossy, read=read)
            return {**written, "nfe": result.record.nfe, **result.record.figures}

        for output in outputs:
            if run.attempt(output.source, partial(work, output)) and not files.as_json:
                facts(run.records[output.source].items())
    run.end(as_json=files.as_json, failure=failure)
