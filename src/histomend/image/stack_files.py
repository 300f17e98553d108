"""Images and z-stacks that were denoised, back into files of the kind that they came from.

A TIFF is written page by page as its source was: order, type, compression, tiles, resolution and
descriptions (OME-XML among them) are taken over, and only the values are new.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import tifffile
from PIL.PngImagePlugin import PngInfo

from histomend.errors import SettingError, UnreadableImageError
from histomend.image.reading import content_kind
from histomend.image.replacing import write_atomically
from histomend.image.signals import MOST_CHANNELS
from histomend.image.stack_reading import pages_of, read_stack
from histomend.image.stacks import Stack
from histomend.image.tiff import LOSSLESS
from histomend.image.writing import BIG_TIFF, check_output, write_image

__all__ = ["read_stack", "write_stack"]

_SOFTWARE = "Histomend"
_DEFLATE = 8
# Tags that are copied byte by byte: ImageJ's counts and contents of labels, colours and regions.
_COPIED = (50838, 50839)
_DESCRIPTION, _SOFTWARE_TAG, _DATE, _ICC = 270, 305, 306, 34675


def write_stack(
    path: Path | str,
    stack: Stack,
    *,
    note: str | None = None,
    lossy: bool = False,
    force: bool = False,
) -> None:
    """Write an image or a stack; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        .tif or .tiff, or .png for a single image of one or three channels. A TIFF from a TIFF is
        laid out as that is; its compression becomes deflate if it was lossy.
    stack : Stack
        As `read_stack` gave it, with new values.
    note : str or None
        Stored in the file's metadata, beside what stands there already.
    lossy : bool
        Accept JPEG, for a single RGB image.
    force : bool
        Replace an existing file; never the source.

    Raises
    ------
    SettingError
        A format that cannot hold the stack.
    OutputError
    """
    path, stack = Path(path), stack.together()
    check_output(path, force=force, lossy=lossy, source=stack.source)
    source, suffix = stack.source, path.suffix.lower()
    like = source if source is not None and content_kind(source) == "TIFF" else None
    if suffix not in (".tif", ".tiff"):
        check_picture(path, stack)
    samples = _samples(stack)
    # A TIFF of a picture is laid out as that of any other verb; arrays keep their axes.
    if samples == MOST_CHANNELS and (
        suffix not in (".tif", ".tiff") or (source is not None and like is None)
    ):
        values = np.repeat(stack.values[0], samples // stack.channels, axis=2)
        write_image(
            path, values, alpha=stack.alpha, mpp=stack.mpp, icc=stack.icc, note=note,
            lossy=lossy, force=force,
        )  # fmt: skip
        return

    def encode(file: BinaryIO) -> None:
        if suffix == ".png":
            _write_grey_png(file, stack, note)
        elif like is not None and stack.region is None:
            _write_like(file, stack, like, note)
        else:
            _write_fresh(file, stack, note)

    write_atomically(path, encode)


def _samples(stack: Stack) -> int:
    """Return how many samples a pixel has in a file: three also where all of them are equal."""
    return MOST_CHANNELS if stack.axes.grey else stack.channels


def check_picture(path: Path, stack: Stack) -> None:
    """Fail if a file that is no TIFF could not hold a stack.

    Raises
    ------
    SettingError
    """
    planes, channels, dtype = len(stack.values), _samples(stack), stack.values.dtype
    grey = "" if path.suffix.lower() == ".png" else " (JPEG of three)"
    if planes > 1 or channels == 2 or dtype.kind == "f" or (grey and channels == 1):
        raise SettingError(
            f"{path}: PNG holds one image of one or three channels in 8 or 16 bits{grey}, and this "
            f"is {planes} planes of {channels} in {dtype}. Write .tif."
        )


def _write_grey_png(file: BinaryIO, stack: Stack, note: str | None) -> None:
    dpi = None if stack.mpp is None else (25_400 / stack.mpp,) * 2
    text = PngInfo()
    text.add_text("Software", _SOFTWARE)
    if note:
        text.add_itxt("Comment", note)
    picture = PIL.Image.fromarray(stack.values[0, ..., 0])
    picture.save(file, "PNG", dpi=dpi, pnginfo=text, icc_profile=stack.icc)


def _write_fresh(file: BinaryIO, stack: Stack, note: str | None) -> None:
    """Write what did not come from a TIFF, with its axes named for other readers."""
    values = stack.axes.to_original(stack.values)
    samples = _samples(stack)
    colour = samples == MOST_CHANNELS
    letters = stack.axes.letters
    if colour and letters.endswith("C"):
        letters = letters[:-1] + "S"
    per_cm = None if stack.mpp is None else (10_000 / stack.mpp,) * 2
    with tifffile.TiffWriter(file, bigtiff=values.nbytes > BIG_TIFF) as writer:
        writer.write(
            values,
            photometric="rgb" if colour and letters.endswith("S") else "minisblack",
            planarconfig="contig" if letters[-1] in "CS" and samples > 1 else None,
            compression="zlib",
            predictor=True,
            resolution=per_cm,
            resolutionunit=None if per_cm is None else "CENTIMETER",
            software=_SOFTWARE,
            iccprofile=stack.icc,
            metadata={"axes": letters, **({"note": note} if note else {})},
            maxworkers=1,
        )


def _write_like(file: BinaryIO, stack: Stack, like: Path, note: str | None) -> None:
    """Write the values on pages like those of the file `like`."""
    values = stack.axes.to_original(stack.values)
    with tifffile.TiffFile(like) as source:
        pages = pages_of(source.series[0])
        shape = pages[0].shape
        if math.prod(stack.axes.shape) != len(pages) * math.prod(shape):
            raise UnreadableImageError(
                f"{like}: the file is another one than when it was read. Start again."
            )
        planes = values.reshape(len(pages), *shape)
        big = source.is_bigtiff or values.nbytes > BIG_TIFF
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=source.byteorder) as writer:
            for number, (page, plane) in enumerate(zip(pages, planes, strict=True)):
                settings = _settings(page, source)
                if note and number == 0:
                    settings["description"] = _with_note(settings["description"], note)
                writer.write(plane, **settings)


def _with_note(description: bytes | None, note: str) -> bytes:
    """Return the first page's description with a note, in the form that its readers expect."""
    text = (description or b"").decode("utf-8", "surrogateescape")
    if text.rstrip().endswith("OME>"):
        start = text.rindex("</")
        text = f"{text[:start]}<!-- {note.replace('--', '-')} -->{text[start:]}"
    elif text.startswith("{"):  # tifffile's shape
        try:
            text = json.dumps({**json.loads(text), "note": note})
        except ValueError:
            text = f"{text}\n{note}"
    elif text.startswith("ImageJ="):
        text = f"{text.rstrip()}\nnote={note}\n"
    else:
        text = f"{text}\n{note}" if text else note
    return text.encode("utf-8", "surrogateescape")


def _settings(page: Any, source: tifffile.TiffFile) -> dict[str, Any]:
    """Return how a page is stored, as tifffile is told it."""
    compression, lossless = int(page.compression), int(page.compression) in LOSSLESS
    tags = page.tags
    colour = int(page.photometric) in (2, 6)
    samples = int(page.samplesperpixel)
    planar = {1: "CONTIG", 2: "SEPARATE"}[int(page.planarconfig)] if samples > 1 else None
    return {
        "photometric": "rgb" if colour else "minisblack",
        "planarconfig": planar,
        "extrasamples": [int(v) for v in page.extrasamples] or None,
        "compression": compression if lossless else _DEFLATE,
        "predictor": int(page.predictor) if lossless and int(page.predictor) > 1 else None,
        "tile": (page.tilelength, page.tilewidth) if page.is_tiled else None,
        "rowsperstrip": None if page.is_tiled else int(page.rowsperstrip),
        "resolution": _resolution(page),
        "resolutionunit": None if _resolution(page) is None else int(tags.valueof(296, 2)),
        "subfiletype": int(page.subfiletype),
        "description": _raw(page, _DESCRIPTION, source),
        "software": tags.valueof(_SOFTWARE_TAG) or "",
        "datetime": tags.valueof(_DATE),
        "iccprofile": tags.valueof(_ICC),
        "extratags": list(_copied(page, source)),
        "metadata": None,
        "contiguous": False,
        "maxworkers": 1,
    }


def _resolution(page: Any) -> tuple[Any, Any] | None:
    across, down = (page.tags.valueof(code) for code in (282, 283))
    return None if not across or not down else (across, down)


def _raw(page: Any, code: int, source: tifffile.TiffFile) -> bytes | None:
    """Return the bytes of a tag as they lie in the file; None if it is not there."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    source.filehandle.seek(tag.valueoffset)
    return bytes(source.filehandle.read(tag.valuebytecount)).rstrip(b"\0")


def _copied(page: Any, source: tifffile.TiffFile) -> Iterator[tuple[Any, ...]]:
    for code in _COPIED:
        tag = page.tags.get(code)
        if tag is not None:
            source.filehandle.seek(tag.valueoffset)
            value = source.filehandle.read(tag.valuebytecount)
            yield code, tag.dtype, tag.count, value, True
