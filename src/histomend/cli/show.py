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
    provenance: Annotated[
        bool,
        typer.Option("--provenance", help="Of a restored image: where its copies came from."),
    ] = False,
    force: Force = False,
) -> None:
    """Colour two channels of Raman histology like H&E, to look at; or show what was copied.

    With --provenance each piece of a restored image and its source have a colour of their own,
    and what the model drew is white; the record has to lie beside the image.

    Each channel is equalised: noise and empty places are stretched too, and the brightness of two
    pictures cannot be compared.
    """
    from histomend.image import check_output, write_image
    from histomend.image.display import shown
    from histomend.image.stack_files import read_stack
    from histomend.jobs.companions import check_apart, record_of

    check_output(out, force=force)
    check_apart([image], [out], others={record_of(image): "the record"})
    if provenance:
        _show_provenance(image, out, force=force)
        return
    stack = read_stack(image, axes=axes)
    for notice in stack.notices:
        say(notice, title=image.name)
    picture, chosen = shown(stack, plane)
    note = f"Histomend: {image.name}, plane {chosen}, in virtual H&E: equalised colours, to look at"
    write_image(out, picture, mpp=stack.mpp, note=note, force=force)
    if len(stack.values) > 1:
        say(f"Plane {chosen} of {len(stack.values)}, counted from 0, is in {out}")


def _show_provenance(image: Path, out: Path, *, force: bool) -> None:
    from histomend.errors import LedgerError
    from histomend.exemplar.picture import picture
    from histomend.exemplar.provenance import Provenance
    from histomend.image import read_image, write_image
    from histomend.jobs.companions import record_of
    from histomend.ledger import Record

    restored = read_image(image)
    record = Record.read(record_of(image)).provenance
    if record is None:
        raise LedgerError(
            f"{image}: nothing in it was copied, so that there is nothing to show. Copies are made "
            "by --preset exemplar."
        )
    shape = restored.pixels.shape
    shown = picture(Provenance.read(record, (shape[0], shape[1])), restored.pixels)
    note = f"Histomend: where the restored pixels of {image.name} came from"
    write_image(out, shown, mpp=restored.mpp, note=note, force=force)
    for kind, count in record["pixels"].items():
        say(f"{kind.replace('_', ' ')}: {count} px")
