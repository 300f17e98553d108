"""OME-XML names its own file and pages: in a copy it has to name the copy."""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import tifffile

from histomend.errors import display_name, utf8
from histomend.image.pixels import Pixels

_NAMESPACE = uuid.UUID("6f2a5f0e-7f43-5e0b-9a53-3d1f0c6d7b11")
_ELEMENT = rb"<(?:[\w.-]+:)?%s\b[^>]*>"


def fresh_uuid(name: str, values: Pixels, note: str | None) -> str:
    """Return a UUID for a file: the same for the same name, values and note."""
    digest = hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).hexdigest()
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{display_name(name)} {digest} {note}')}"


def ome_of(
    path: Path, values: Pixels, mpp: float | None, note: str | None, axes: str = "YXS"
) -> dict[str, Any] | None:
    """Return what tifffile makes OME-XML of, for a file whose name says that it holds some."""
    if not path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return None
    size = {} if mpp is None else {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp}
    about = {"axes": axes, "UUID": fresh_uuid(path.name, values, note), "Creator": "Histomend"}
    return {**about, **size, **({"Description": note} if note else {})}


def lacks_ome(path: Path, source: Path) -> bool:
    """Return whether a file's name says that it holds OME-XML, and its source has none."""
    if not path.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return False
    with tifffile.TiffFile(source) as file:
        return not file.is_ome


def renamed_ome(xml: bytes, name: str, fresh: str, places: Mapping[int, int]) -> bytes:
    """Return OME-XML for a file of another name, whose pages may lie elsewhere.

    Parameters
    ----------
    xml : of a file whose planes all lie in the file itself.
    name : of the new file.
    fresh : the UUID of the new file.
    places : the new number of each page, by its old one.
    """
    identity = fresh.encode("ascii")
    shown = utf8(quoteattr(display_name(name)))

    def of_plane(found: re.Match[bytes]) -> bytes:
        opened, inside, closed = found.groups()
        opened = re.sub(rb"\sFileName\s*=\s*(?:\"[^\"]*\"|'[^']*')", b" FileName=" + shown, opened)
        return opened + (identity if inside.strip() else inside) + closed

    def of_root(found: re.Match[bytes]) -> bytes:
        return re.sub(
            rb"(\sUUID\s*=\s*)(?:\"[^\"]*\"|'[^']*')", rb'\1"' + identity + b'"', found[0]
        )

    def of_data(found: re.Match[bytes]) -> bytes:
        def number(place: re.Match[bytes]) -> bytes:
            return place[1] + b'"%d"' % places.get(int(place[2]), int(place[2]))

        return re.sub(rb"(\sIFD\s*=\s*)[\"'](\d{1,9})[\"']", number, found[0])

    xml = re.sub(rb"(<(?:[\w.-]+:)?UUID\b[^>/]*>)([^<]*)(</(?:[\w.-]+:)?UUID\s*>)", of_plane, xml)
    xml = re.sub(_ELEMENT % b"OME", of_root, xml, count=1)
    return re.sub(_ELEMENT % b"TiffData", of_data, xml)
