"""Options that several verbs share, each described in one place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.errors import RegionError
from histomend.methods import METHODS, SAMPLERS, methods_of, presets_of

FILES, METHOD, SAMPLING, MACHINE = "Input and output", "Method", "Sampling", "Machine"
"""Panels of the help."""


def one_of(names: Callable[[], Sequence[str]], about: str, panel: str = METHOD) -> Any:
    """Return an option that takes one of some names, which the help and the shell know.

    Parameters
    ----------
    names : function -> the names; called when they are needed, as methods may be added.
    """

    def parse(text: str) -> str:
        if text not in names():
            raise typer.BadParameter(f"{text!r} is none of {', '.join(names())}.")
        return text

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    choices = "|".join(names())
    return typer.Option(
        help=about,
        parser=parse,
        metavar=f"[{choices}]",
        autocompletion=complete,
        rich_help_panel=panel,
    )


def method_of(task: str) -> Any:
    """Return the option that takes a method of a task."""
    about = "; ".join(f"{name}: {METHODS[name].about}" for name in methods_of(task))
    return one_of(lambda: methods_of(task), f"{about}.")


def preset_of(task: str) -> Any:
    """Return the option that takes a preset of a task's methods."""
    return one_of(
        lambda: presets_of(task), "How the method samples; see `histomend presets`.", SAMPLING
    )


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Image files or folders.")]
Out = Annotated[
    Path,
    typer.Option(
        "-o", "--out", help="Output file; a folder for several inputs.", rich_help_panel=FILES
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FOLDER",
        help="A bundled model, or a folder with weights.",
        rich_help_panel=METHOD,
    ),
]
Mpp = Annotated[
    float | None,
    typer.Option(
        help="Micrometres per pixel, where the file does not say or is wrong.",
        rich_help_panel=FILES,
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="X,Y,W,H", help="Only this part, in pixels of the image.", rich_help_panel=FILES
    ),
]
Axes = Annotated[
    str | None,
    typer.Option(help="Order of the axes, if the file does not say: ZCYX.", rich_help_panel=FILES),
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, help="Sampling steps, instead of the preset's.", rich_help_panel=SAMPLING),
]
Sampler = Annotated[
    str | None, one_of(lambda: SAMPLERS, "Instead of the preset's sampler.", SAMPLING)
]
Seed = Annotated[
    int, typer.Option(min=0, help="The same seed gives the same result.", rich_help_panel=SAMPLING)
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", rich_help_panel=MACHINE)
]
Batch = Annotated[
    int,
    typer.Option(
        min=1,
        help="Windows or groups of tiles at a time; does not change the result.",
        rich_help_panel=MACHINE,
    ),
]
Lossy = Annotated[bool, typer.Option("--lossy", help="Allow a .jpg output.", rich_help_panel=FILES)]
Force = Annotated[
    bool, typer.Option("--force", help="Replace outputs that exist.", rich_help_panel=FILES)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would be done, and do nothing.", rich_help_panel=MACHINE
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=MACHINE)
]


def parse_region(text: str | None) -> tuple[int, int, int, int] | None:
    """Read a region from "x,y,w,h".

    Raises
    ------
    RegionError
        If these are not four whole numbers.
    """
    if text is None:
        return None
    try:
        x, y, w, h = (int(part) for part in text.split(","))
    except ValueError as error:
        raise RegionError(
            f"--region {text!r} is not four whole numbers. Write x,y,w,h in pixels, for instance "
            "--region 1000,2000,512,512."
        ) from error
    return x, y, w, h
