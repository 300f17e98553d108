"""The scan of a JPEG tile: from its bits to coefficients, and back.

Only one step has to go from symbol to symbol, as each begins where the last one ends: the walk
through the bits. It does nothing but note where they begin; all else is done for all at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.slides import jpeg_huffman
from histomend.slides.jpeg_stream import Blocks, JpegTile, damaged, unsupported

_LARGEST_BLOCK = 300  # bytes: 64 symbols of 31 bits and one of 27
_LARGEST_VALUE = 2047  # a difference of DC values has at most 11 bits
_BITS = np.array([value.bit_length() for value in range(_LARGEST_VALUE + 1)], np.int32)

Ints = npt.NDArray[np.int64]


def read_scan(tile: JpegTile, data: bytes, where: str) -> None:
    """Read the coefficients of all components out of the data of a scan.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    ValueError
        Bits that no table knows.
    """
    intervals = list(_intervals(data, where))
    across, down = tile.grid
    members = _members(tile)
    total = across * down
    # Two bits a block is the least that any data take.
    if total * len(members) > 4 * (sum(map(len, intervals)) + 16):
        raise damaged(where, "there are fewer data than its size needs")
    step = tile.restart or total
    scan = np.zeros((total, len(members), 64), np.int32)
    for number, start in enumerate(range(0, total, step)):
        if number >= len(intervals):
            raise damaged(where, "blocks are missing at its end")
        _read_interval(tile, intervals[number], members, scan[start : start + step], where)
    for i, c in enumerate(tile.components):
        own = scan[:, members == i].reshape(down, across, c.v, c.h, 64)
        c.blocks = own.transpose(0, 2, 1, 3, 4).reshape(down * c.v, across * c.h, 64)


def _intervals(scan: bytes, where: str) -> Iterator[bytes]:
    """Cut the data of a scan at its restart markers, byte stuffing removed."""
    values = np.frombuffer(scan, np.uint8)
    after = values[1:]
    start = 0
    for at in np.flatnonzero((values[:-1] == 0xFF) & (after != 0) & (after != 0xFF)).tolist():
        marker = scan[at + 1]
        yield scan[start:at].replace(b"\xff\x00", b"\xff")
        if not 0xD0 <= marker <= 0xD7:
            if marker in (0xDA, 0xC4, 0xDB):
                raise unsupported(where, "in several scans")
            return
        start = at + 2
    yield scan[start:].replace(b"\xff\x00", b"\xff")


def _members(tile: JpegTile) -> npt.NDArray[np.intp]:
    """Return the component of each block of an MCU, in their order."""
    return np.repeat(np.arange(len(tile.components)), [c.h * c.v for c in tile.components])


def _read_interval(
    tile: JpegTile, data: bytes, members: npt.NDArray[np.intp], out: Blocks, where: str
) -> None:
    """Decode one restart interval into (MCUs, blocks of an MCU, 64)."""
    # 16 and 32 bits from every bit and byte on, so that symbols are found by one look-up.
    raw = np.frombuffer(data + b"\xff" * _LARGEST_BLOCK, np.uint8).astype(np.uint32)
    words: npt.NDArray[Any] = raw[:-3] << 24 | raw[1:-2] << 16 | raw[2:-1] << 8 | raw[3:]
    ahead = np.empty(len(words) * 8, np.uint16)
    for bit in range(8):
        ahead[bit::8] = words >> np.uint32(16 - bit)
    shift = 24 if len(ahead) < 1 << 24 else 40
    dc: dict[int, list[int]] = {}
    ac: dict[int, memoryview] = {}
    for c in tile.components:
        if c.dc not in dc:
            dc[c.dc] = jpeg_huffman.dc_strides(tile.huffman[c.dc], shift)
        if c.ac not in ac:
            ac[c.ac] = jpeg_huffman.ac_strides(tile.huffman[16 | c.ac], shift)[ahead].data
    walk = [(dc[tile.components[i].dc], ac[tile.components[i].ac]) for i in members]
    seen = _walk(walk, ahead.data, shift, len(out), len(data) * 8, where)
    _place(tile, seen & (1 << shift) - 1, seen >> shift, ahead, words, members, out)


def _walk(
    tables: list[tuple[list[int], memoryview]],
    ahead: memoryview,
    shift: int,
    mcus: int,
    bits: int,
    where: str,
) -> Ints:
    """Find where symbols begin: bit position, and above it the coefficient, of each in turn."""
    low, end = (1 << shift) - 1, 64 << shift
    seen = array("q")
    note = seen.append
    state = 0
    for _ in range(mcus):
        for dc, ac in tables:
            state &= low
            if state > bits:
                raise damaged(where, "the data end before the tile does")
            note(state)
            state += dc[ahead[state]]
            while state < end:
                note(state)
                state += ac[state & low]
    return np.frombuffer(seen, np.int64)


def _place(
    tile: JpegTile,
    at: Ints,
    first: Ints,
    ahead: npt.NDArray[np.uint16],
    words: npt.NDArray[np.uint32],
    members: npt.NDArray[np.intp],
    out: Blocks,
) -> None:
    """Read the values of symbols at bits `at` and put them where they belong."""
    is_dc = first == 0
    block = np.cumsum(is_dc) - 1
    slots = [c.dc for c in tile.components] + [16 | c.ac for c in tile.components]
    tables = np.stack([jpeg_huffman.windows(tile.huffman[slot]) for slot in slots]).reshape(-1)
    table = np.tile(members, len(out))[block] + np.where(is_dc, 0, len(tile.components))
    found = tables[(table << 16) + ahead[at]].astype(np.int64)
    symbol, length = found & 255, found >> 8
    if not length.all():
        raise ValueError("bits that no Huffman table knows")
    size = np.where(is_dc, symbol, symbol & 15)
    place = first + np.where(is_dc, 0, symbol >> 4)
    if size.max() > 15 or place[size > 0].max(initial=0) > 63:
        raise ValueError("a block of more than 64 coefficients")
    begin = at + length
    bits = words[begin >> 3].astype(np.int64) >> (32 - size - (begin & 7)) & (1 << size) - 1
    value = np.where(bits < 1 << size >> 1, bits - (1 << size) + 1, bits)
    kept = (size > 0) & ~is_dc
    out.reshape(-1)[(block * 64 + place)[kept]] = value[kept]
    steps = value[is_dc].reshape(len(out), len(members))
    for i in range(len(tile.components)):
        own = members == i
        out[:, own, 0] = np.cumsum(steps[:, own]).reshape(len(out), -1)


@dataclass
class Symbols:
    """The symbols of a restart interval in their order, before they have codes.

    Parameters
    ----------
    table : (n,) int
        Component for DC symbols, components + component for AC symbols.
    symbol : (n,) int
    size : (n,) int
        Bits of the value that follows.
    value : (n,) int
    """

    table: npt.NDArray[np.int32]
    symbol: npt.NDArray[np.int32]
    size: npt.NDArray[np.int32]
    value: npt.NDArray[np.int32]

    def frequencies(self, components: int) -> Ints:
        """Return (2, components, 256): how often each DC and AC symbol occurs."""
        key = self.table * 256 + self.symbol
        counted: Ints = np.bincount(key, minlength=512 * components).astype(np.int64)
        return counted.reshape(2, components, 256)


def scan_symbols(tile: JpegTile) -> list[Symbols]:
    """Turn coefficients into symbols, restart interval by restart interval.

    Raises
    ------
    ValueError
        A coefficient is too large for the format.
    """
    across, down = tile.grid
    scan = np.concatenate(
        [
            c.blocks.reshape(down, c.v, across, c.h, 64)
            .transpose(0, 2, 1, 3, 4)
            .reshape(across * down, c.v * c.h, 64)
            for c in tile.components
        ],
        axis=1,
    )
    members = _members(tile)
    step = tile.restart or len(scan)
    return [
        _symbols(scan[start : start + step], members, len(tile.components))
        for start in range(0, len(scan), step)
    ]


def _symbols(scan: Blocks, members: npt.NDArray[np.intp], components: int) -> Symbols:
    for i in range(components):
        own = members == i
        dc = scan[:, own, 0]
        scan[:, own, 0] = np.diff(dc.reshape(-1), prepend=0).reshape(dc.shape)
    flat_scan = scan.reshape(-1)
    present = flat_scan != 0
    present[::64] = True
    flat = np.flatnonzero(present)
    value = flat_scan[flat]
    is_dc = (flat & 63) == 0
    # The DC value is always there, so the gap to the value before lies within the block.
    run = np.diff(flat, prepend=0).astype(np.int32) - 1
    run[is_dc] = 0
    amount = np.abs(value)
    if amount.max() > _LARGEST_VALUE or amount[~is_dc].max(initial=0) > 1023:
        raise ValueError("a coefficient too large for baseline JPEG")
    size = _BITS[amount]
    closed = np.append(is_dc[1:], True) & ((flat & 63) != 63)
    long_runs = run >> 4
    taken = 1 + long_runs + closed
    end = np.cumsum(taken)
    count = int(end[-1])
    at = end - taken + long_runs
    table = np.tile(members, len(scan)).astype(np.int32)[flat >> 6] + components
    # What is left of symbol and size is a run of 16 zeros (15/0) or, after the last, end of block.
    out = Symbols(
        np.repeat(table, taken),
        np.full(count, 0xF0, np.int32),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
    )
    out.symbol[at] = np.where(is_dc, size, (run & 15) << 4 | size)
    out.size[at], out.value[at] = size, value
    out.table[at[is_dc]] -= components
    out.symbol[at[closed] + 1] = 0
    return out


def code_interval(symbols: Symbols, tables: list[tuple[bytes, bytes]]) -> bytes:
    """Return the bits of an interval, padded with ones, bytes stuffed.

    Raises
    ------
    ValueError
        A symbol is not in its table.
    """
    pairs = [jpeg_huffman.codes(t[kind]) for kind in (0, 1) for t in tables]
    key = symbols.table * 256 + symbols.symbol
    length = np.concatenate([lengths for _, lengths in pairs])[key]
    if not length.all():
        raise ValueError("a symbol that the Huffman table does not have")
    word = np.concatenate([words for words, _ in pairs])[key] << symbols.size
    word |= np.where(symbols.value < 0, symbols.value + (1 << symbols.size) - 1, symbols.value)
    return _pack(word, length + symbols.size)


def _pack(word: Ints, length: Ints) -> bytes:
    """Join bit strings of at most 32 bits."""
    end = np.cumsum(length)
    total = int(end[-1])
    start = end - length
    slot, offset = start >> 5, start & 31
    wide = word.astype(np.uint64) << (64 - offset - length).astype(np.uint64)
    size = (total >> 5) + 2
    # Bits of different strings never overlap, so adding is joining; 32 bits are exact in float64.
    high = np.bincount(slot, (wide >> np.uint64(32)).astype(np.float64), size + 1)
    low = np.bincount(slot + 1, (wide & np.uint64(0xFFFFFFFF)).astype(np.float64), size + 1)
    packed = bytearray((high + low).astype(np.uint64).astype(">u4").tobytes()[: (total + 7) // 8])
    packed[-1] |= (1 << (-total % 8)) - 1
    return bytes(packed).replace(b"\xff", b"\xff\x00")
