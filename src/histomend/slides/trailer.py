"""What an appended slide says of itself behind its last directory: all that undo and verify need.

Readers of TIFF never look there. The trailer is JSON, deflated, then its length and checksum, then
a mark at the very end of the file by which it is found.
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

import numpy as np

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import Region
from histomend.image.regular_files import ends_with
from histomend.slides.jpeg_edit import Mask

_END = b"HISTOMEND/APPEND"
_TAIL = struct.Struct("<QI")
_LARGEST = 1 << 30
_VERSION = 1


@dataclass(frozen=True)
class TileChange:
    """A tile that has new pixels, and where they may differ from the old ones.

    Parameters
    ----------
    directory : int
        Which directory of the source (`TiffStructure.directories`).
    tile : int
        Which of its tiles, row by row.
    factor : int
        Pixels of level 0 along the side of one of this level.
    region : (x, y, w, h)
        Of the tile, in pixels of its level.
    cell : (width, height)
        What is edited as one: an MCU of JPEG, else a pixel.
    halo : int
        Pixels by which a change can reach beyond its cells, within the tile.
    packed : bytes
        Which cells were touched, one bit each, deflated.
    """

    directory: int
    tile: int
    factor: int
    region: Region
    cell: tuple[int, int]
    halo: int
    packed: bytes

    def touched(self) -> Mask:
        """Return (rows, columns): which cells of the tile were touched."""
        _, _, w, h = self.region
        width, height = self.cell
        rows, columns = -(-h // height), -(-w // width)
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(np.bool_)

    def grown(self) -> Mask:
        """Return (h, w): where the tile may have changed, as far as it lies in its level."""
        _, _, w, h = self.region
        width, height = self.cell
        mask = self.touched().repeat(height, 0).repeat(width, 1)
        for _ in range(self.halo):
            padded = np.pad(mask, 1)
            across = padded[:, :-2] | padded[:, 1:-1] | padded[:, 2:]
            mask = across[:-2] | across[1:-1] | across[2:]
        return mask[:h, :w]


def pack_cells(cells: Mask, region: Region, cell: tuple[int, int]) -> bytes:
    """Pack the touched cells of a tile, as far as it lies in its level."""
    _, _, w, h = region
    inside = cells[: -(-h // cell[1]), : -(-w // cell[0])]
    return zlib.compress(np.packbits(inside).tobytes(), 6)


@dataclass(frozen=True)
class Trailer:
    """How a file came from its source.

    Parameters
    ----------
    sha256 : str
        Of the source.
    length : int
        Bytes of the source.
    start : int
        Where they begin in this file: 0, or later if it became a BigTIFF.
    header : bytes
        The first bytes of the source, which this file has replaced if `start` is 0.
    changes : tuple of TileChange
    """

    sha256: str
    length: int
    start: int
    header: bytes
    changes: tuple[TileChange, ...]

    def encoded(self) -> bytes:
        """Return the bytes that end the file."""
        rows = [
            [c.directory, c.tile, c.factor, *c.region, *c.cell, c.halo, _text(c.packed)]
            for c in self.changes
        ]
        whole = {
            "version": _VERSION,
            "sha256": self.sha256,
            "length": self.length,
            "start": self.start,
            "header": self.header.hex(),
            "changes": rows,
        }
        packed = zlib.compress(json.dumps(whole, separators=(",", ":")).encode("ascii"), 6)
        return packed + _TAIL.pack(len(packed), zlib.crc32(packed)) + _END


@dataclass(frozen=True)
class Proof:
    """What a check of a restored slide found.

    Parameters
    ----------
    problems : tuple of str
        What is not as it has to be; empty if all is.
    sha256 : str
        Of the source, as the file states it.
    tiles : int
        Tiles, strips or frames that were compared, all but the changed ones without decoding them.
    changes : tuple of TileChange
        The tiles that were changed.
    appended_sha256 : str
        Of all bytes behind those of the source, as they are; of a DICOM slide, of the file.
    """

    problems: tuple[str, ...]
    sha256: str
    tiles: int
    changes: tuple[TileChange, ...]
    appended_sha256: str = ""

    @property
    def ok(self) -> bool:
        """Whether everything is as it has to be."""
        return not self.problems


def is_appended(path: Path) -> bool:
    """Tell whether a file ends as an appended slide does."""
    return ends_with(path, _END)


def read_trailer(file: BinaryIO, where: str) -> Trailer:
    """Read what an appended slide says of itself.

    Raises
    ------
    UnsupportedImageError
        The file was not written by appending, or by a later version.
    UnreadableImageError
        It is damaged.
    """
    size = file.seek(0, os.SEEK_END)
    tail = _TAIL.size + len(_END)
    file.seek(max(0, size - tail))
    last = file.read(tail)
    if len(last) < tail or last[_TAIL.size :] != _END:
        raise UnsupportedImageError(
            f"{where}: does not hold its source: it was not written by appending, was rewritten "
            "since, or is cut short."
        )
    length, checksum = _TAIL.unpack(last[: _TAIL.size])
    if length > min(size - tail, _LARGEST):
        raise _damaged(where)
    file.seek(size - tail - length)
    packed = file.read(length)
    if len(packed) != length or zlib.crc32(packed) != checksum:
        raise _damaged(where)
    try:
        whole: dict[str, Any] = json.loads(zlib.decompress(packed))
        if whole["version"] != _VERSION:
            raise UnsupportedImageError(
                f"{where}: was written by a later version of Histomend. Update it."
            )
        changes = tuple(
            TileChange(
                r[0], r[1], r[2], (r[3], r[4], r[5], r[6]), (r[7], r[8]), r[9], _bytes(r[10])
            )
            for r in whole["changes"]
        )
        trailer = Trailer(
            str(whole["sha256"]),
            int(whole["length"]),
            int(whole["start"]),
            bytes.fromhex(whole["header"]),
            changes,
        )
    except (ValueError, KeyError, IndexError, TypeError, zlib.error) as error:
        raise _damaged(where) from error
    if not 0 <= trailer.start <= trailer.start + trailer.length <= size:
        raise _damaged(where)
    return trailer


def _damaged(where: str) -> UnreadableImageError:
    return UnreadableImageError(
        f"{where}: what it says of its source is damaged, so that it cannot be undone or verified. "
        "Copy the file again."
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
