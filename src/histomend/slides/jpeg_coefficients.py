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
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.slides import jpeg_huffman

Blocks = npt.NDArray[np.int32]

_SHIFT = 32  # the walk through the bits keeps both position and coefficient in one number
_LARGEST_BLOCK = 300  # bytes: 64 symbols of 31 bits and one of 27
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


def read_tile(stream: bytes, tables: bytes | None, where: str) -> JpegTile:
    """Read the coefficients of a tile.

    Parameters
    ----------
    stream : bytes
        As stored: complete, or abbreviated.
    tables : bytes or None
        TIFF tag 347.
    where : str
        For messages.

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
            _read_header(tables, tile, where)
            tile.reserved = {("q", slot) for slot in tile.quantisers}
            tile.reserved |= {("h", slot & 15) for slot in tile.huffman}
            tile.notes = []
        start = _read_header(stream, tile, where)
        if start is None or not tile.components:
            raise _damaged(where, "it has no scan")
        _check(tile, where)
        intervals = list(_intervals(stream[start:], where))
        _read_scan(tile, intervals, where)
    except (struct.error, IndexError, ValueError) as error:
        raise _damaged(where, str(error)) from error
    return tile


def frame_size(stream: bytes, where: str) -> tuple[int, int, int]:
    """Return width, height and number of components that a stream claims; decodes nothing.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    """
    tile = JpegTile(0, 0, [], {}, {}, set())
    try:
        _read_header(stream, tile, where)
    except (struct.error, IndexError, ValueError) as error:
        raise _damaged(where, str(error)) from error
    return tile.width, tile.height, len(tile.components)


def write_tile(tile: JpegTile, *, own_tables: bool = True) -> bytes:
    """Write a tile as a stream.

    Parameters
    ----------
    tile : JpegTile
    own_tables : bool
        Put those tables into the stream that its components use.

    Raises
    ------
    ValueError
        A coefficient is too large for the format, or has no code in its table.
    """
    components = tile.components
    parts = [b"\xff\xd8"]
    parts += [_segment(marker, payload) for marker, payload in tile.notes]
    if own_tables:
        for slot in sorted({c.quantiser for c in components}):
            table = tile.quantisers[slot]
            deep = int(table.max()) > 255
            values = table.astype(">u2" if deep else np.uint8).tobytes()
            parts.append(_segment(0xDB, bytes([deep << 4 | slot]) + values))
        for slot in sorted({c.dc for c in components} | {16 | c.ac for c in components}):
            parts.append(_segment(0xC4, bytes([slot]) + tile.huffman[slot]))
    frame = struct.pack(">BHHB", 8, tile.height, tile.width, len(components))
    frame += b"".join(bytes([c.name, c.h << 4 | c.v, c.quantiser]) for c in components)
    parts.append(_segment(tile.frame, frame))
    if tile.restart:
        parts.append(_segment(0xDD, struct.pack(">H", tile.restart)))
    scan = bytes([len(components)])
    scan += b"".join(bytes([c.name, c.dc << 4 | c.ac]) for c in components)
    parts.append(_segment(0xDA, scan + b"\x00\x3f\x00"))
    tables = [(tile.huffman[c.dc], tile.huffman[16 | c.ac]) for c in components]
    for number, interval in enumerate(_tokens(tile)):
        if number:
            parts.append(bytes([0xFF, 0xD0 + (number - 1 & 7)]))
        parts.append(interval.coded(tables))
    parts.append(b"\xff\xd9")
    return b"".join(parts)


def fit_huffman(tile: JpegTile, slots: dict[tuple[int, int], int]) -> None:
    """Give a tile the shortest Huffman tables for its own coefficients.

    Parameters
    ----------
    tile : JpegTile
        Changed: its components use the new slots.
    slots : dict of (dc, ac) to int
        Which slot takes the place of each pair of slots in use.
    """
    counted = np.zeros((2, len(tile.components), 256), np.int64)
    for interval in _tokens(tile):
        counted += interval.frequencies(len(tile.components))
    tables: dict[int, bytes] = {}
    new = [slots[c.dc, c.ac] for c in tile.components]
    for slot in set(new):
        members = [i for i, of in enumerate(new) if of == slot]
        for kind in (0, 1):
            total: npt.NDArray[np.int64] = counted[kind, members].sum(0)
            tables[slot | kind << 4] = jpeg_huffman.shortest(total)
    for component, slot in zip(tile.components, new, strict=True):
        component.dc = component.ac = slot
    tile.huffman = tables
    if max(new) > 1:
        tile.frame = 0xC1


# Reading ---------------------------------------------------------------------------------------


def _damaged(where: str, why: str) -> UnreadableImageError:
    return UnreadableImageError(
        f"{where}: the JPEG data are damaged ({why}). Copy or export the slide again."
    )


def _read_header(stream: bytes, tile: JpegTile, where: str) -> int | None:
    """Read segments up to the scan; give where its data start, None if there is no scan."""
    if stream[:2] != b"\xff\xd8":
        raise _damaged(where, "it does not begin as JPEG does")
    at = 2
    while at + 4 <= len(stream):
        if stream[at] != 0xFF:
            raise _damaged(where, f"no marker at byte {at}")
        marker = stream[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker == 0xD9:
            return None
        (length,) = struct.unpack_from(">H", stream, at + 2)
        if length < 2 or at + 2 + length > len(stream):
            raise _damaged(where, f"a segment at byte {at} is cut short")
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
                raise _damaged(where, "a quantisation table holds zeros")
            tile.quantisers[slot] = table
            at += 1 + 64 * kind.itemsize
    elif marker == 0xC4:
        at = 0
        while at < len(payload):
            count = sum(payload[at + 1 : at + 17])
            table = payload[at + 1 : at + 17 + count]
            jpeg_huffman.codes(table)
            tile.huffman[payload[at]] = table
            at += 17 + count
    elif marker == 0xDD:
        (tile.restart,) = struct.unpack(">H", payload)
    elif marker in (0xC0, 0xC1):
        depth, tile.height, tile.width, count = struct.unpack_from(">BHHB", payload)
        if depth != 8:
            raise _unsupported(where, f"of {depth} bits")
        tile.frame = marker
        tile.components = [
            Component(name, sampling >> 4, sampling & 15, slot)
            for name, sampling, slot in struct.iter_unpack("BBB", payload[6 : 6 + 3 * count])
        ]
        if len(tile.components) != count:
            raise _damaged(where, "its frame is cut short")
    elif 0xC2 <= marker <= 0xCF and marker != 0xC8:
        raise _unsupported(where, _KINDS.get(marker, f"of kind SOF{marker - 0xC0}"))
    elif 0xE0 <= marker <= 0xEF or marker == 0xFE:
        tile.notes.append((marker, payload))


def _unsupported(where: str, kind: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"{where}: the JPEG is {kind}, and only 8-bit sequential Huffman JPEG of one scan is "
        "edited in place. Write a new pyramid instead."
    )


def _read_scan_header(payload: bytes, tile: JpegTile, where: str) -> None:
    if payload[0] != len(tile.components):
        raise _unsupported(where, "in several scans")
    for name, slots in struct.iter_unpack("BB", payload[1 : 1 + 2 * payload[0]]):
        of_name = [c for c in tile.components if c.name == name]
        if len(of_name) != 1:
            raise _damaged(where, f"its scan has a component {name} that its frame lacks")
        of_name[0].dc, of_name[0].ac = slots >> 4, slots & 15


def _check(tile: JpegTile, where: str) -> None:
    if not 0 < tile.width <= 65_500 or not 0 < tile.height <= 65_500:
        raise _damaged(where, f"it claims {tile.width} x {tile.height} px")
    for c in tile.components:
        if c.h not in (1, 2, 4) or c.v not in (1, 2, 4):
            raise _unsupported(where, f"sampled {c.h} x {c.v}")
        if c.quantiser not in tile.quantisers:
            raise _damaged(where, f"quantisation table {c.quantiser} is missing")
        for slot in (c.dc, 16 | c.ac):
            if slot not in tile.huffman:
                raise _damaged(where, f"Huffman table {slot & 15} is missing")
    if len(tile.components) == 1:  # a lone plane is coded block by block (T.81, A.2.2)
        tile.components[0].h = tile.components[0].v = 1


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
                raise _unsupported(where, "in several scans")
            return
        start = at + 2
    yield scan[start:].replace(b"\xff\x00", b"\xff")


def _read_scan(tile: JpegTile, intervals: list[bytes], where: str) -> None:
    across, down = tile.grid
    per_mcu = _members(tile)
    total = across * down
    # Half a byte a block is the least that any data take.
    if total * len(per_mcu) > 16 * (sum(map(len, intervals)) + 16):
        raise _damaged(where, "there are fewer data than its size needs")
    step = tile.restart or total
    scan = np.zeros((total, len(per_mcu), 64), np.int32)
    for number, start in enumerate(range(0, total, step)):
        if number >= len(intervals):
            raise _damaged(where, "blocks are missing at its end")
        part = scan[start : start + step]
        _read_interval(tile, intervals[number], per_mcu, part, where)
    for i, c in enumerate(tile.components):
        own = scan[:, per_mcu == i].reshape(down, across, c.v, c.h, 64)
        c.blocks = own.transpose(0, 2, 1, 3, 4).reshape(down * c.v, across * c.h, 64)


def _members(tile: JpegTile) -> npt.NDArray[np.intp]:
    """Return the component of each block of an MCU, in their order."""
    return np.repeat(np.arange(len(tile.components)), [c.h * c.v for c in tile.components])


def _read_interval(
    tile: JpegTile, data: bytes, per_mcu: npt.NDArray[np.intp], out: Blocks, where: str
) -> None:
    """Decode one restart interval into (MCUs, blocks of an MCU, 64)."""
    # 16 and 32 bits from every bit and byte on, so that symbols are found by one look-up.
    raw = np.frombuffer(data + b"\xff" * _LARGEST_BLOCK, np.uint8).astype(np.uint32)
    words = raw[:-3] << 24 | raw[1:-2] << 16 | raw[2:-1] << 8 | raw[3:]
    ahead = (words[:, None] >> (16 - np.arange(8, dtype=np.uint32)) & 0xFFFF).astype(np.uint16)
    ahead = ahead.reshape(-1)
    used = {}
    for c in tile.components:
        for slot, ac in ((c.dc, False), (16 | c.ac, True)):
            if slot not in used:
                to_next = jpeg_huffman.strides(tile.huffman[slot], _SHIFT, ac=ac)[ahead]
                used[slot] = memoryview(to_next)
    walk = [(used[tile.components[i].dc], used[16 | tile.components[i].ac]) for i in per_mcu]
    seen = _walk(walk, len(out), len(data) * 8, where)
    at, first = seen & (1 << _SHIFT) - 1, seen >> _SHIFT
    _place(tile, at, first, ahead, words, per_mcu, out)


def _walk(
    tables: list[tuple[memoryview, memoryview]], mcus: int, bits: int, where: str
) -> npt.NDArray[np.int64]:
    """Find where symbols begin: bit position, and coefficient << 32, of each in turn.

    The only step that cannot be done for all symbols at once, and so it does nothing else.
    """
    low, end = (1 << _SHIFT) - 1, 64 << _SHIFT
    seen: list[int] = []
    note = seen.append
    state = 0
    for _ in range(mcus):
        for dc, ac in tables:
            state &= low
            if state > bits:
                raise _damaged(where, "the data end before the tile does")
            note(state)
            state += dc[state]
            while state < end:
                note(state)
                state += ac[state & low]
    return np.array(seen, np.int64)


def _place(
    tile: JpegTile,
    at: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    ahead: npt.NDArray[np.uint16],
    words: npt.NDArray[np.uint32],
    per_mcu: npt.NDArray[np.intp],
    out: Blocks,
) -> None:
    """Read the values of symbols at bits `at` and put them where they belong."""
    is_dc = first == 0
    block = np.cumsum(is_dc) - 1
    window = ahead[at]
    length, symbol = np.zeros(len(at), np.int64), np.zeros(len(at), np.int64)
    member = np.tile(per_mcu, len(out))[block]
    groups: dict[int, npt.NDArray[np.bool_]] = {}
    for i, c in enumerate(tile.components):
        for slot, mine in ((c.dc, is_dc), (16 | c.ac, ~is_dc)):
            chosen = mine & (member == i)
            groups[slot] = groups[slot] | chosen if slot in groups else chosen
    for slot, chosen in groups.items():
        symbols, lengths = jpeg_huffman.windows(tile.huffman[slot])
        symbol[chosen], length[chosen] = symbols[window[chosen]], lengths[window[chosen]]
    if not length.all():
        raise ValueError("bits that no Huffman table knows")
    size = np.where(is_dc, symbol, symbol & 15)
    place = first + np.where(is_dc, 0, symbol >> 4)
    if size.max() > 15 or place[size > 0].max(initial=0) > 63:
        raise ValueError("a block of more than 64 coefficients")
    begin = at + length
    bits = words[begin >> 3].astype(np.int64) >> (32 - size - (begin & 7)) & (1 << size) - 1
    value = np.where(bits < 1 << size >> 1, bits - (1 << size) + 1, bits)
    flat = out.reshape(-1)
    kept = (size > 0) & ~is_dc
    flat[block[kept] * 64 + place[kept]] = value[kept]
    steps = value[is_dc].reshape(len(out), len(per_mcu))
    for i in range(len(tile.components)):
        own = per_mcu == i
        out[:, own, 0] = np.cumsum(steps[:, own]).reshape(len(out), -1)


# Writing ---------------------------------------------------------------------------------------


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(payload) + 2) + payload


@dataclass
class _Interval:
    """The symbols of a restart interval in their order, before they have codes."""

    member: npt.NDArray[np.intp]  # component
    ac: npt.NDArray[np.bool_]
    symbol: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]  # of the value that follows, in bits
    value: npt.NDArray[np.int64]

    def frequencies(self, components: int) -> npt.NDArray[np.int64]:
        """Return (2, components, 256): how often each DC and AC symbol occurs."""
        key = (self.ac * components + self.member) * 256 + self.symbol
        counted: npt.NDArray[np.int64] = np.bincount(key, minlength=512 * components)
        return counted.reshape(2, components, 256)

    def coded(self, tables: list[tuple[bytes, bytes]]) -> bytes:
        """Return the bits, padded with ones, bytes stuffed."""
        pairs = [jpeg_huffman.codes(t[kind]) for kind in (0, 1) for t in tables]
        key = (self.ac * len(tables) + self.member) * 256 + self.symbol
        length = np.concatenate([lengths for _, lengths in pairs])[key]
        if not length.all():
            raise ValueError("a symbol that the Huffman table does not have")
        word = np.concatenate([words for words, _ in pairs])[key] << self.size
        low = (1 << self.size) - 1
        word |= np.where(self.value < 0, self.value + low, self.value)
        return _pack(word, length + self.size)


def _tokens(tile: JpegTile) -> Iterator[_Interval]:
    """Turn coefficients into symbols, restart interval by restart interval."""
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
    per_mcu = _members(tile)
    step = tile.restart or len(scan)
    for start in range(0, len(scan), step):
        yield _interval(scan[start : start + step], per_mcu)


def _interval(scan: Blocks, per_mcu: npt.NDArray[np.intp]) -> _Interval:
    values = scan.reshape(-1, 64).copy()
    members = np.tile(per_mcu, len(scan))
    for i in range(int(per_mcu.max()) + 1):
        own = members == i
        values[own, 0] = np.diff(values[own, 0], prepend=0)
    present = values != 0
    present[:, 0] = True
    flat = np.flatnonzero(present)
    block, place = flat >> 6, flat & 63
    value = values.reshape(-1)[flat].astype(np.int64)
    is_dc = place == 0
    # The DC value is always there, so the gap to the value before lies within the block.
    run = np.where(is_dc, 0, np.diff(flat, prepend=0) - 1)
    size = np.frexp(np.abs(value).astype(np.float64))[1].astype(np.int64)
    if size[is_dc].max() > 11 or size[~is_dc].max(initial=0) > 10:
        raise ValueError("a coefficient too large for baseline JPEG")
    last = np.append(block[1:] != block[:-1], True)
    closed = last & (place != 63)
    long_runs = run >> 4
    taken = 1 + long_runs + closed
    begin = np.cumsum(taken) - taken
    count = int(taken.sum())
    at = begin + long_runs
    # What is left at (AC, no value) is a run of 16 zeros (15/0) or, after the last, end of block.
    out = _Interval(
        np.repeat(members[block], taken),
        np.ones(count, np.bool_),
        np.full(count, 0xF0, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
    )
    out.symbol[at] = np.where(is_dc, size, (run & 15) << 4 | size)
    out.size[at], out.value[at], out.ac[at] = size, value, ~is_dc
    out.symbol[at[closed] + 1] = 0
    return out


def _pack(word: npt.NDArray[np.int64], length: npt.NDArray[np.int64]) -> bytes:
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
