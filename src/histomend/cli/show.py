"""The verb that makes pictures to look at: show."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import Axes, Force
from histomend.cli.screen import say


def show(
    image: Annotated[Path, typer.Argument(metavar="IN", help="Image or z-stack of CH2 and CH3.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Picture to write: .png or .tif.")],
    plane: Annotated[
        int | None, typer.Option(help="Of a z-stack, from 0; by default the middle one.")
    ] = None,
    axes: Axes = None,
    force: Force = False,
) -> None:
    """Colour two channels of Raman histology like H&E, to look at.

    Each channel is equalised: noise and empty places are stretched too, and the brightness of two
    pictures cannot be compared.
    """
    from histomend.image import check_output, write_image
    from histomend.image.display import shown
    from histomend.image.stack_files import read_stack

    check_output(out, force=force, source=image)
    stack = read_stack(image, axes=axes)
    for notice in stack.notices:
        say(notice, title=image.name)
    picture, chosen = shown(stack, plane)
    note = f"Histomend: {image.name}, plane {chosen}, in virtual H&E: equalised colours, to look at"
    write_image(out, picture, mpp=stack.mpp, note=note, force=force)
    if len(stack.values) > 1:
        say(f"Plane {chosen} of {len(stack.values)}, counted from 0, is in {out}")
