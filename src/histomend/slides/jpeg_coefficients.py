"""Quantised DCT coefficients of a JPEG tile, out of its stream and into a new one, without loss.

No pixel is computed here, so nothing is rounded: what is not touched comes back bit for bit. The
kind of JPEG that slides hold is read: 8 bits, sequential, Huffman coded (T.81: SOF0, SOF1), one
scan, with or without restart intervals; complete streams and abbreviated ones, whose tables stand
in TIFF tag 347.

>>> tile = read_tile(stream, tables, where="slide.svs, tile 7")
>>> tile.components[0].blocks      # (rows, columns, 64) in zigzag order
>>> write_tile(tile)               # the same coefficients, in a stream
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from histomend.slides import jpeg_huffman
from histomend.slides.jpeg_scan import code_interval, read_scan, scan_symbols
from histomend.slides.jpeg_stream import JpegTile, check_tile, damaged, read_header, write_header


def read_tile(stream: bytes, tables: bytes | None, where: str, *, blank: bool = False) -> JpegTile:
    """Read the coefficients of a tile.

    Parameters
    ----------
    stream : bytes
        As stored: complete, or abbreviated.
    tables : bytes or None
        TIFF tag 347.
    where : str
        For messages.
    blank : bool
        All coefficients are 0: for a tile of which nothing is to be kept.

    Raises
    ------
    UnsupportedImageError
        Progressive, lossless, arithmetic, 12 bits, or several scans.
    UnreadableImageError
        Damaged, or without its tables.
    """
    tile = JpegTile(0, 0, [], {}, {}, set())
    try:
        if tables:
            read_header(tables, tile, where)
            tile.reserved = {("q", slot) for slot in tile.quantisers}
            tile.reserved |= {("h", slot & 15) for slot in tile.huffman}
            tile.notes = []
        start = read_header(stream, tile, where)
        if start is None or not tile.components:
            raise damaged(where, "it has no scan")
        check_tile(tile, where)
        if blank:
            across, down = tile.grid
            for c in tile.components:
                c.blocks = np.zeros((down * c.v, across * c.h, 64), np.int32)
        else:
            read_scan(tile, stream[start:], where)
    except (struct.error, IndexError, ValueError) as error:
        raise damaged(where, str(error)) from error
    return tile


def frame_size(stream: bytes, where: str) -> tuple[int, int, int]:
    """Return width, height and number of components that a stream claims; decodes nothing.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    """
    tile = JpegTile(0, 0, [], {}, {}, set())
    try:
        read_header(stream, tile, where)
    except (struct.error, IndexError, ValueError) as error:
        raise damaged(where, str(error)) from error
    return tile.width, tile.height, len(tile.components)


def write_tile(tile: JpegTile, slots: dict[tuple[int, int], int] | None = None) -> bytes:
    """Write a tile as a complete stream.

    Parameters
    ----------
    tile : JpegTile
    slots : dict of (dc, ac) to int, or None
        Give the tile the shortest Huffman tables for its own coefficients, in these slots in place
        of each pair in use: the tile is changed. None: it keeps its tables.

    Raises
    ------
    ValueError
        A coefficient is too large for the format, or has no code in its table.
    """
    intervals = scan_symbols(tile)
    if slots is not None:
        counted = sum(i.frequencies(len(tile.components)) for i in intervals)
        _fit_huffman(tile, np.asarray(counted), slots)
    parts = [write_header(tile)]
    tables = [(tile.huffman[c.dc], tile.huffman[16 | c.ac]) for c in tile.components]
    for number, interval in enumerate(intervals):
        if number:
            parts.append(bytes([0xFF, 0xD0 + (number - 1 & 7)]))
        parts.append(code_interval(interval, tables))
    parts.append(b"\xff\xd9")
    return b"".join(parts)


def _fit_huffman(
    tile: JpegTile, counted: npt.NDArray[np.int64], slots: dict[tuple[int, int], int]
) -> None:
    """Give a tile tables for how often symbols occur, (2, components, 256)."""
    new = [slots[c.dc, c.ac] for c in tile.components]
    tile.huffman = {}
    for slot in sorted(set(new)):
        members = [i for i, of in enumerate(new) if of == slot]
        for kind in (0, 1):
            total: npt.NDArray[np.int64] = counted[kind, members].sum(0)
            tile.huffman[slot | kind << 4] = jpeg_huffman.shortest(total)
    for component, slot in zip(tile.components, new, strict=True):
        component.dc = component.ac = slot
    if max(new) > 1:
        tile.frame = 0xC1
