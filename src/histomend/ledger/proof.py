"""Take a restoration back, and prove that an image is what its record says."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from histomend.errors import LedgerError
from histomend.exemplar.provenance import Provenance
from histomend.image import Image, decode_deep_png, pixels_sha256, read_image
from histomend.image.stack_input import stack_of
from histomend.image.stacks import Stack, original_order
from histomend.ledger.build import first_difference
from histomend.ledger.records import Change, Record

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_LOSSY = (
    "the file is lossily compressed (JPEG or the like), which changed pixels everywhere when it "
    "was written, so nothing can be proven of it. Restore to .png or .tif instead"
)


class Check(NamedTuple):
    """One thing that was checked: its name, whether it holds, and what was found."""

    name: str
    ok: bool
    message: str


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Parameters
    ----------
    ok : bool
        All checks hold.
    checks : tuple of Check
    """

    ok: bool
    checks: tuple[Check, ...]


def undo(record: Record, restored: Image | Stack) -> Pixels:
    """Put the original pixels back.

    Parameters
    ----------
    record : Record
    restored : Image
        The image that the ledger describes, unchanged since.

    Returns
    -------
    (H, W, 3) uint8 or uint16
        The source pixels, exactly.

    Raises
    ------
    LedgerError
        If the image is not the one that the ledger describes, or the ledger is damaged.
    """
    if record.task != "restore" or isinstance(restored, Stack):
        raise LedgerError(
            f"this record is of the task {record.task}, which worked on the whole image and "
            f"keeps no original pixels: what remains of it is the source, {record.source.name}."
        )
    different = _shape_problem(record, restored.pixels)
    if different:
        raise LedgerError(f"this ledger belongs to another image: {different}")
    if pixels_sha256(restored.pixels) != record.output.pixels_sha256:
        reason = _LOSSY if restored.lossy else "its pixels differ from those that were written"
        raise LedgerError(
            f"the image is not the one that the ledger describes: {reason}. Undo needs the "
            "restored file as it was written."
        )
    pixels, _ = _put_back(record, restored.pixels)
    if pixels_sha256(pixels) != record.source.pixels_sha256:
        raise LedgerError(
            "putting the original pixels back does not give the source image: the ledger is damaged"
        )
    return pixels


def verify(
    record: Record, restored: Image | Stack, source: Image | Stack | None = None
) -> Verification:
    """Prove that an image is what its record says.

    Of a restoration it is proven that the image differs from its source under the mask only. With
    the record alone: if the original pixels, put back under the mask, give an image with the hash
    of the source, then no pixel outside the mask differs from the source.

    Parameters
    ----------
    record : Record
    restored : Image or Stack
        As `read_described` reads it.
    source : Image or Stack or None
        If given, both are also compared: pixel by pixel of a restoration; of an enlarged image,
        by how much it contradicts its source. Of a file that was restored in part it is that part.

    Returns
    -------
    Verification
        Nothing is raised for an image that fails: the checks say what is wrong.
    """
    if record.task != "restore" or isinstance(restored, Stack) or isinstance(source, Stack):
        return _verify_whole(record, restored, source)
    different = _shape_problem(record, restored.pixels)
    if different:
        return _result([Check("size", False, f"the ledger belongs to another image: {different}")])
    checks = [
        Check("size", True, f"{restored.width} x {restored.height} px, {record.source.dtype}")
    ]
    written = pixels_sha256(restored.pixels) == record.output.pixels_sha256
    if restored.lossy and not written:
        checks.append(Check("output", False, _LOSSY))
        checks.append(Check("outside the mask", False, "cannot be proven of a lossy file"))
        return _result(checks)
    checks.append(
        Check("output", True, "the pixels are those that were written")
        if written
        else Check("output", False, "the image was changed after it was restored")
    )
    try:
        original, mask = _put_back(record, restored.pixels)
    except LedgerError as error:
        checks.append(Check("outside the mask", False, str(error)))
        return _result(checks)
    checks.append(_check_outside(record, original))
    if record.provenance is not None:
        checks.append(_check_copies(record.provenance, original, restored.pixels))
    checks.extend(_check_alpha(record, restored))
    if source is not None:
        checks.extend(_check_source(record, restored, source, original, mask))
    return _result(checks)


def read_described(record: Record, path: Path, *, source: bool = False) -> Image | Stack:
    """Read the output that a record describes, or its source, as it was read then.

    Raises
    ------
    InputError
    """
    region = record.source.region if source else None
    if record.source.axes is None:
        return read_image(path, region=region, least=1)
    channels = 1 if not {"C", "S"} & set(record.source.axes) else None
    return stack_of(path, channels=channels, region=region, per_channel=None)


def _verify_whole(
    record: Record, restored: Image | Stack, source: Image | Stack | None
) -> Verification:
    """Check what can be checked where every pixel may have changed."""
    found = original_order(restored)
    written = pixels_sha256(found) == record.output.pixels_sha256
    if written:
        message = "the pixels are those that were written"
    elif restored.lossy or record.output.lossy:
        message = _LOSSY
    else:
        message = "the image was changed after it was written, or the record is of another one"
    checks = [Check("output", written, message)]
    if source is None:
        return _result(checks)
    before = original_order(source)
    same = pixels_sha256(before) == record.source.pixels_sha256
    message = "is the image that was worked on" if same else "is not the image that was worked on"
    checks.append(Check("source", same, f"the given source {message}"))
    if same and written and "deviation" in record.figures:
        from histomend.image.resampling import deviation

        off, said = deviation(before, found), float(record.figures["deviation"])
        agrees = abs(off - said) <= 0.01
        checks.append(
            Check("deviation", agrees, f"averaged over its pixels {off:.3f} of 255 levels off it")
        )
    if same and written and "unchanged_share" in record.figures:
        equal, said = float(np.mean(before == found)), float(record.figures["unchanged_share"])
        checks.append(
            Check(
                "left as it was",
                equal >= said - 1e-6,
                f"{equal:.1%} of the values are those of the source, {said:.1%} by the record",
            )
        )
    return _result(checks)


def ledger_mask(record: Record) -> Mask:
    """Give the mask of a ledger: (H, W) bool, True where pixels were changed.

    Raises
    ------
    LedgerError
        If the ledger is damaged.
    """
    mask = np.zeros((record.source.height, record.source.width), dtype=bool)
    for number, change in enumerate(record.regions):
        x, y, w, h = change.bbox
        mask[y : y + h, x : x + w] |= _piece_mask(change, number)
    return mask


def _result(checks: list[Check]) -> Verification:
    return Verification(all(check.ok for check in checks), tuple(checks))


def _shape_problem(record: Record, pixels: Pixels) -> str | None:
    wanted = (record.source.height, record.source.width, 3)
    if pixels.shape == wanted and pixels.dtype.name == record.source.dtype:
        return None
    return (
        f"the image is {pixels.shape[1]} x {pixels.shape[0]} px of {pixels.dtype.name}, the "
        f"ledger says {wanted[1]} x {wanted[0]} px of {record.source.dtype}"
    )


def _put_back(record: Record, restored: Pixels) -> tuple[Pixels, Mask]:
    pixels = restored.copy()
    mask = np.zeros(pixels.shape[:2], dtype=bool)
    for number, change in enumerate(record.regions):
        x, y, w, h = change.bbox
        part = _piece_mask(change, number)
        original = _decode(change.original, change, number)
        if original.shape != (h, w, 3) or original.dtype != pixels.dtype:
            raise LedgerError(f"the ledger is damaged: region {number} holds other pixels")
        np.copyto(pixels[y : y + h, x : x + w], original, where=part[..., None])
        mask[y : y + h, x : x + w] |= part
    return pixels, mask


def _piece_mask(change: Change, number: int) -> Mask:
    part = _decode(change.mask, change, number)
    if part.dtype != np.bool_ or np.count_nonzero(part) != change.area_px:
        raise LedgerError(f"the ledger is damaged: region {number} holds another mask")
    return part


def _decode(text: str, change: Change, number: int) -> Pixels:
    """Decode a PNG in base64, whose size has to be that of the box before pixels are decoded."""
    try:
        data = base64.b64decode(text, validate=True)
        with PngImagePlugin.PngImageFile(io.BytesIO(data)) as picture:
            if picture.size != change.bbox[2:]:
                raise ValueError(f"{picture.size} px in a box of {change.bbox[2:]}")
            if data[24] == 16:  # IHDR: bit depth
                return decode_deep_png(data, "the ledger")
            return np.asarray(picture)
    except (ValueError, SyntaxError, OSError, RuntimeError, binascii.Error, IndexError) as error:
        raise LedgerError(
            f"the ledger is damaged: the pixels of region {number} cannot be decoded ({error})"
        ) from error


def _check_outside(record: Record, original: Pixels) -> Check:
    name = "outside the mask"
    if pixels_sha256(original) == record.source.pixels_sha256:
        area = record.figures.get("area_px", "the masked")
        return Check(
            name,
            True,
            f"nothing was changed: with the {area} original pixels put back, the image has the "
            "hash of the source",
        )
    return Check(
        name,
        False,
        "with the original pixels put back, the image does not have the hash of the source: "
        "pixels outside the mask were changed",
    )


def _check_copies(record: dict[str, Any], original: Pixels, restored: Pixels) -> Check:
    name = "copies"
    try:
        provenance = Provenance.read(record, restored.shape[:2])
        count, x, y = provenance.first_wrong(original, restored)
    except LedgerError as error:
        return Check(name, False, str(error))
    if count:
        return Check(
            name,
            False,
            f"{count} pixel(s) are not the copies that the record says, the first at x={x}, y={y}",
        )
    shares = provenance.shares()
    copied = shares["copied_exactly"] + shares["copied_shifted"]
    return Check(
        name,
        True,
        f"{copied} copied pixels are those of their places in the source, byte for byte, "
        f"{shares['copied_shifted']} of them with the recorded shift of colour; "
        f"{shares['mixed']} are mixtures of copies, and {shares['drawn']} were drawn by the model",
    )


def _check_alpha(record: Record, restored: Image) -> list[Check]:
    found = None if restored.alpha is None else pixels_sha256(restored.alpha)
    if found is None and record.source.alpha_sha256 is None:
        return []
    same = found == record.source.alpha_sha256
    message = "as in the source" if same else "differs from that of the source"
    return [Check("transparency", same, message)]


def _check_source(
    record: Record, restored: Image, source: Image, original: Pixels, mask: Mask
) -> list[Check]:
    different = _shape_problem(record, source.pixels)
    if different:
        return [Check("source", False, f"the given source is another image: {different}")]
    checks = []
    if pixels_sha256(source.pixels) == record.source.pixels_sha256:
        checks.append(Check("source", True, "the given source is the image that was restored"))
    else:
        count, x, y = first_difference(source.pixels, original)
        where = f"; {count} pixel(s) differ, the first at x={x}, y={y}" if count else ""
        checks.append(
            Check("source", False, f"the given source is not the image that was restored{where}")
        )
    count, x, y = first_difference(source.pixels, restored.pixels, mask)
    if count:
        message = (
            f"{count} pixel(s) outside the mask differ, the first at x={x}, y={y}: "
            f"{_values(source.pixels, x, y)} in the source, {_values(restored.pixels, x, y)} now"
        )
    else:
        message = "source and restored image are equal there, compared pixel by pixel"
    checks.append(Check("pixel by pixel", count == 0, message))
    return checks


def _values(pixels: Pixels, x: int, y: int) -> tuple[int, ...]:
    return tuple(int(value) for value in pixels[y, x])
