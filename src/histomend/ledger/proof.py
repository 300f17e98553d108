"""Take a restoration back, and prove that nothing else was changed."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import PngImagePlugin

from histomend.errors import LedgerError
from histomend.exemplar.provenance import Provenance
from histomend.image import Image, decode_deep_png, pixels_sha256
from histomend.ledger.build import first_difference
from histomend.ledger.records import Change, Ledger

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


def undo(ledger: Ledger, restored: Image) -> Pixels:
    """Put the original pixels back.

    Parameters
    ----------
    ledger : Ledger
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
    different = _shape_problem(ledger, restored.pixels)
    if different:
        raise LedgerError(f"this ledger belongs to another image: {different}")
    if pixels_sha256(restored.pixels) != ledger.output_pixels_sha256:
        reason = _LOSSY if restored.lossy else "its pixels differ from those that were written"
        raise LedgerError(
            f"the image is not the one that the ledger describes: {reason}. Undo needs the "
            "restored file as it was written."
        )
    pixels, _ = _put_back(ledger, restored.pixels)
    if pixels_sha256(pixels) != ledger.source.pixels_sha256:
        raise LedgerError(
            "putting the original pixels back does not give the source image: the ledger is damaged"
        )
    return pixels


def verify(ledger: Ledger, restored: Image, source: Image | None = None) -> Verification:
    """Prove that a restored image differs from its source under the mask only.

    With the ledger alone: if the original pixels, put back under the mask, give an image with
    the hash of the source, then no pixel outside the mask differs from the source.

    Parameters
    ----------
    ledger : Ledger
    restored : Image
    source : Image or None
        If given, both are also compared pixel by pixel. Of a file that was restored in part it
        is that part: ``read_image(path, region=ledger.source.region)``.

    Returns
    -------
    Verification
        Nothing is raised for an image that fails: the checks say what is wrong.
    """
    different = _shape_problem(ledger, restored.pixels)
    if different:
        return _result([Check("size", False, f"the ledger belongs to another image: {different}")])
    checks = [
        Check("size", True, f"{restored.width} x {restored.height} px, {ledger.source.dtype}")
    ]
    written = pixels_sha256(restored.pixels) == ledger.output_pixels_sha256
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
        original, mask = _put_back(ledger, restored.pixels)
    except LedgerError as error:
        checks.append(Check("outside the mask", False, str(error)))
        return _result(checks)
    checks.append(_check_outside(ledger, original))
    if ledger.provenance is not None:
        checks.append(_check_copies(ledger.provenance, original, restored.pixels))
    checks.extend(_check_alpha(ledger, restored))
    if source is not None:
        checks.extend(_check_source(ledger, restored, source, original, mask))
    return _result(checks)


def ledger_mask(ledger: Ledger) -> Mask:
    """Give the mask of a ledger: (H, W) bool, True where pixels were changed.

    Raises
    ------
    LedgerError
        If the ledger is damaged.
    """
    mask = np.zeros((ledger.source.height, ledger.source.width), dtype=bool)
    for number, change in enumerate(ledger.regions):
        x, y, w, h = change.bbox
        mask[y : y + h, x : x + w] |= _piece_mask(change, number)
    return mask


def _result(checks: list[Check]) -> Verification:
    return Verification(all(check.ok for check in checks), tuple(checks))


def _shape_problem(ledger: Ledger, pixels: Pixels) -> str | None:
    wanted = (ledger.source.height, ledger.source.width, 3)
    if pixels.shape == wanted and pixels.dtype.name == ledger.source.dtype:
        return None
    return (
        f"the image is {pixels.shape[1]} x {pixels.shape[0]} px of {pixels.dtype.name}, the "
        f"ledger says {wanted[1]} x {wanted[0]} px of {ledger.source.dtype}"
    )


def _put_back(ledger: Ledger, restored: Pixels) -> tuple[Pixels, Mask]:
    pixels = restored.copy()
    mask = np.zeros(pixels.shape[:2], dtype=bool)
    for number, change in enumerate(ledger.regions):
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


def _check_outside(ledger: Ledger, original: Pixels) -> Check:
    name = "outside the mask"
    if pixels_sha256(original) == ledger.source.pixels_sha256:
        area = ledger.totals.get("area_px", "the masked")
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


def _check_alpha(ledger: Ledger, restored: Image) -> list[Check]:
    found = None if restored.alpha is None else pixels_sha256(restored.alpha)
    if found is None and ledger.source.alpha_sha256 is None:
        return []
    same = found == ledger.source.alpha_sha256
    message = "as in the source" if same else "differs from that of the source"
    return [Check("transparency", same, message)]


def _check_source(
    ledger: Ledger, restored: Image, source: Image, original: Pixels, mask: Mask
) -> list[Check]:
    different = _shape_problem(ledger, source.pixels)
    if different:
        return [Check("source", False, f"the given source is another image: {different}")]
    checks = []
    if pixels_sha256(source.pixels) == ledger.source.pixels_sha256:
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
