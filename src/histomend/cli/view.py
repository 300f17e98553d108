"""The verb that opens a page to look, compare, draw and run: view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import FILES, MACHINE, Device, option
from histomend.cli.screen import say
from histomend.errors import MissingDependencyError, SettingError

Port = Annotated[int, option("Port on this machine; 0 for a free one.", MACHINE, min=0, max=65535)]
Browser = Annotated[
    bool, option("Open it in the browser at once.", MACHINE, "--browser/--no-browser")
]


def view(
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IN...]", help="Images, stacks, slides, or folders of them."),
    ] = None,
    before: Annotated[
        Path | None, option("What was worked on, to compare --after with.", FILES)
    ] = None,
    after: Annotated[
        list[Path] | None, option("What came of it; may be given several times.", FILES)
    ] = None,
    out: Annotated[
        Path | None,
        option(
            "Folder for results; by default `histomend` beside the first.", FILES, "-o", "--out"
        ),
    ] = None,
    model: Annotated[
        list[Path] | None, option("Folder of weights that the page may use.", FILES)
    ] = None,
    device: Device = "auto",
    port: Port = 0,
    browser: Browser = True,
) -> None:
    """Open a page to look at images, compare them, draw masks, and restore.

    A result is shown with what it was made of, its mask and its record, if they lie beside it.
    The page is served to this machine only, at an address that nobody can guess, and reaches no
    file but those that were named and what it makes. End it with Ctrl+C; jobs that were not
    finished go on when it is started again.

    Example: histomend view restored.png
    """
    require_web()
    from histomend.image.reading import SLIDE_FILES
    from histomend.jobs.inputs import IMAGE_SUFFIXES, list_images
    from histomend.web.desk import Desk
    from histomend.web.server import serve, view_app
    from histomend.web.work import Bench

    if (before is None) != (not after):
        raise SettingError("--before and --after go together: name what is to be compared.")
    if not inputs and before is None:
        raise SettingError("Name what to look at: files, a folder, or --before and --after.")
    named = list_images(inputs or [], (*IMAGE_SUFFIXES, *SLIDE_FILES))
    pair = [] if before is None else list_images([before, *(after or [])])
    folder = out if out is not None else (pair or named)[0].parent / "histomend"
    desk = Desk([path.absolute() for path in named], [path.absolute() for path in pair])
    models = {path.name: path.absolute() for path in model or []}
    bench = Bench(desk, folder.absolute(), models, device)
    serve(view_app(bench), port, lambda address: opened(address, browser=browser))


def opened(address: str, *, browser: bool) -> None:
    """Say where a page is, and open it."""
    import webbrowser

    say(f"{address}  (Ctrl+C ends it)", title="Open")
    if browser:
        webbrowser.open(address)


def require_web() -> None:
    """Fail if what serves pages is not installed.

    Raises
    ------
    MissingDependencyError
    """
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f'A page needs {" and ".join(missing)}: pip install "histomend[web]"'
        )
