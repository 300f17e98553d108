"""Verbs that trust nothing: undo and verify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from histomend.cli.options import AsJson, Force, Out
from histomend.cli.per_file import PerFile, for_each, is_alone
from histomend.cli.screen import answer, say
from histomend.errors import HistomendError, LedgerError, SettingError

if TYPE_CHECKING:
    from histomend.ledger import Record

Restored = Annotated[
    list[Path], typer.Argument(metavar="RESTORED...", help="Images that Histomend wrote.")
]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", help="Its ledger, if it does not lie beside it.")
]


def undo(
    restored: Restored,
    out: Out,
    ledger: LedgerFile = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Give back images as they were before they were restored, pixel for pixel.

    Of a whole slide the file comes back, byte for byte, and no ledger is needed.

    Example: histomend undo restored.png -o original.png
    """
    from histomend.image import FileSet, check_target, read_image, write_image
    from histomend.image.writing import check_format
    from histomend.jobs.companions import check_apart, record_of
    from histomend.jobs.outputs import pair_outputs
    from histomend.ledger import undo as original_pixels
    from histomend.slides.undo import holds_source
    from histomend.slides.undo import undo as original_slide

    pairs = pair_outputs(restored, out)
    records = {ledger or record_of(image): "the record" for image in pairs}
    check_apart(pairs, pairs.values(), others=records)

    def step(source: Path, _: PerFile) -> dict[str, Any]:
        output = pairs[source]
        if holds_source(source):
            if source.suffix.lower() in (".svs", ".dcm") and output.suffix == ".png":
                output = output.with_suffix(source.suffix.lower())  # in a folder of outputs
            sha256 = original_slide(source, output, force=force)
            return {"output": str(output), "sha256": sha256}
        check_format(output, lossy=False)
        check_target(output, force=force, new_folder=True)
        record = _record(source, ledger, len(pairs))
        if record.output.container is not None:
            raise LedgerError(
                f"{source}: was written without what was replaced, so that it cannot be undone. "
                f"What remains is the slide that it was made from, {record.source.name}."
            )
        image = read_image(source)
        pixels = original_pixels(record, image)
        about: dict[str, Any] = {"alpha": image.alpha, "icc": image.icc, "mpp": image.mpp}
        with FileSet(force=force) as files:
            write_image(files.place(output), pixels, **about)
        return {"output": str(output)}

    for_each(list(pairs), step, alone=is_alone(restored), as_json=as_json, failure="Not undone")


def verify(
    restored: Restored,
    ledger: LedgerFile = None,
    source: Annotated[
        Path | None,
        typer.Option(help="What it was made from, to compare with as well; a folder for several."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove that images are what their records say. Ends with 0 if so, and with 1 if not.

    Of a restored image it is proven that nothing outside the mask was changed.

    Example: histomend verify restored.png --source tissue.png
    """
    from histomend.jobs.inputs import is_folder, list_images
    from histomend.ledger import read_described
    from histomend.ledger import verify as compare
    from histomend.ledger.slides import verify_slide

    images = list_images(restored)
    if source is not None and not is_folder(source) and len(images) > 1:
        raise SettingError(
            f"--source {source} is one file, and there are {len(images)} images. Name a folder "
            "that holds the source of each, by the name in its record."
        )
    found: list[dict[str, Any]] = []
    failed = False
    for image in images:
        try:
            record = _record_or_slide(image, ledger, len(images))
            place = source
            if place is not None and is_folder(place):
                name = None if record is None else record.source.name
                place = place / (name or image.name)
            if record is None or record.output.container is not None:
                checked = verify_slide(image, record, place)
            else:
                original = None if place is None else read_described(record, place, source=True)
                checked = compare(record, read_described(record, image), original)
        except HistomendError as error:
            if len(images) == 1:
                raise
            say(str(error), title="Error", style="bold red")
            failed = True
            found.append({"restored": str(image), "ok": False, "error": str(error)})
            continue
        checks = [check._asdict() for check in checked.checks]
        found.append({"restored": str(image), "ok": checked.ok, "checks": checks})
        failed |= not checked.ok
        if not as_json:
            if len(images) > 1:
                typer.echo(image)
            for check in checked.checks:
                typer.echo(f"{'holds' if check.ok else 'FAILS'}  {check.name}: {check.message}")
    if as_json:
        answer(found[0] if len(images) == 1 else found)
    if failed:
        raise typer.Exit(1)


def _record_or_slide(image: Path, ledger: Path | None, images: int) -> Record | None:
    """Return the record of an output; None of a slide that was copied without it."""
    from histomend.jobs.companions import record_of
    from histomend.slides.undo import holds_source

    if ledger is None and not record_of(image).exists() and holds_source(image):
        return None
    return _record(image, ledger, images)


def _record(image: Path, ledger: Path | None, images: int) -> Record:
    from histomend.jobs.companions import record_of
    from histomend.ledger import Record

    if ledger is not None and images > 1:
        raise SettingError(f"--ledger {ledger} is one file, and there are {images} images.")
    return Record.read(ledger or record_of(image))
