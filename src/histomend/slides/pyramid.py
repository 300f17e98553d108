"""A new slide from plain pixels: a tiled pyramidal BigTIFF that all readers open.

OpenSlide finds the levels of a TIFF in its chain of directories, readers of OME-TIFF in tag 330 of
the first one. Here the same directories stand in both.

>>> write_pyramid(target, (width, height), rows, mpp=0.25)      # rows(start, stop) -> pixels

Rows are asked for from the top down, a row of tiles at a time, and all levels are made on the way
(`histomend.slides.halving`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from xml.sax.saxutils import quoteattr

import imagecodecs
import numpy as np
import numpy.typing as npt

from histomend.errors import (
    ImageSizeError,
    SettingError,
    UnsupportedImageError,
    display_name,
    utf8,
)
from histomend.image.pixels import Pixels, check_mpp
from histomend.image.replacing import write_atomically
from histomend.image.writing import check_target
from histomend.slides.description import check_fields, restored_description
from histomend.slides.halving import Halving, Rows, halved_sizes
from histomend.slides.tiff_structure import SUB_DIRECTORIES, Directory, Entry
from histomend.slides.tiff_writing import DirectoryWriter, header, write_chain
from histomend.slides.tile_edit import DEFLATE, JPEG, TileCodec

TILE = 256
_SOFTWARE = b"Histomend\0"


@dataclass
class _Level:
    width: int
    height: int
    offsets: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)


def write_pyramid(
    target: Path | str,
    size: tuple[int, int],
    rows: Rows,
    *,
    mpp: float | None,
    samples: int = 3,
    dtype: npt.DTypeLike = np.uint8,
    lossless: bool = False,
    quality: int = 90,
    icc: bytes | None = None,
    name: str = "",
    fields: dict[str, str] | None = None,
    beside: Mapping[str, Pixels] | None = None,
    force: bool = False,
    through: Path | None = None,
) -> None:
    """Write a pyramid; the file appears complete or not at all.

    Parameters
    ----------
    target : Path
    size : (width, height)
    rows : function
        ``rows(start, stop)`` gives these rows, (stop - start, width, samples) of `dtype`.
    mpp : float or None
        Micrometres per pixel.
    samples : int
        3 (RGB) or 1.
    dtype : uint8 or uint16
    lossless : bool
        Deflate with prediction, in place of JPEG without subsampled colour.
    quality : int
        Of JPEG, 1 to 100.
    icc : bytes or None
        Colour profile.
    name : str
        Of the image, in the OME-XML.
    fields : dict of str to str or None
        What the description is to say besides "Restored, not for diagnosis"; None for neither.
    beside : dict of str to (H, W, 3) uint8, or None
        Images beside the slide by name, such as its label: stored without loss, behind its levels.
    force : bool
        An existing target may be replaced.
    through : Path or None
        The folder of the temporary file, by default that of the target.

    Raises
    ------
    SettingError, ImageSizeError, UnsupportedImageError, PixelSizeError, OutputError
    """
    target = Path(target)
    width, height = size
    kind = np.dtype(dtype)
    if min(size) < 1 or max(size) >= 1 << 31:
        raise ImageSizeError(f"{target}: an image of {width} x {height} px cannot be written.")
    if samples not in (1, 3) or kind not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise UnsupportedImageError(
            f"{target}: {samples} values of {kind} are no pixels of a slide."
        )
    if not lossless and kind != np.dtype(np.uint8):
        raise SettingError(f"{target}: JPEG holds 8 bits, the pixels have 16. Write it losslessly.")
    if not 1 <= quality <= 100:
        raise SettingError(f"quality: {quality} is not between 1 and 100")
    if mpp is not None:
        mpp = check_mpp(mpp, str(target))
    check_fields(fields or {})
    check_target(target, force=force)
    writer = _PyramidWriter(size, samples, kind, quality=None if lossless else quality)
    beside = dict(beside or {})
    text = _ome_xml(size, samples, kind, mpp, name, beside, len(writer.levels))
    if fields is not None:
        text = restored_description(text, fields, identity="", source="", target="") or text
    write_atomically(
        target,
        lambda file: writer.write(file, rows, str(target), mpp, icc, text, beside),
        through=through,
    )


class _PyramidWriter:
    def __init__(
        self, size: tuple[int, int], samples: int, dtype: np.dtype[np.generic], quality: int | None
    ) -> None:
        self._samples, self._dtype, self._quality = samples, dtype, quality
        self.levels = [_Level(*each) for each in halved_sizes(size)]
        colours = 1 if samples == 1 else 2 if quality is None else 6
        kind = DEFLATE if quality is None else JPEG
        predictor = 2 if quality is None else 1
        self._codec = TileCodec(kind, colours, samples, dtype.newbyteorder("<"), predictor)

    def write(
        self,
        file: BinaryIO,
        rows: Rows,
        where: str,
        mpp: float | None,
        icc: bytes | None,
        text: bytes,
        beside: Mapping[str, Pixels],
    ) -> None:
        writer = DirectoryWriter(file, 16, "<", big=True)
        finest = self.levels[0]

        def put(number: int, _: int, pixels: Pixels) -> None:
            self._add(number, pixels, writer)

        size = finest.width, finest.height
        Halving(size, self._samples, self._dtype, TILE, put).run(rows, where)
        directories = [Directory(number, {}) for number in range(len(self.levels))]
        if len(directories) > 1:
            directories[0].children[SUB_DIRECTORIES] = directories[1:]
        others = [
            Directory(len(directories) + number, _image_beside(writer, name, pixels))
            for number, (name, pixels) in enumerate(beside.items())
        ]

        def entries(directory: Directory) -> list[Entry]:
            own = list(directory.entries.values())
            return own or self._entries(directory.offset, writer, mpp, icc, text)

        first = write_chain(writer, directories + others, entries)
        file.seek(0)
        file.write(header("<", True, first))

    def _add(self, number: int, pixels: Pixels, writer: DirectoryWriter) -> None:
        """Write a row of tiles of a level."""
        level = self.levels[number]
        for left in range(0, level.width, TILE):
            tile = pixels[:, left : left + TILE]
            beyond = (0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0)
            data = self._encode(np.pad(tile, beyond, mode="edge"))
            level.offsets.append(writer.put(data, 2))
            level.counts.append(len(data))

    def _encode(self, tile: Pixels) -> bytes:
        if self._quality is None:
            return self._codec.encode(tile)
        if self._samples == 1:
            return bytes(imagecodecs.jpeg8_encode(tile[..., 0], level=self._quality))
        return bytes(
            imagecodecs.jpeg8_encode(
                tile,
                level=self._quality,
                colorspace="RGB",
                outcolorspace="YCBCR",
                subsampling="444",
            )
        )

    def _entries(
        self,
        number: int,
        writer: DirectoryWriter,
        mpp: float | None,
        icc: bytes | None,
        text: bytes,
    ) -> list[Entry]:
        level, codec = self.levels[number], self._codec
        bits = [8 * self._dtype.itemsize] * self._samples
        entries = [
            _numbers(254, 4, int(number > 0)),
            _numbers(256, 4, level.width),
            _numbers(257, 4, level.height),
            _numbers(258, 3, *bits),
            _numbers(259, 3, codec.compression),
            _numbers(262, 3, codec.photometric),
            _numbers(277, 3, self._samples),
            _numbers(284, 3, 1),
            Entry(305, 2, len(_SOFTWARE), _SOFTWARE),
            _numbers(322, 3, TILE),
            _numbers(323, 3, TILE),
            writer.offsets(324, np.array(level.offsets, np.int64)),
            writer.offsets(325, np.array(level.counts, np.int64)),
        ]
        if codec.predictor != 1:
            entries.append(_numbers(317, 3, codec.predictor))
        if codec.photometric == 6:
            entries.append(_numbers(530, 3, 1, 1))
            entries.append(_numbers(532, 5, 0, 1, 255, 1, 128, 1, 255, 1, 128, 1, 255, 1))
        if number == 0:
            entries.append(Entry(270, 2, len(text) + 1, text + b"\0"))
        if mpp is not None:
            scale = self.levels[0].width / level.width
            per_cm = round(10_000_000 / (mpp * scale))  # in thousandths
            entries += [_numbers(tag, 5, per_cm, 1000) for tag in (282, 283)]
            entries.append(_numbers(296, 3, 3))
        if icc:
            entries.append(Entry(34675, 7, len(icc), icc))
        return entries


def _numbers(tag: int, kind: int, *values: int) -> Entry:
    data = np.array(values, "<u2" if kind == 3 else "<u4").tobytes()
    return Entry(tag, kind, len(values) // (2 if kind == 5 else 1), data)


def _image_beside(writer: DirectoryWriter, name: str, pixels: Pixels) -> dict[int, Entry]:
    """Write an image beside the slide as one strip, which no reader takes for a level."""
    height, width = pixels.shape[:2]
    data = TileCodec(DEFLATE, 2, 3, np.dtype(np.uint8), 2).encode(pixels)
    place = writer.offsets(273, np.array([writer.put(data, 2)], np.int64))
    text = name.encode("ascii", "replace")
    entries = [
        _numbers(254, 4, 0), _numbers(256, 4, width), _numbers(257, 4, height),
        _numbers(258, 3, 8, 8, 8), _numbers(259, 3, DEFLATE), _numbers(262, 3, 2),
        Entry(270, 2, len(text) + 1, text + b"\0"), place,
        _numbers(277, 3, 3), _numbers(278, 4, height), _numbers(279, 4, len(data)),
        _numbers(284, 3, 1), _numbers(317, 3, 2),
    ]  # fmt: skip
    return {entry.tag: entry for entry in entries}


def _ome_xml(
    size: tuple[int, int],
    samples: int,
    dtype: np.dtype[np.generic],
    mpp: float | None,
    name: str,
    beside: Mapping[str, Pixels],
    levels: int,
) -> bytes:
    space = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
    physical = ""
    if mpp is not None:
        physical = "".join(
            f' PhysicalSize{axis}="{mpp!r}" PhysicalSize{axis}Unit="µm"' for axis in "XY"
        )
    images = _ome_image(0, name, size, (samples, str(dtype)), physical, 0)
    for number, (other, pixels) in enumerate(beside.items()):
        wide = int(pixels.shape[1]), int(pixels.shape[0])
        # Levels stand in the chain too, before the images beside the slide.
        images += _ome_image(1 + number, other, wide, (3, "uint8"), "", levels + number)
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<OME xmlns="{space}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
        f'xsi:schemaLocation="{space} {space}/ome.xsd" Creator="Histomend">{images}</OME>'
    )
    return utf8(xml)


def _ome_image(
    number: int,
    name: str,
    size: tuple[int, int],
    kind: tuple[int, str],
    physical: str,
    directory: int,
) -> str:
    samples, dtype = kind
    return (
        f'<Image ID="Image:{number}" Name={quoteattr(display_name(name))}>'
        f'<Pixels ID="Pixels:{number}" DimensionOrder="XYCZT" Type="{dtype}" SizeX="{size[0]}" '
        f'SizeY="{size[1]}" SizeC="{samples}" SizeZ="1" SizeT="1" BigEndian="false" '
        f'Interleaved="true"{physical}>'
        f'<Channel ID="Channel:{number}:0" SamplesPerPixel="{samples}"/>'
        f'<TiffData IFD="{directory}" PlaneCount="1"/></Pixels></Image>'
    )
