"""The verb that runs the papers' tables and figures again: reproduce."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.evaluate import weights_named
from histomend.cli.options import FILES, MACHINE, METHOD, AsJson, Device, option
from histomend.cli.screen import answer, say, table
from histomend.errors import HistomendError, SettingError

if TYPE_CHECKING:
    from histomend.evaluate.papers.reproduction import Reproduced
    from histomend.evaluate.papers.setting import Setting

_SCALES = "tiny, small, paper"


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME...", help="Of --list; all: every one, in turn."),
    ] = None,
    listed: Annotated[bool, option("List the names.", FILES, "--list")] = False,
    scale: Annotated[
        str,
        option(
            "How much is computed: tiny (seconds, figures mean nothing), small (minutes to an hour "
            "on a CPU), paper (its data and a GPU).",
            METHOD,
            metavar=_SCALES.replace(", ", "|"),
        ),
    ] = "small",
    data: Annotated[
        Path | None,
        option(
            "Folder with the data sets; else HISTOMEND_DATA. made-up: drawn tissue, for tiny.",
            FILES,
        ),
    ] = None,
    out: Annotated[
        Path, option("Folder for the tables (reproduced.md) and a page each.", FILES, "-o", "--out")
    ] = Path("reproduced"),
    cache: Annotated[
        Path | None, option("Folder for what was computed; in the output's unless given.", FILES)
    ] = None,
    weights: Annotated[
        list[str] | None,
        option(
            "Weights of a measure, MEASURE=PATH; can be repeated.", METHOD, metavar="MEASURE=PATH"
        ),
    ] = None,
    published: Annotated[
        list[str] | None,
        option(
            "Weight file of a published upscaler, NAME=FILE: a further row of Histo-Diffusion's "
            "tables; can be repeated.",
            METHOD,
            metavar="NAME=FILE",
        ),
    ] = None,
    device: Device = "cpu",
    threads: Annotated[int, option("PyTorch's threads.", MACHINE, min=1)] = 1,
    as_json: AsJson = False,
) -> None:
    """Run a table or figure of the four papers again, beside what the paper prints.

    Trains what must be trained, keeps what was computed, and goes on after a stop. Says why the
    figures can or cannot be compared, and where ours loses.

    Example: histomend reproduce rscd-table2 --data DATA; histomend reproduce --list
    """
    from histomend.evaluate.papers import NAMES, chosen

    if listed:
        if as_json:
            answer({name: known.about for name, known in NAMES.items()})
            return
        table(("name", "what it shows"), [(name, known.about) for name, known in NAMES.items()])
        return
    if not names:
        raise SettingError("Name what to reproduce, or list what there is: reproduce --list.")
    wanted = chosen(names)
    setting = _setting(scale, data, cache or out / "cache", device, weights or [], published or [])
    import torch

    from histomend.evaluate.papers import reproduce as run
    from histomend.evaluate.papers.page import write_reproduced

    torch.set_num_threads(threads)
    found: list[dict[str, Any]] = []
    failed = None
    for number, name in enumerate(wanted, 1):
        say(f"{name} ({number} of {len(wanted)})")
        try:
            done = run(name, setting)
        except HistomendError as error:
            if len(wanted) == 1:
                raise
            # What one name lacks does not keep the others from being run.
            failed = failed or error
            found.append({"name": name, "error": str(error), "kind": type(error).__name__})
            say(f"{name}: {error}", title="Error", style="bold red")
            continue
        written = write_reproduced(out, done)
        found.append(done.as_json() | {"page": str(written)})
        if not as_json:
            _show(done)
            say(f"{written}")
    if as_json:
        answer(found if len(wanted) > 1 else found[0])
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def _setting(
    scale: str,
    data: Path | None,
    cache: Path,
    device: str,
    weights: list[str],
    published: list[str],
) -> Setting:
    from histomend.diffusion.device import torch_device
    from histomend.evaluate.harness.datasets import Data
    from histomend.evaluate.papers.setting import SCALES, Setting

    if scale not in SCALES:
        raise SettingError(f"No scale is called {scale!r}. There are {', '.join(SCALES)}.")
    places = weights_named(weights)
    rows = {}
    for text in published:
        title, equals, file = text.partition("=")
        if not (title and equals and file):
            raise SettingError(f"--published {text!r}: give NAME=FILE, as in Real-ESRGAN=x4.pth.")
        rows[title] = file
    where = str(torch_device(device))
    return Setting(SCALES[scale], Data(data), cache, where, places, rows, tell=say)


def _show(done: Reproduced) -> None:
    typer.echo(f"\n{done.title}")
    for paragraph in (*done.behind, done.comparable):
        typer.echo(paragraph)
    # Intervals, tests and notes stand in the files.
    first = done.tables[0]
    table(
        first.header,
        [[cell.split(" (")[0] if n else cell for n, cell in enumerate(row)] for row in first.rows],
    )
