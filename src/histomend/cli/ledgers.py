"""Verbs that trust nothing: undo and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import AsJson, Force
from histomend.cli.screen import answer, say

Restored = Annotated[Path, typer.Argument(metavar="RESTORED", help="An image restored earlier.")]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", help="Its ledger, if it does not lie beside it.")
]


def undo(
    restored: Restored,
    out: Annotated[Path, typer.Option("-o", "--out", help="File for the image as it was.")],
    ledger: LedgerFile = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Give back the image as it was before it was restored, pixel for pixel."""
    from histomend.files import ledger_of, make_folder
    from histomend.image import check_output, read_image, write_image
    from histomend.ledger import Ledger
    from histomend.ledger import undo as original_pixels

    make_folder(out.parent)
    check_output(out, force=force, source=restored)
    image = read_image(restored)
    pixels = original_pixels(Ledger.read(ledger or ledger_of(restored)), image)
    write_image(out, pixels, alpha=image.alpha, icc=image.icc, mpp=image.mpp, force=force)
    if as_json:
        answer({"restored": str(restored), "output": str(out)})
    else:
        say(f"{out} holds the pixels that {restored} was made from.")


def verify(
    restored: Restored,
    ledger: LedgerFile = None,
    source: Annotated[
        Path | None, typer.Option(help="The image it was made from, to compare with as well.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that nothing outside the mask was changed. Ends with 0 if so, and with 1 if not."""
    from histomend.files import ledger_of
    from histomend.image import read_image
    from histomend.ledger import Ledger
    from histomend.ledger import verify as compare

    record = Ledger.read(ledger or ledger_of(restored))
    original = None if source is None else read_image(source, region=record.source.region)
    found = compare(record, read_image(restored), original)
    if as_json:
        answer({"ok": found.ok, "checks": [check._asdict() for check in found.checks]})
    else:
        for check in found.checks:
            typer.echo(f"{'holds' if check.ok else 'FAILS'}  {check.name}: {check.message}")
    if not found.ok:
        raise typer.Exit(1)
