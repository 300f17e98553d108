"""The stream of a JPEG tile: its segments, and what they say before the scan begins."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.slides import jpeg_huffman

Blocks = npt.NDArray[np.int32]

_KINDS = {
    0xC2: "progressive",
    0xC3: "lossless",
    0xC9: "arithmetically coded",
    0xCA: "arithmetically coded",
}


@dataclass
class Component:
    """One colour plane of a tile.

    Parameters
    ----------
    name : int
        Its identifier in the stream.
    h, v : int
        Sampling factors: blocks per MCU, across and down.
    quantiser : int
        Slot of its quantisation table.
    dc, ac : int
        Slots of its Huffman tables.
    blocks : (rows, columns, 64) int32
        Quantised coefficients in zigzag order, the whole MCU grid.
    """

    name: int
    h: int
    v: int
    quantiser: int
    dc: int = 0
    ac: int = 0
    blocks: Blocks = field(default_factory=lambda: np.zeros((0, 0, 64), np.int32))


@dataclass
class JpegTile:
    """A tile as coefficients, with all that its stream says beside them.

    Parameters
    ----------
    width, height : int
    components : list of Component
    quantisers : dict of int to (64,) int32
        Quantisation tables by slot, in zigzag order.
    huffman : dict of int to bytes
        Huffman tables by slot; AC tables at 16 + slot.
    reserved : set of (str, int)
        Slots that TIFF tag 347 defines: ("q", slot), ("h", slot). No tile may redefine them.
    restart : int
        MCUs of a restart interval, 0 for none.
    frame : int
        Marker of the frame: 0xC0 (baseline) or 0xC1 (extended: four slots of each kind).
    notes : list of (int, bytes)
        APPn and COM segments of the tile; colour transforms depend on them.
    """

    width: int
    height: int
    components: list[Component]
    quantisers: dict[int, npt.NDArray[np.int32]]
    huffman: dict[int, bytes]
    reserved: set[tuple[str, int]]
    restart: int = 0
    frame: int = 0xC0
    notes: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def mcu(self) -> tuple[int, int]:
        """Width and height of an MCU in pixels."""
        return 8 * max(c.h for c in self.components), 8 * max(c.v for c in self.components)

    @property
    def grid(self) -> tuple[int, int]:
        """MCUs across and down."""
        width, height = self.mcu
        return -(-self.width // width), -(-self.height // height)


def damaged(where: str, why: str) -> UnreadableImageError:
    return UnreadableImageError(
        f"{where}: the JPEG data are damaged ({why}). Copy or export the slide again."
    )


def read_header(stream: bytes, tile: JpegTile, where: str) -> int | None:
    """Read segments up to the scan; give where its data start, None if there is no scan."""
    if stream[:2] != b"\xff\xd8":
        raise damaged(where, "it does not begin as JPEG does")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise damaged(where, f"no marker at byte {at}")
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xD9:
            return None
        (length,) = struct.unpack_from(">H", stream, at + 2)
        if length < 2 or at + 2 + length > len(stream):
            raise damaged(where, f"a segment at byte {at} is cut short")
        payload = stream[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            _read_scan_header(payload, tile, where)
            return at
        _read_segment(marker, payload, tile, where)
    return None


def _read_segment(marker: int, payload: bytes, tile: JpegTile, where: str) -> None:
    if marker == 0xDB:
        at = 0
        while at < len(payload):
            deep, slot = payload[at] >> 4, payload[at] & 15
            kind = np.dtype(">u2" if deep else np.uint8)
            table = np.frombuffer(payload, kind, 64, at + 1).astype(np.int32)
            if not table.all():
                raise damaged(where, "a quantisation table holds zeros")
            tile.quantisers[slot] = table
            at += 1 + 64 * kind.itemsize
    elif marker == 0xC4:
        at = 0
        while at < len(payload):
            count = sum(payload[at + 1 : at + 17])
            huffman = payload[at + 1 : at + 17 + count]
            jpeg_huffman.codes(huffman)
            tile.huffman[payload[at]] = huffman
            at += 17 + count
    elif marker == 0xDD:
        (tile.restart,) = struct.unpack(">H", payload)
    elif marker in (0xC0, 0xC1):
        depth, tile.height, tile.width, count = struct.unpack_from(">BHHB", payload)
        if depth != 8:
            raise unsupported(where, f"of {depth} bits")
        tile.frame = marker
        tile.components = [
            Component(name, sampling >> 4, sampling & 15, slot)
            for name, sampling, slot in struct.iter_unpack("BBB", payload[6 : 6 + 3 * count])
        ]
        if len(tile.components) != count:
            raise damaged(where, "its frame is cut short")
    elif 0xC2 <= marker <= 0xCF and marker != 0xC8:
        raise unsupported(where, _KINDS.get(marker, f"of kind SOF{marker - 0xC0}"))
    elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
        tile.notes.append((marker, payload))


def unsupported(where: str, kind: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"{where}: the JPEG is {kind}, and only 8-bit sequential Huffman JPEG of one scan is "
        "edited in place. Write a new pyramid instead."
    )


def _read_scan_header(payload: bytes, tile: JpegTile, where: str) -> None:
    if not tile.components:
        raise damaged(where, "its scan has no frame")
    if payload[0] != len(tile.components):
        raise unsupported(where, "in several scans")
    for name, slots in struct.iter_unpack("BB", payload[1 : 1 + 2 * payload[0]]):
        of_name = [c for c in tile.components if c.name == name]
        if len(of_name) != 1:
            raise damaged(where, f"its scan has a component {name} that its frame lacks")
        of_name[0].dc, of_name[0].ac = slots >> 4, slots & 15


def check_tile(tile: JpegTile, where: str) -> None:
    if not 0 < tile.width <= 65_500 or not 0 < tile.height <= 65_500:
        raise damaged(where, f"it claims {tile.width} x {tile.height} px")
    for c in tile.components:
        if c.h not in (1, 2, 4) or c.v not in (1, 2, 4):
            raise unsupported(where, f"sampled {c.h} x {c.v}")
        if c.quantiser not in tile.quantisers:
            raise damaged(where, f"quantisation table {c.quantiser} is missing")
        for slot in (c.dc, 16 | c.ac):
            if slot not in tile.huffman:
                raise damaged(where, f"Huffman table {slot & 15} is missing")
    if len(tile.components) == 1:  # a lone plane is coded block by block (T.81, A.2.2)
        tile.components[0].h = tile.components[0].v = 1


def segment(marker: int, payload: bytes) -> bytes:
    """Return a segment with its marker and length."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


def write_header(tile: JpegTile) -> bytes:
    """Return all that stands before the data of the scan, with the tables that the tile uses."""
    components = tile.components
    parts = [b"\xff\xd8"]
    parts += [segment(marker, payload) for marker, payload in tile.notes]
    for slot in sorted({c.quantiser for c in components}):
        table = tile.quantisers[slot]
        deep = int(table.max()) > 255
        values = table.astype(">u2" if deep else np.uint8).tobytes()
        parts.append(segment(0xDB, bytes([deep << 4 | slot]) + values))
    for slot in sorted({c.dc for c in components} | {16 | c.ac for c in components}):
        parts.append(segment(0xC4, bytes([slot]) + tile.huffman[slot]))
    frame = struct.pack(">BHHB", 8, tile.height, tile.width, len(components))
    frame += b"".join(bytes([c.name, c.h << 4 | c.v, c.quantiser]) for c in components)
    parts.append(segment(tile.frame, frame))
    if tile.restart:
        parts.append(segment(0xDD, struct.pack(">H", tile.restart)))
    scan = bytes([len(components)])
    scan += b"".join(bytes([c.name, c.dc << 4 | c.ac]) for c in components)
    parts.append(segment(0xDA, scan + b"\x00\x3f\x00"))
    return b"".join(parts)
