"""Frames of a DICOM whole slide image: where each lies in its file, and how it is stored.

Edited are slides of one instance: a single level whose frames cover it row by row (TILED_FULL), one
JPEG stream each. Their bytes are found without decoding any.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from histomend.errors import MissingDependencyError, UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import Region
from histomend.slides.tile_edit import JPEG, TileCodec

_ITEM, _LAST = 0xE000FFFE, 0xE0DDFFFE
_HEAD = struct.Struct("<II")
_ELEMENT = struct.Struct("<HH2sHI")
_UNDEFINED = 0xFFFFFFFF
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"


@dataclass(frozen=True)
class DicomFrames:
    """An instance, and where its frames lie.

    Parameters
    ----------
    header : pydicom dataset
        All before the pixels.
    start : int
        Where the element of the pixels begins.
    frames : list of (int, int)
        Where the item of each frame begins, and the bytes of its stream.
    end : int
        Behind the last frame.
    size : (width, height)
        Of the slide, in pixels.
    frame : (width, height)
    codec : TileCodec
    """

    header: Any
    start: int
    frames: list[tuple[int, int]]
    end: int
    size: tuple[int, int]
    frame: tuple[int, int]
    codec: TileCodec

    @property
    def columns(self) -> int:
        """Frames in a row."""
        return -(-self.size[0] // self.frame[0])

    def region(self, number: int) -> Region:
        """Return what a frame shows of the slide, (x, y, w, h)."""
        x = number % self.columns * self.frame[0]
        y = number // self.columns * self.frame[1]
        return x, y, min(self.frame[0], self.size[0] - x), min(self.frame[1], self.size[1] - y)

    def within(self, region: Region) -> list[int]:
        """Return the frames that show something of a region."""
        x, y, w, h = region
        (wide, high), last = self.frame, len(self.frames)
        rows = range(y // high, (y + h - 1) // high + 1)
        across = range(x // wide, (x + w - 1) // wide + 1)
        found = [row * self.columns + column for row in rows for column in across]
        return [number for number in found if number < last]

    def stream(self, file: BinaryIO, number: int) -> bytes:
        """Read the stream of a frame."""
        place, length = self.frames[number]
        file.seek(place + _HEAD.size)
        return file.read(length)


def read_frames(file: BinaryIO, where: str) -> DicomFrames:
    """Find the frames of an instance.

    Raises
    ------
    MissingDependencyError
        pydicom is not installed.
    UnsupportedImageError
        The instance is of a kind that is not edited.
    UnreadableImageError
        It is damaged.
    """
    pydicom = import_pydicom(where)
    try:
        with lenient():
            file.seek(0)
            header = pydicom.dcmread(file, stop_before_pixels=True)
            start = file.tell()
            codec, size, frame = _stored(header, where)
        frames, end = _items(file, start, where)
    except UnsupportedImageError:
        raise
    except Exception as error:  # pydicom has many
        raise UnreadableImageError(
            f"{where}: is damaged ({type(error).__name__}: {error}). Copy or export the slide "
            "again."
        ) from error
    found = DicomFrames(header, start, frames, end, size, frame, codec)
    expected = found.columns * -(-size[1] // frame[1])
    if len(frames) != expected:
        raise UnsupportedImageError(
            f"{where}: has {len(frames)} pieces of pixels where its size needs {expected} frames. "
            "Such a slide is not edited frame by frame: write a new pyramid, -o NAME.tif."
        )
    return found


def import_pydicom(where: str) -> Any:
    """Return the module.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import pydicom
    except ImportError as error:
        raise MissingDependencyError(
            f'{where}: writing DICOM needs pydicom: pip install "histomend[dicom]"'
        ) from error
    return pydicom


@contextmanager
def lenient() -> Iterator[None]:
    """Hear nothing of values that are not as they should be; what matters is checked."""
    said = logging.getLogger("pydicom")
    level = said.level
    said.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        said.setLevel(level)


def check_one_instance(path: Path, levels: int) -> None:
    """Fail early if a slide is not edited frame by frame.

    Raises
    ------
    MissingDependencyError, UnsupportedImageError, UnreadableImageError
    """
    if levels != 1:
        raise UnsupportedImageError(
            f"{path}: its {levels} levels are files of their own, and a restored one would not fit "
            "the others. Write a new pyramid: -o NAME.tif."
        )
    with path.open("rb") as file:
        read_frames(file, str(path))


def _stored(header: Any, where: str) -> tuple[TileCodec, tuple[int, int], tuple[int, int]]:
    """Return how frames are stored, the size of the slide and of a frame."""
    wanted = {
        "TransferSyntaxUID": (header.file_meta.TransferSyntaxUID, (_JPEG_BASELINE,)),
        "DimensionOrganizationType": (header.get("DimensionOrganizationType"), ("TILED_FULL",)),
        "SamplesPerPixel": (header.get("SamplesPerPixel"), (3,)),
        "BitsAllocated": (header.get("BitsAllocated"), (8,)),
        "PhotometricInterpretation": (
            header.get("PhotometricInterpretation"), ("YBR_FULL_422", "YBR_FULL", "RGB"),
        ),
        "TotalPixelMatrixFocalPlanes": (header.get("TotalPixelMatrixFocalPlanes", 1), (1,)),
        "NumberOfOpticalPaths": (header.get("NumberOfOpticalPaths", 1), (1,)),
    }  # fmt: skip
    for name, (value, known) in wanted.items():
        if value not in known:
            raise UnsupportedImageError(
                f"{where}: its {name} is {value}, and frames are edited where it is "
                f"{' or '.join(map(str, known))}. Write a new pyramid: -o NAME.tif."
            )
    colours = 2 if header.PhotometricInterpretation == "RGB" else 6
    codec = TileCodec(JPEG, colours, 3, np.dtype(np.uint8))
    size = int(header.TotalPixelMatrixColumns), int(header.TotalPixelMatrixRows)
    frame = int(header.Columns), int(header.Rows)
    if min(*size, *frame) < 1:
        raise UnreadableImageError(f"{where}: says that it has {size} px in frames of {frame} px.")
    return codec, size, frame


def _items(file: BinaryIO, start: int, where: str) -> tuple[list[tuple[int, int]], int]:
    """Return where the items of encapsulated pixels begin and their lengths (PS3.5, A.4)."""
    file.seek(start)
    group, element, kind, _, length = _ELEMENT.unpack(file.read(_ELEMENT.size))
    if (group, element, length) != (0x7FE0, 0x0010, _UNDEFINED) or kind not in (b"OB", b"OW"):
        raise UnsupportedImageError(f"{where}: its pixels are not frames, each a stream.")
    size = file.seek(0, 2)
    place = start + _ELEMENT.size
    items: list[tuple[int, int]] = []
    while True:
        file.seek(place)
        tag, length = _HEAD.unpack(file.read(_HEAD.size))
        if tag == _LAST:
            return items[1:], place  # the first one is the table of offsets
        if tag != _ITEM or place + _HEAD.size + length > size:
            raise UnreadableImageError(
                f"{where}: is cut short or damaged at byte {place}. Copy or export the slide again."
            )
        items.append((place, length))
        place += _HEAD.size + length
