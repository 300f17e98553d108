"""Damage by structure: tags, chunks, markers, boxes and values are changed, not only bits."""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

ODD = (
    0, 1, 2, 3, 7, 8, 16, 63, 64, 80, 96, 127, 128, 255, 256, 4096, 32767, 32768, 65535, 65536,
    10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, 10**9, 2**63 - 1, 2**64 - 1,
)  # fmt: skip
_TYPES = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 99)
_TAGS = (
    254, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 284, 296, 305, 317,
    320, 322, 323, 324, 325, 330, 338, 339, 347, 512, 513, 530, 32997, 33432, 34675, 50838,
    34118, 33628, 34412, 51123, 50296, 65420, 65000,
)  # fmt: skip

_Way = Callable[[bytearray, Random], bytes | bytearray]


def mutated(name: str, data: bytes, draw: Random) -> bytes:
    """Return a file with one to three things changed."""
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        data = bytes(draw.choice(_ways(name, data))(bytearray(data), draw))
    return data


def _ways(name: str, data: bytes) -> list[_Way]:
    general: list[_Way] = [_bytes, _cut, _spliced]
    if data[:2] in (b"II", b"MM"):
        return [*[_tag] * 8, *[_text] * 4, *[_link] * 2, *[_inner] * 2, *general]
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return [*[_chunk] * 8, *general]
    if data[:2] == b"\xff\xd8":
        return [*[_inner] * 4, *[_marker] * 4, *general]
    if name.endswith("json"):
        return [*[_node] * 8, *[_text] * 2, *general]
    return [*[_box] * 6, *general]


def _bytes(data: bytearray, draw: Random) -> bytearray:
    for _ in range(draw.randint(1, 8)):
        # Headers are at the beginning or at the end.
        reach = draw.choice((64, 400, len(data)))
        at = draw.randrange(min(reach, len(data)) or 1)
        at = draw.choice((at, len(data) - 1 - at))
        if data:
            data[at] = draw.choice((0, 255, data[at] ^ 1 << draw.randrange(8), draw.randrange(256)))
    return data


def _cut(data: bytearray, draw: Random) -> bytearray:
    return data[: draw.choice((draw.randrange(len(data) + 1), max(0, len(data) - 9)))]


def _spliced(data: bytearray, draw: Random) -> bytearray:
    a, b = draw.randrange(len(data) + 1), draw.randrange(len(data) + 1)
    part = data[a : a + draw.choice((1, 4, 12, 200))]
    return draw.choice((data[:b] + part + data[b:], data[:a] + data[a + len(part) :]))


def _number(draw: Random, bits: int) -> int:
    return (draw.choice(ODD) if draw.random() < 0.8 else draw.getrandbits(bits)) % 2**bits


# ------------------------------------------------------------------ TIFF


def _pages(data: bytearray) -> list[tuple[int, int, bool, str]]:
    """Return (start, tags, big, byte order) of the pages of a TIFF, as far as they can be found."""
    order = "<" if data[:2] == b"II" else ">"
    big = bytes(data[2:4]) in (b"+\0", b"\0+")
    offset, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    found: list[tuple[int, int, bool, str]] = []
    at = 8 if big else 4
    try:
        while len(found) < 50:
            (start,) = struct.unpack_from(order + offset, data, at)
            (tags,) = struct.unpack_from(order + count, data, start)
            if start == 0 or tags > 200:
                break
            first = start + struct.calcsize(count)
            found.append((first, tags, big, order))
            at = first + tags * entry
    except struct.error:
        pass
    return found


def _tag(data: bytearray, draw: Random) -> bytearray:
    pages = _pages(data)
    if not pages:
        return _bytes(data, draw)
    start, tags, big, order = draw.choice(pages)
    entry, wide = (20, "Q") if big else (12, "I")
    at = start + draw.randrange(max(1, tags)) * entry
    what = draw.randrange(5)
    try:
        if what == 0:
            struct.pack_into(order + "H", data, at + 2, draw.choice(_TYPES))
        elif what == 1:
            count = struct.unpack_from(order + wide, data, at + 4)[0]
            value = draw.choice((_number(draw, 32), count + 1, max(0, count - 1), count * 2))
            struct.pack_into(order + wide, data, at + 4, value % 2**32)
        elif what == 2:
            value = draw.choice(
                (_number(draw, 8 * struct.calcsize(wide)), draw.randrange(len(data)))
            )
            struct.pack_into(order + wide, data, at + 4 + struct.calcsize(wide), value)
        elif what == 3:
            struct.pack_into(order + "H", data, at, draw.choice(_TAGS))
        else:  # a number of 16 bits as it stands in small tags
            struct.pack_into(order + "H", data, at + 4 + struct.calcsize(wide), _number(draw, 16))
    except struct.error:
        return _bytes(data, draw)
    return data


def _link(data: bytearray, draw: Random) -> bytearray:
    pages = _pages(data)
    if not pages:
        return _bytes(data, draw)
    start, tags, big, order = draw.choice(pages)
    entry, wide = (20, "Q") if big else (12, "I")
    at = draw.choice((start + tags * entry, start - (8 if big else 2), 8 if big else 4))
    try:
        struct.pack_into(
            order + wide,
            data,
            at,
            draw.choice((draw.randrange(len(data)), start - 2, 0, 2**32 - 1)),
        )
    except struct.error:
        return _bytes(data, draw)
    return data


def _text(data: bytearray, draw: Random) -> bytes:
    """Change a number or a name in a description, with its length kept or not."""
    spots = list(re.finditer(rb'(?<=[="\[ :,])\d{1,9}|(?<=")[A-Za-z]{1,12}(?=")', bytes(data)))
    if not spots:
        return bytes(_bytes(data, draw))
    spot = draw.choice(spots)
    new = draw.choice(
        [
            str(draw.choice(ODD)).encode(),
            b"-1",
            b"1e400",
            b"nan",
            b"",
            b"YY",
            b"Q",
            b"&#181;m",
            b"\xff",
        ]
    )
    if draw.random() < 0.6:
        new = (new * 9)[: len(spot.group())].ljust(len(spot.group()), b"9")
    return bytes(data[: spot.start()]) + new + bytes(data[spot.end() :])


def _inner(data: bytearray, draw: Random) -> bytearray:
    """Change the size in the header of a JPEG, JPEG 2000 or WebP, wherever it lies."""
    for magic, at, layout in draw.sample(_INNER, len(_INNER)):
        places = [found.start() for found in re.finditer(re.escape(magic), bytes(data))]
        if places:
            spot = draw.choice(places) + at + draw.choice((0, struct.calcsize(layout)))
            bits = 8 * struct.calcsize(layout)
            if spot + bits // 8 <= len(data):
                struct.pack_into(layout, data, spot, _number(draw, bits))
                return data
    return _bytes(data, draw)


_INNER = [
    (b"\xff\xc0", 5, ">H"),
    (b"\xff\xc2", 5, ">H"),
    (b"\xff\x4f\xff\x51", 8, ">I"),
    (b"VP8 ", 14, "<H"),
    (b"VP8L", 9, "<H"),
]


# ------------------------------------------------------------------ others


def _chunk(data: bytearray, draw: Random) -> bytes:
    """Change, drop, double or move a chunk of a PNG; its checksum is made right most times."""
    chunks: list[tuple[bytes, bytes]] = []
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + length])))
        at += 12 + length
    if not chunks:
        return bytes(_bytes(data, draw))
    index = draw.randrange(len(chunks))
    kind, body = chunks[index]
    what = draw.randrange(6)
    stated: int | None = None
    if what == 0 and body:
        changed = bytearray(body)
        spot = draw.randrange(min(len(changed), 20))
        changed[spot] = draw.choice((0, 1, 2, 3, 4, 6, 8, 16, 255, draw.randrange(256)))
        chunks[index] = (kind, bytes(changed))
    elif what == 1:
        chunks[index] = (kind, body[: draw.randrange(len(body) + 1)])
    elif what == 2:
        chunks.insert(draw.randrange(len(chunks) + 1), chunks[index])
    elif what == 3:
        chunks.pop(index)
    elif what == 4:
        chunks[index] = (draw.choice((b"acTL", b"tRNS", b"PLTE", b"pHYs", b"iCCP", b"eXIf")), body)
    else:
        stated = _number(draw, 32)
    out = bytes(data[:8])
    for number, (kind, body) in enumerate(chunks):
        size = len(body) if stated is None or number != index else stated
        out += struct.pack(">I", size) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body) ^ (draw.random() < 0.05))
    return out


def _marker(data: bytearray, draw: Random) -> bytearray:
    """Change the length or the contents of a marker segment of a JPEG."""
    at, starts = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF:
        starts.append(at)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    if not starts:
        return _bytes(data, draw)
    spot = draw.choice(starts)
    if draw.random() < 0.5:
        struct.pack_into(">H", data, spot + 2, _number(draw, 16))
    else:
        data[min(spot + draw.randrange(1, 30), len(data) - 1)] = draw.randrange(256)
    return data


def _box(data: bytearray, draw: Random) -> bytearray:
    """Change a size in front of a name of four letters: RIFF, and the boxes of AVIF."""
    places = [
        found.start() for found in re.finditer(rb"[A-Za-z]{3}[A-Za-z0-9 ]", bytes(data[:900]))
    ]
    if not places:
        return _bytes(data, draw)
    spot = draw.choice(places) + draw.choice((-4, 4, 8, 12))
    if 0 <= spot <= len(data) - 4:
        struct.pack_into(draw.choice("<>") + "I", data, spot, _number(draw, 32))
    return data


def _node(data: bytearray, draw: Random) -> bytes:
    """Replace a value in JSON."""
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    try:
        tree = json.loads(bytes(data).decode(encoding))
    except ValueError:
        return bytes(_bytes(data, draw))
    holders: list[Any] = []

    def walk(node: Any) -> None:
        if isinstance(node, (dict, list)) and node:
            holders.append(node)
            for child in node.values() if isinstance(node, dict) else node:
                walk(child)

    walk(tree)
    if holders:
        holder = draw.choice(holders)
        key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        new: list[Any] = [None, [], {}, "", "x", 0, -1, 1e308, float("nan"), 10**400, True, [[]]]
        new += [
            [[[]]],
            [1, 2],
            [[1, 2]],
            {"type": "Polygon"},
            {"type": "LineString"},
            "\ud800",
            tree,
        ]
        value = draw.choice(new)
        if value is tree:
            value = json.loads(json.dumps(tree))
        holder[key] = value
    text = json.dumps(tree)
    return text.encode(draw.choice((encoding, encoding, "utf-16", "utf-32", "cp1252")), "replace")
