"""Tiles of a TIFF one by one: decode them, and put new pixels under a mask into them.

JPEG tiles are edited in the DCT domain (`histomend.slides.jpeg_edit`); JPEG 2000, deflate, LZW and
uncompressed ones are stored again without loss, so that only the pixels of the mask change.

>>> edited = codec.edit(stream, target, mask, where="slide.svs, tile 7")
>>> edited.data                       # the new stream
>>> edited.grown()                    # where pixels may have changed
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import imagecodecs
import numpy as np
import numpy.typing as npt

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import Pixels
from histomend.slides.jpeg_coefficients import frame_size, read_tile
from histomend.slides.jpeg_edit import YCBCR, Mask, edit_jpeg, touched_mcus

RAW, LZW, JPEG, DEFLATE, OLD_DEFLATE = 1, 5, 7, 8, 32946
APERIO_YCBCR, APERIO_RGB = 33003, 33005
COMPRESSIONS = (RAW, LZW, JPEG, DEFLATE, OLD_DEFLATE, APERIO_YCBCR, APERIO_RGB, 34712)
"""Values of TIFF tag 259 that can be edited; 34712 is JPEG 2000 as others write it."""
_JPEG2000 = (APERIO_YCBCR, APERIO_RGB, 34712)


@dataclass(frozen=True)
class Edited:
    """A tile with new pixels, and where they may differ from the old ones.

    Parameters
    ----------
    data : bytes
        The new stream.
    cells : (rows, columns) bool
        Cells of the tile that were touched: MCUs of JPEG, else single pixels.
    cell : (width, height)
        Of a cell, in pixels.
    halo : int
        Pixels by which a change can reach beyond its cells.
    """

    data: bytes
    cells: Mask
    cell: tuple[int, int]
    halo: int


@dataclass(frozen=True)
class TileCodec:
    """How the tiles of one level are stored.

    Parameters
    ----------
    compression, photometric, predictor : int
        Tags 259, 262, 317.
    samples : int
        Values per pixel.
    dtype : numpy dtype
        uint8 or uint16, in the byte order of the file.
    tables : bytes or None
        Tag 347.
    """

    compression: int
    photometric: int
    samples: int
    dtype: np.dtype[np.generic]
    predictor: int = 1
    tables: bytes | None = None

    @property
    def _ycbcr(self) -> bool:
        if self.compression == JPEG:
            return self.photometric == 6 and self.samples == 3
        return self.compression == APERIO_YCBCR

    def decode(self, data: bytes, shape: tuple[int, int], where: str) -> Pixels:
        """Return the pixels of a tile, (height, width, samples).

        Raises
        ------
        UnreadableImageError
            Damaged, or of another size than `shape`.
        """
        values = self._components(data, shape, where)
        if self.compression != APERIO_YCBCR:
            return values
        centred = values - np.array([0.0, 128.0, 128.0])
        return np.clip(np.rint(centred @ np.linalg.inv(YCBCR).T), 0, 255).astype(np.uint8)

    def edit(self, data: bytes, target: Pixels, mask: Mask, where: str) -> Edited:
        """Put the pixels of a mask into a tile.

        Parameters
        ----------
        data : bytes
            The tile as stored.
        target : (height, width, samples)
            Read under the mask only.
        mask : (height, width) bool
            Of the size of the whole tile.
        where : str
            For messages.

        Raises
        ------
        UnreadableImageError, UnsupportedImageError
        """
        shape = (mask.shape[0], mask.shape[1])
        if self.compression == JPEG:
            self._check_frame(data, shape, where)
            tile = read_tile(data, self.tables, where, blank=bool(mask.all()))
            new = edit_jpeg(tile, target, mask, ycbcr=self._ycbcr, where=where)
            subsampled = any(
                c.h * 8 < tile.mcu[0] or c.v * 8 < tile.mcu[1] for c in tile.components
            )
            return Edited(new, touched_mcus(tile, mask), tile.mcu, int(subsampled))
        values = self._components(data, shape, where).copy()
        fresh = target[mask]
        if self._ycbcr:
            fresh = np.clip(np.rint(fresh @ YCBCR.T + [0, 128, 128]), 0, 255)
        values[mask] = fresh.astype(values.dtype)
        return Edited(self.encode(values), mask, (1, 1), 0)

    def encode(self, values: Pixels) -> bytes:
        """Store a tile without loss; for all but JPEG.

        Parameters
        ----------
        values : (height, width, samples)
            As stored: of Aperio's 33003 that is Y, Cb, Cr.
        """
        if self.compression in _JPEG2000:
            rgb = self.compression != APERIO_YCBCR and self.samples == 3
            return bytes(
                imagecodecs.jpeg2k_encode(
                    np.ascontiguousarray(values if self.samples > 1 else values[..., 0]),
                    codecformat="J2K",
                    colorspace="SRGB" if self.samples == 3 else "GRAY",
                    resolutions=min(6, max(1, min(values.shape[:2]).bit_length() - 1)),
                    reversible=True,
                    mct=rgb,
                )
            )
        if self.predictor == 2:
            # Differences wrap around, as TIFF 6.0 section 14 wants them to.
            values = np.diff(values, axis=1, prepend=np.zeros_like(values[:, :1]))
        raw = np.ascontiguousarray(values, self.dtype).tobytes()
        if self.compression == LZW:
            return bytes(imagecodecs.lzw_encode(raw))
        return raw if self.compression == RAW else zlib.compress(raw, 6)

    def _components(self, data: bytes, shape: tuple[int, int], where: str) -> Pixels:
        whole = (*shape, self.samples)
        try:
            if self.compression == JPEG:
                self._check_frame(data, shape, where)
                values = self._decode_jpeg(data)
            elif self.compression in _JPEG2000:
                if _jpeg2000_size(data, where) != (shape[1], shape[0]):
                    raise ValueError(f"it is not {shape[1]} x {shape[0]} px")
                values = imagecodecs.jpeg2k_decode(data)
            else:
                return self._decode_plain(data, whole)
            values = np.asarray(values)
            if values.size != whole[0] * whole[1] * whole[2]:
                raise ValueError("it has another size than its level says")
            return values.reshape(whole)
        except (ValueError, RuntimeError, zlib.error, struct.error) as error:
            raise UnreadableImageError(
                f"{where}: the tile is damaged ({error}). Copy or export the slide again."
            ) from error

    def _check_frame(self, data: bytes, shape: tuple[int, int], where: str) -> None:
        """Refuse another size than the level's before memory is taken for it."""
        if frame_size(data, where) != (shape[1], shape[0], self.samples):
            raise UnreadableImageError(
                f"{where}: the JPEG tile has another size than its level says. "
                "Copy or export the slide again."
            )

    def _decode_jpeg(self, data: bytes) -> npt.NDArray[np.uint8]:
        if self.samples == 1:
            return np.asarray(imagecodecs.jpeg8_decode(data, tables=self.tables))
        stored = "YCBCR" if self._ycbcr else "RGB"
        return np.asarray(
            imagecodecs.jpeg8_decode(
                data, tables=self.tables, colorspace=stored, outcolorspace="RGB"
            )
        )

    def _decode_plain(self, data: bytes, whole: tuple[int, int, int]) -> Pixels:
        size = whole[0] * whole[1] * whole[2] * self.dtype.itemsize
        if self.compression == LZW:
            data = bytes(imagecodecs.lzw_decode(data, out=size))
        elif self.compression != RAW:
            data = zlib.decompressobj().decompress(data, size)
        if len(data) < size:
            raise ValueError(f"{len(data)} bytes instead of {size}")
        values = np.frombuffer(data, self.dtype, size // self.dtype.itemsize).reshape(whole)
        values = values.astype(self.dtype.newbyteorder("="))
        if self.predictor == 2:
            values = np.cumsum(values, axis=1, dtype=values.dtype)
        return values


def check_supported(codec: TileCodec, where: str) -> None:
    """Refuse what cannot be edited, by name.

    Raises
    ------
    UnsupportedImageError
    """
    jpeg = codec.compression == JPEG
    colours = (1, 2, 6) if jpeg or codec.compression == APERIO_YCBCR else (1, 2)
    problem = ""
    if codec.compression not in COMPRESSIONS:
        problem = f"its compression (TIFF tag 259 = {codec.compression}) is not one of those"
    elif codec.dtype.itemsize != 1 and (jpeg or codec.compression in _JPEG2000):
        problem = "its JPEG has more than 8 bits"
    elif codec.samples not in (1, 3, 4) or (jpeg and codec.samples == 4):
        problem = f"it has {codec.samples} values per pixel"
    elif codec.predictor not in (1, 2):
        problem = f"its predictor is {codec.predictor}"
    elif codec.photometric not in colours:
        problem = f"its colours are of kind {codec.photometric} (TIFF tag 262)"
    if problem:
        raise UnsupportedImageError(
            f"{where}: tiles of this kind are not edited in place: {problem}. Edited are JPEG, "
            "JPEG 2000, deflate, LZW and uncompressed tiles. Write a new pyramid instead."
        )


def _jpeg2000_size(data: bytes, where: str) -> tuple[int, int]:
    """Return width and height from the SIZ segment, which must come first (T.800, A.5.1)."""
    if data[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("it does not begin as JPEG 2000 does")
    right, bottom, left, top = struct.unpack_from(">IIII", data, 8)
    (components,) = struct.unpack_from(">H", data, 40)
    for depth, across, down in struct.iter_unpack("BBB", data[42 : 42 + 3 * components]):
        if (depth, across, down) != (7, 1, 1):
            raise UnsupportedImageError(
                f"{where}: the JPEG 2000 has subsampled colours or not 8 bits, which is not edited "
                "in place. Write a new pyramid instead."
            )
    return right - left, bottom - top
