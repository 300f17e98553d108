"""Options that several verbs share, each described in one place."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from histomend.errors import RegionError


class Preset(str, Enum):
    """How a model is sampled."""

    fast = "fast"
    exemplar = "exemplar"
    paper = "paper"
    author_code = "author_code"


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Image files or folders.")]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output file; a folder for several inputs.")]
Model = Annotated[
    str | None,
    typer.Option(metavar="NAME|FOLDER", help="A bundled model, or a folder with weights."),
]
Mpp = Annotated[
    float | None,
    typer.Option(help="Micrometres per pixel, where the file does not say or is wrong."),
]
Region = Annotated[
    str | None, typer.Option(metavar="X,Y,W,H", help="Only this part, in pixels of the image.")
]
Axes = Annotated[
    str | None, typer.Option(help="Order of the axes, if the file does not say: ZCYX.")
]
Steps = Annotated[int | None, typer.Option(min=1, help="Sampling steps, instead of the preset's.")]
Sampler = Annotated[
    str | None,
    typer.Option(help="ddpm, ddim, dpmpp_2m or dpmpp_2m_sde, instead of the preset's."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Force = Annotated[bool, typer.Option("--force", help="Replace outputs that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


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
