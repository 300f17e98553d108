"""TIFF files laid out like the one that they were made from: new values, and what stays true.

Tags are copied as the bytes that lie in the file, since microscopes write many that are off the
standard. What TIFF does not allow in the layout itself gets the nearest legal one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile

from histomend.errors import UnreadableImageError
from histomend.image.ome_names import fresh_uuid, renamed_ome
from histomend.image.pixels import Pixels
from histomend.image.stack_reading import pages_of
from histomend.image.stacks import Stack
from histomend.image.tiff import LOSSLESS
from histomend.image.tiff_tags import carried, description_of, legal_resolution, legal_tile
from histomend.image.writing import BIG_TIFF

_UNCOMPRESSED, _DEFLATE, _MINISWHITE = 1, 8, 0


def write_like(file: BinaryIO, stack: Stack, like: Path, name: str, note: str | None) -> None:
    """Write the values of a stack on pages like those of the file `like`, in that file's order.

    Parameters
    ----------
    name : of the file that is written: descriptions name their own file.
    note : str or None
        Added to the description of the first page.

    Raises
    ------
    UnreadableImageError
        `like` is not the file that the stack was read from.
    """
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
        # Descriptions count pages as they lie in the file, and not by their place in the stack.
        order = sorted(range(len(pages)), key=lambda k: _place(pages[k], k))
        places = {int(pages[k].index): rank for rank, k in enumerate(order)}
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=source.byteorder) as writer:
            for rank, k in enumerate(order):
                settings = _settings(pages[k], source)
                description = settings["description"]
                if rank == 0 and source.is_ome and description:
                    fresh = fresh_uuid(name, values, note)
                    description = renamed_ome(description, name, fresh, places)
                if rank == 0 and note:
                    description = _with_note(description, note)
                settings["description"] = description
                writer.write(_stored(planes[k], stack, pages[k]), **settings)


def _place(page: Any, number: int) -> tuple[int, int]:
    """Return the place of a page in its file; pages that ImageJ leaves out follow the first."""
    return int(page.index), number


def _stored(values: Pixels, stack: Stack, page: Any) -> Pixels:
    """Return values as the file stores them: upside down where 0 is white."""
    turned = stack.white_is_zero and int(page.photometric) == _MINISWHITE
    return np.iinfo(values.dtype).max - values if turned else values


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
    colour = int(page.photometric) in (2, 6)
    upside_down = int(page.photometric) == _MINISWHITE and not source.is_imagej
    grey = "miniswhite" if upside_down else "minisblack"
    samples = int(page.samplesperpixel)
    planar = "SEPARATE" if int(page.planarconfig) == 2 else "CONTIG"
    predicted = lossless and compression != _UNCOMPRESSED and int(page.predictor) > 1
    resolution = legal_resolution(page)
    kind = int(page.subfiletype)
    return {
        "photometric": "rgb" if colour else grey,
        "planarconfig": planar if samples > 1 else None,
        "extrasamples": [int(v) for v in page.extrasamples] or None,
        "compression": compression if lossless else _DEFLATE,
        "predictor": int(page.predictor) if predicted else None,
        "tile": legal_tile(page) if page.is_tiled else None,
        "rowsperstrip": None if page.is_tiled else int(page.rowsperstrip),
        "resolution": None if resolution is None else resolution[:2],
        "resolutionunit": None if resolution is None else resolution[2],
        "subfiletype": kind if 0 <= kind < 8 else 0,
        "description": description_of(page, source),
        "software": "",
        "extratags": list(_once(carried(page, source))),
        "metadata": None,
        "contiguous": False,
        "maxworkers": 1,
    }


def _once(tags: Iterator[tuple[int, int, int, bytes]]) -> Iterator[tuple[Any, ...]]:
    seen: set[int] = set()
    for code, kind, count, data in tags:
        if code not in seen:
            seen.add(code)
            yield code, kind, count, data, False
