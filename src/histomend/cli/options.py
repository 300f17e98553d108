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


def option(about: str, panel: str, *names: str, **more: Any) -> Any:
    """Return an option with its help and the panel that it is listed in."""
    return typer.Option(*names, help=about, rich_help_panel=panel, **more)


def one_of(names: Callable[[], Sequence[str]], about: str, panel: str = METHOD) -> Any:
    """Return an option that takes one of some names, which the help and the shell know.

    Parameters
    ----------
    names : function -> the names; called when they are needed, as methods may be added.
    about : help, in which {} stands for the names.
    """

    def parse(text: str) -> str:
        if text not in names():
            raise typer.BadParameter(f"{text!r} is none of {', '.join(names())}.")
        return text

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete)]

    listed = about.format(", ".join(names()))
    return option(listed, panel, parser=parse, metavar="NAME", autocompletion=complete)


def method_of(task: str) -> Any:
    """Return the option that takes a method of a task."""
    about = "; ".join(f"{name}: {METHODS[name].about}" for name in methods_of(task))
    return one_of(lambda: methods_of(task), f"{about}.")


def preset_of(task: str) -> Any:
    """Return the option that takes a preset of a task's methods."""
    about = "How the method samples: {}; see `histomend presets`."
    return one_of(lambda: presets_of(task), about, SAMPLING)


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Image files or folders.")]
Out = Annotated[Path, option("Output file; a folder for several inputs.", FILES, "-o", "--out")]
Model = Annotated[
    str | None,
    option("A bundled model, or a folder with weights.", METHOD, metavar="NAME|FOLDER"),
]
Mpp = Annotated[
    float | None, option("Micrometres per pixel, where the file does not say or is wrong.", FILES)
]
Region = Annotated[
    str | None, option("Only this part, in pixels of the image.", FILES, metavar="X,Y,W,H")
]
Axes = Annotated[str | None, option("Order of the axes, if the file does not say: ZCYX.", FILES)]
Steps = Annotated[int | None, option("Sampling steps, instead of the preset's.", SAMPLING, min=1)]
Sampler = Annotated[
    str | None, one_of(lambda: SAMPLERS, "Instead of the preset's sampler: {}.", SAMPLING)
]
Seed = Annotated[int, option("The same seed gives the same result.", SAMPLING, min=0)]
Device = Annotated[str, option("auto, cpu, cuda, cuda:1 or mps.", MACHINE)]
Batch = Annotated[
    int,
    option("Windows or groups of tiles at a time; does not change the result.", MACHINE, min=1),
]
Engine = Annotated[
    str,
    one_of(
        lambda: ("local", "ray"),
        "Who works on whole slides: {}. The result is the same; see docs/guides/clusters.md.",
        MACHINE,
    ),
]
Wait = Annotated[
    bool,
    option(
        "If another process works on the same slide, wait until it is done, rather than fail.",
        MACHINE,
        "--wait",
    ),
]
RayAddress = Annotated[
    str | None,
    option(
        "A Ray cluster, such as head:6379, or auto; else Ray is started on this machine.",
        MACHINE,
        "--ray-address",
        metavar="ADDRESS",
    ),
]
Lossy = Annotated[bool, option("Allow a .jpg output.", FILES, "--lossy")]
Force = Annotated[bool, option("Replace outputs that exist.", FILES, "--force")]
DryRun = Annotated[bool, option("Say what would be done, and do nothing.", MACHINE, "--dry-run")]
AsJson = Annotated[bool, option("Print the result as JSON.", MACHINE, "--json")]


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
