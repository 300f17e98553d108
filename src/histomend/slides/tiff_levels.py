"""The pyramid of a TIFF slide: its levels, their grids of tiles, and pixels out of them.

A level is a directory whose pixels show the same area as the first one: SubIFDs of it, or later
directories of the chain. Labels, macro images and thumbnails are not levels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from histomend.errors import ImageSizeError, UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import Pixels, Region
from histomend.slides.jpeg_edit import Mask
from histomend.slides.tiff_structure import SUB_DIRECTORIES, Directory, TiffStructure
from histomend.slides.tile_edit import TileCodec, check_supported

TILE_TAGS = (324, 325)
STRIP_TAGS = (273, 279)
_MAX_SIDE = 1 << 24
_MAX_TILE_BYTES = 1 << 28
_CACHE_BYTES = 32 << 20


@dataclass(frozen=True, eq=False)
class Level:
    """One resolution of a slide.

    Parameters
    ----------
    directory : Directory
    width, height : int
        In pixels of this level.
    tile_width, tile_height : int
        Strips are tiles as wide as the level.
    factor : int
        Pixels of level 0 along the side of one of this level.
    codec : TileCodec
    offsets, counts : (tiles,) int64
        Where tiles lie, and their bytes; 0 bytes where nothing was scanned.
    strips : bool
        The last tile of a column ends with the level, rather than being filled up.
    """

    directory: Directory
    width: int
    height: int
    tile_width: int
    tile_height: int
    factor: int
    codec: TileCodec
    offsets: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    strips: bool

    @property
    def columns(self) -> int:
        """Tiles across."""
        return -(-self.width // self.tile_width)

    def region(self, tile: int) -> Region:
        """Return (x, y, w, h) of a tile, as far as it lies in the level."""
        row, column = divmod(tile, self.columns)
        x, y = column * self.tile_width, row * self.tile_height
        return x, y, min(self.tile_width, self.width - x), min(self.tile_height, self.height - y)

    def shape(self, tile: int) -> tuple[int, int]:
        """Return (height, width) of a tile as stored."""
        if not self.strips:
            return self.tile_height, self.tile_width
        _, _, w, h = self.region(tile)
        return h, w

    def tiles(self, region: Region) -> Iterator[int]:
        """Give the tiles that a region, of which a part lies in the level, touches."""
        x, y, w, h = region
        right, bottom = min(x + w, self.width), min(y + h, self.height)
        for row in range(max(y, 0) // self.tile_height, -(-bottom // self.tile_height)):
            for column in range(max(x, 0) // self.tile_width, -(-right // self.tile_width)):
                yield row * self.columns + column


def pyramid_levels(tiff: TiffStructure) -> list[Level]:
    """Return the levels of a slide, the finest first.

    Raises
    ------
    UnsupportedImageError
        Pixels that cannot be edited in place.
    UnreadableImageError, ImageSizeError
        Sizes and counts that cannot be.
    """
    base = _level(tiff, tiff.chain[0], 1)
    candidates = list(tiff.chain[0].children.get(SUB_DIRECTORIES, []))
    candidates += [d for d in tiff.chain[1:] if d not in candidates]
    levels = [base]
    for directory in tiff.chain[1:]:
        same = [tiff.number(directory, tag, 0) for tag in (256, 257)] == [base.width, base.height]
        if same and base.strips == (322 not in directory.entries):
            raise UnsupportedImageError(
                f"{tiff.where}: holds several images of the size of the first one: channels or a "
                "z-stack, which are not edited in place. Write a new file instead."
            )
    for directory in candidates:
        factor = _factor(tiff, base, directory)
        if factor and factor not in [level.factor for level in levels]:
            levels.append(_level(tiff, directory, factor))
    return sorted(levels, key=lambda level: level.factor)


def _factor(tiff: TiffStructure, base: Level, directory: Directory) -> int:
    """Return how many times coarser a directory is than level 0; 0 if it is not a level."""
    # A tiled slide has tiled levels; its strips are thumbnail, label and macro image.
    if not base.strips and 322 not in directory.entries:
        return 0
    width, height = (tiff.number(directory, tag, 0) for tag in (256, 257))
    if not 0 < width < base.width or not 0 < height <= base.height:
        return 0
    if tiff.number(directory, 277, 1) != base.codec.samples:
        return 0
    factor = round(base.width / width)
    # Vendors drop the remainder or round up, some at every level anew.
    fits = abs(width * factor - base.width) <= 2 * factor
    fits = fits and abs(height * factor - base.height) <= 2 * factor
    return factor if fits and factor > 1 else 0


def _level(tiff: TiffStructure, directory: Directory, factor: int) -> Level:
    where = tiff.where if factor == 1 else f"{tiff.where}, the level at 1/{factor}"
    width, height = tiff.number(directory, 256), tiff.number(directory, 257)
    if not 0 < width <= _MAX_SIDE or not 0 < height <= _MAX_SIDE:
        raise ImageSizeError(f"{where}: it claims {width} x {height} px. The file is damaged.")
    strips = 322 not in directory.entries
    if strips:
        tile_width, tile_height = width, min(tiff.number(directory, 278, height), height)
    else:
        tile_width, tile_height = tiff.number(directory, 322), tiff.number(directory, 323)
    codec = _codec(tiff, directory, where)
    side = max(tile_width, tile_height)
    tile_bytes = tile_width * tile_height * codec.samples * codec.dtype.itemsize
    if min(tile_width, tile_height) < 1 or side > _MAX_SIDE or tile_bytes > _MAX_TILE_BYTES:
        raise ImageSizeError(
            f"{where}: it claims tiles of {tile_width} x {tile_height} px. The file is damaged, or "
            "needs to be written as a pyramid of smaller tiles first."
        )
    place, size = STRIP_TAGS if strips else TILE_TAGS
    offsets, counts = tiff.numbers(directory, place), tiff.numbers(directory, size)
    expected = -(-width // tile_width) * -(-height // tile_height)
    if len(offsets) != expected or len(counts) != expected:
        raise UnreadableImageError(
            f"{where}: {expected} tiles are needed for its size, and it lists {len(offsets)} "
            f"places and {len(counts)} lengths. Copy or export the file again."
        )
    return Level(
        directory, width, height, tile_width, tile_height, factor, codec, offsets, counts, strips
    )


def _codec(tiff: TiffStructure, directory: Directory, where: str) -> TileCodec:
    samples = tiff.number(directory, 277, 1)
    bits = set(tiff.numbers(directory, 258).tolist()) or {1}
    kinds = set(tiff.numbers(directory, 339).tolist()) or {1}
    if bits not in ({8}, {16}) or kinds != {1}:
        raise UnsupportedImageError(
            f"{where}: its values are of {sorted(bits)} bits and kind {sorted(kinds)}; edited in "
            "place are whole numbers of 8 or 16 bits."
        )
    if samples > 1 and tiff.number(directory, 284, 1) != 1:
        raise UnsupportedImageError(
            f"{where}: its colours are stored as separate planes, which are not edited in place. "
            "Write a new pyramid instead."
        )
    if tiff.number(directory, 266, 1) != 1:
        raise UnsupportedImageError(f"{where}: its bits are in reversed order (TIFF tag 266).")
    dtype = np.dtype(f"{tiff.byteorder}u{bits.pop() // 8}")
    tables = directory.entries.get(347)
    codec = TileCodec(
        tiff.number(directory, 259, 1),
        tiff.number(directory, 262, 1),
        samples,
        dtype,
        tiff.number(directory, 317, 1),
        None if tables is None else tiff.data(tables),
    )
    check_supported(codec, where)
    return codec


def check_places(tiff: TiffStructure) -> None:
    """Check that the tiles and strips of all images lie in the file, labels and macros too.

    In a file that is cut short they would come to lie in what is appended.

    Raises
    ------
    UnreadableImageError
    """
    for directory in tiff.directories:
        for place, length in (TILE_TAGS, STRIP_TAGS):
            offsets, counts = tiff.numbers(directory, place), tiff.numbers(directory, length)
            if len(counts) == len(offsets) and len(offsets):
                beyond = (offsets > tiff.size) | (counts > tiff.size - offsets)
                if beyond.any():
                    raise tiff.damaged(f"tile {int(beyond.argmax())} lies beyond its end")


class LevelPixels:
    """Pixels of a level as they are in the file, tiles decoded where they are needed.

    Parameters
    ----------
    tiff : TiffStructure
    level : Level
    cache_bytes : int
        Of decoded tiles that are kept; the last one always is.
    """

    def __init__(
        self, tiff: TiffStructure, level: Level, *, cache_bytes: int = _CACHE_BYTES
    ) -> None:
        self.tiff, self.level, self._limit = tiff, level, cache_bytes
        self._tiles: OrderedDict[int, Pixels] = OrderedDict()
        self._bytes = 0

    def name(self, tile: int) -> str:
        """Return what messages call a tile."""
        x, y, _, _ = self.level.region(tile)
        return f"{self.tiff.where}, level at 1/{self.level.factor}, tile at x={x}, y={y}"

    def stored(self, tile: int) -> bytes:
        """Return the compressed bytes of a tile."""
        return self.tiff.read(int(self.level.offsets[tile]), int(self.level.counts[tile]))

    def tile(self, tile: int) -> Pixels:
        """Return the pixels of a tile that was scanned, (height, width, samples)."""
        if tile in self._tiles:
            self._tiles.move_to_end(tile)
            return self._tiles[tile]
        level = self.level
        pixels = level.codec.decode(self.stored(tile), level.shape(tile), self.name(tile))
        self._tiles[tile] = pixels
        self._bytes += pixels.nbytes
        while self._bytes > self._limit and len(self._tiles) > 1:
            self._bytes -= self._tiles.popitem(last=False)[1].nbytes
        return pixels

    def read(self, region: Region) -> tuple[Pixels, Mask]:
        """Return the pixels of a region that lies in the level, and which of them were scanned."""
        x, y, w, h = region
        codec = self.level.codec
        pixels: Pixels = np.zeros((h, w, codec.samples), codec.dtype.newbyteorder("="))
        scanned = np.zeros((h, w), np.bool_)
        for tile in self.level.tiles(region):
            if not self.level.counts[tile]:
                continue
            left, top, width, height = self.level.region(tile)
            x0, y0 = max(left, x), max(top, y)
            x1, y1 = min(left + width, x + w), min(top + height, y + h)
            part = self.tile(tile)[y0 - top : y1 - top, x0 - left : x1 - left]
            pixels[y0 - y : y1 - y, x0 - x : x1 - x] = part
            scanned[y0 - y : y1 - y, x0 - x : x1 - x] = True
        return pixels, scanned
