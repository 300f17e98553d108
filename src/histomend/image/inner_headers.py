"""How large the pictures inside the strips and tiles of a TIFF say they are.

Decoders believe the header of what they decode: a tile of 64 px a side may hold a JPEG that says
40,000, and take gigabytes. So each is asked before it is decoded.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from typing import Any

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import check_size

_RAW = {1, 2, 3, 4, 5, 8, 32773, 32946, 34925, 50000}  # bytes, whose number the page tells
_JPEG = {6, 7, 33007, 34892}
_JPEG_2000 = {33003, 33004, 33005, 34712}
_WEBP, _PNG = {34927, 50001}, {34933}
_JPEG_XL = {50002, 52546}
_LARGE_TILE = 1 << 24  # pixels
_BEGINNING, _MOST = 1 << 12, 1 << 20


def check_storage(page: Any, where: str) -> None:
    """Refuse what takes more memory than the image: odd compressions, and far too large tiles.

    Raises
    ------
    UnsupportedImageError
        A compression of which it cannot be told beforehand how much comes out.
    UnreadableImageError
        Tiles or strips that are far larger than the image.
    ImageSizeError
        Tiles or strips of more than 450 megapixels, of which no part can be read by itself.
    """
    check_tiles(page, where)
    if int(page.compression) not in _RAW | _JPEG | _JPEG_2000 | _WEBP | _PNG | _JPEG_XL:
        raise UnsupportedImageError(
            f"{where}: TIFF compressed as {_name(page.compression)} is not read. Save it with "
            "deflate, LZW, JPEG or without compression."
        )


def check_complete(page: Any, where: str) -> None:
    """Refuse a page whose tiles or strips do not lie in the file as a whole.

    Before it is decoded: what a header tells of them is asked of the machine as memory.

    Raises
    ------
    UnreadableImageError
    """
    size = page.parent.filehandle.size
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    rows, columns = chunk_shape(page)
    needed = math.ceil(int(page.imagelength) / rows) * math.ceil(int(page.imagewidth) / columns)
    if len(ends) < needed:
        raise UnreadableImageError(
            f"{where}: the TIFF is damaged: its header tells of {needed:,} tiles or strips and "
            f"lists {len(ends):,}. Copy or export the file again."
        )
    if max(ends) > size:
        raise UnreadableImageError(
            f"{where}: the TIFF is truncated: its pixels need {max(ends):,} bytes and "
            f"the file has {size:,}. Copy or export the file again."
        )


def check_tiles(page: Any, where: str) -> None:
    """Refuse far too large tiles.

    Raises
    ------
    UnreadableImageError
        Tiles or strips that are far larger than the image.
    ImageSizeError
        Tiles or strips of more than 450 megapixels, of which no part can be read by itself.
    """
    rows, columns = chunk_shape(page)
    # Tiles may reach over the border, but only a damaged header asks for far more than the image.
    if rows * columns > max(_LARGE_TILE, 4 * int(page.imagewidth) * int(page.imagelength)):
        raise UnreadableImageError(
            f"{where}: the TIFF is damaged: a tile of {columns:,} x {rows:,} px in an image of "
            f"{page.imagewidth} x {page.imagelength} px. Copy or export the file again."
        )
    check_size(columns, rows, f"{where}, one tile or strip of it", least=1)


def _name(compression: Any) -> str:
    return str(getattr(compression, "name", compression))


def check_frames(
    page: Any, where: str, wanted: Iterable[int] | None = None, like: Any = None
) -> None:
    """Fail if a strip or tile holds a picture that is larger than the strip or tile.

    Parameters
    ----------
    page : tifffile.TiffPage
    where : str
        Named in messages.
    wanted : numbers of strips or tiles, all by default
    like : the page that this one is stored like, itself by default

    Raises
    ------
    UnreadableImageError
    """
    like = page if like is None else like
    compression = int(like.compression)
    if compression in _RAW:
        return
    rows, columns = chunk_shape(like)
    handle = page.parent.filehandle
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    for index in range(len(places)) if wanted is None else wanted:
        offset, size = places[index]
        if offset <= 0 or size <= 0:
            continue  # left out of the file
        found = None
        for part in (_BEGINNING, _MOST):
            handle.seek(offset)
            found = _frame(compression, handle.read(min(size, part)))
            if found is not None or size <= part:
                break
        found = found or _frame(compression, like.jpegheader or b"")
        if found is None or found[0] > columns or found[1] > rows:
            size_text = "no size" if found is None else f"{found[0]:,} x {found[1]:,} px"
            raise UnreadableImageError(
                f"{where}: the TIFF is damaged: strip or tile {index} is {columns} x {rows} px, "
                f"and the picture in it tells of {size_text}. Copy or export the file again."
            )


def chunk_shape(page: Any) -> tuple[int, int]:
    """Return (height, width) of a strip or tile."""
    if page.is_tiled:
        return int(page.tilelength), int(page.tilewidth)
    return min(int(page.rowsperstrip), int(page.imagelength)), int(page.imagewidth)


def _frame(compression: int, data: bytes) -> tuple[int, int] | None:
    """Return (width, height) as the beginning of a picture tells them; None if it does not."""
    try:
        if compression in _JPEG:
            return _jpeg(data)
        if compression in _JPEG_2000:
            return _jpeg_2000(data)
        if compression in _WEBP:
            return _webp(data)
        if compression in _JPEG_XL:
            return _jpeg_xl(data)
        return struct.unpack(">II", data[16:24]) if data[12:16] == b"IHDR" else None
    except (struct.error, IndexError):
        return None


def jpeg_least_bytes(head: bytes) -> int:
    """Return the fewest bytes that a JPEG of the size and kind told by its beginning can take.

    In Huffman coding each block of 8 x 8 values takes a bit at least for its mean, and one for the
    rest unless that of many blocks is told at once, as progressive coding can (ITU-T T.81, F.1.2
    and G.1.2). 0 where nothing is known of it.
    """
    try:
        marker, at = _start_of_frame(head) or (0, 0)
        if marker not in (0xC0, 0xC1, 0xC2):
            return 0
        height, width, count = struct.unpack_from(">HHB", head, at + 5)
        factors = [divmod(head[at + 11 + 3 * k], 16) for k in range(count)]
        across, down = (max(side) for side in zip(*factors, strict=True))
        blocks = sum(
            math.ceil(math.ceil(width * h / across) / 8)
            * math.ceil(math.ceil(height * v / down) / 8)
            for h, v in factors
        )
    except (struct.error, IndexError, ValueError, ZeroDivisionError):
        return 0
    return blocks * (1 if marker == 0xC2 else 2) // 8


def _jpeg(data: bytes) -> tuple[int, int] | None:
    found = _start_of_frame(data)
    if found is None:
        return None
    height, width = struct.unpack_from(">HH", data, found[1] + 5)
    return width, height


def _start_of_frame(data: bytes) -> tuple[int, int] | None:
    """Return marker and place of the start of frame, ITU-T T.81, B.2.2; None without one."""
    at = 0
    while at < len(data):
        marker = data[at + 1] if data[at] == 0xFF else None
        if marker is None:
            return None
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if marker in (0x01, *range(0xD0, 0xD9)):  # without a length
            at += 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker, at
        if marker in (0xD9, 0xDA) or length < 2:
            return None
        at += 2 + length
    return None


def _jpeg_2000(data: bytes) -> tuple[int, int] | None:
    """Find SIZ, ISO 15444-1, A.5.1, of a bare codestream or one in boxes."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return right - left, bottom - top


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            1 + int.from_bytes(data[24:27], "little"),
            1 + int.from_bytes(data[27:30], "little"),
        )
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


def _jpeg_xl(data: bytes) -> tuple[int, int] | None:
    """Read SizeHeader, ISO 18181-1, of a bare codestream or one in boxes."""
    at = data.find(b"\xff\x0a")
    if at < 0:
        return None
    bits, used = int.from_bytes(data[at + 2 : at + 14], "little"), 0

    def take(count: int) -> int:
        nonlocal used
        value = bits >> used & ((1 << count) - 1)
        used += count
        return value

    small = take(1)

    def side() -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    height = side()
    ratio = take(3)
    across, down = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    return (height * across // down if ratio else side()), height
