"""What a restored DICOM slide holds of its source, behind the pixels: all that undo needs.

It is the value of Data Set Trailing Padding (FFFC,FFFC), which readers of DICOM pass over (PS3.10,
7.2): first the bytes that were replaced, then how the source is put together of these and of bytes
of the file, then a mark at the very end by which it is found.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from histomend.errors import UnreadableImageError
from histomend.image.regular_files import ends_with
from histomend.slides.trailer import TileChange

_END = b"HISTOMEND/DICOM1"
_TAIL = struct.Struct("<QI")
_ELEMENT = struct.Struct("<HH2sHI")
_LARGEST = 0xFFFFFFFE
_VERSION = 1

Piece = tuple[int, int]
"""Where bytes of the source lie in the restored file, and how many; in their order."""


@dataclass(frozen=True)
class DicomTrailer:
    """How a file came from its source.

    Parameters
    ----------
    sha256 : str
        Of the source.
    pieces : tuple of (int, int)
        What the source is put together of.
    changes : tuple of TileChange
        Of the frames that have new pixels.
    identity : str
        What the new UIDs are made of.
    fields : dict of str to str
        What the description says.
    """

    sha256: str
    pieces: tuple[Piece, ...]
    changes: tuple[TileChange, ...]
    identity: str
    fields: dict[str, str]


def write_trailer(file: BinaryIO, replaced: int, trailer: DicomTrailer) -> None:
    """Write the end of a file, behind `replaced` bytes that were written since `begin_trailer`."""
    whole = {
        "version": _VERSION,
        "sha256": trailer.sha256,
        "pieces": trailer.pieces,
        "changes": [
            [c.tile, *c.region, *c.cell, c.halo, base64.b64encode(c.packed).decode("ascii")]
            for c in trailer.changes
        ],
        "identity": trailer.identity,
        "fields": trailer.fields,
    }
    packed = zlib.compress(json.dumps(whole, separators=(",", ":")).encode("ascii"), 6)
    packed += b"\0" * ((replaced + len(packed)) % 2)  # values have even lengths
    tail = packed + _TAIL.pack(len(packed), zlib.crc32(packed)) + _END
    length = replaced + len(tail)
    if length > _LARGEST:
        raise UnreadableImageError(
            "more than 4 GiB of frames would be replaced, which one DICOM file does not hold. "
            "Write a new pyramid: -o NAME.tif."
        )
    file.write(tail)
    file.seek(-length - _ELEMENT.size, os.SEEK_CUR)
    file.write(_ELEMENT.pack(0xFFFC, 0xFFFC, b"OB", 0, length))
    file.seek(0, os.SEEK_END)


def begin_trailer(file: BinaryIO) -> None:
    """Begin the end of a file; what is replaced is to be written next."""
    file.write(bytes(_ELEMENT.size))


def is_restored_dicom(path: Path) -> bool:
    """Tell whether a file ends as a restored DICOM slide does."""
    return ends_with(path, _END)


def read_dicom_trailer(file: BinaryIO, where: str) -> DicomTrailer:
    """Read what a restored slide says of itself.

    Raises
    ------
    UnreadableImageError
        It is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    tail = _TAIL.size + len(_END)
    try:
        file.seek(size - tail)
        length, checksum = _TAIL.unpack(file.read(_TAIL.size))
        file.seek(size - tail - length)
        packed = file.read(length)
        if zlib.crc32(packed) != checksum:
            raise ValueError("its checksum")
        whole: dict[str, Any] = json.loads(zlib.decompressobj().decompress(packed))
        pieces = tuple((int(start), int(count)) for start, count in whole["pieces"])
        if whole["version"] != _VERSION or any(
            start < 0 or count < 0 or start + count > size for start, count in pieces
        ):
            raise ValueError("its version or places")
        changes = tuple(
            TileChange(
                0, r[0], 1, (r[1], r[2], r[3], r[4]), (r[5], r[6]), r[7], base64.b64decode(r[8])
            )
            for r in whole["changes"]
        )
        return DicomTrailer(
            str(whole["sha256"]), pieces, changes, str(whole["identity"]), dict(whole["fields"])
        )
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        struct.error,
        zlib.error,
    ) as error:
        raise UnreadableImageError(
            f"{where}: what it says of its source is damaged ({error}), so that it cannot be "
            "undone or verified. Copy the file again."
        ) from error
