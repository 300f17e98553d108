"""What an image is here: pixels, their physical size, and what must not be lost on the way."""

from __future__ import annotations

import hashlib
import html
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import (
    ImageSizeError,
    PixelSizeError,
    RegionError,
    UnsupportedImageError,
    ValueRangeError,
)

MIN_SIDE = 64
"""Shortest side that is restored, in pixels; below it no context is left to restore from."""
MAX_PIXELS = 450_000_000
"""Most pixels of one image, checked from the header before anything is decoded."""
MIN_MPP, MAX_MPP = 0.01, 20.0
"""Pixel sizes that a microscope gives, in micrometres per pixel (72 dpi would be 353)."""
FINEST_MPP = 0.05
"""Finest pixel size that damage is drawn and looked for at; what is 10 um wide has 200 px there."""

Region = tuple[int, int, int, int]
Pixels = npt.NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """The whole of which a region is a part.

    Coordinates begin at the top left corner of what was scanned, as in QuPath. Some scanners put
    that on a larger canvas, from whose corner OpenSlide and the tools built on it count.

    Parameters
    ----------
    width, height : int
        Of what was scanned, in pixels at full resolution.
    offset : (x, y)
        Where that begins on the canvas.
    canvas : (width, height) or None
        Size of the canvas; None where there is no larger one.
    """

    width: int
    height: int
    offset: tuple[int, int] = (0, 0)
    canvas: tuple[int, int] | None = None


@dataclass(frozen=True)
class Image:
    """An RGB image in memory, with what is known of the file that it came from.

    Parameters
    ----------
    pixels : (H, W, 3) uint8 or uint16
        Red, green, blue, as stored in the file (no rotation, no colour management).
    mpp : float or None
        Micrometres per pixel; None if the file does not say.
    alpha : (H, W) of the dtype of `pixels`, or None
        Transparency, written back as it was.
    source : Path or None
        The file; None for arrays.
    sha256 : str or None
        Of the bytes of the source file; None for arrays.
    notices : tuple of str
        What the user should be told: a palette was expanded, an extension was wrong.
    lossy : bool
        The source is itself lossily compressed (JPEG and its kin).
    icc : bytes or None
        The colour profile of the source, written back as it was.
    region : (x, y, w, h) or None
        The part of the source that this is, in its pixels; None for all of it.
    orientation : int
        How the file asks viewers to turn it (TIFF and EXIF tag 274); 1 is not at all.
    frame : Frame or None
        What the region was taken out of; None for arrays.
    """

    pixels: Pixels
    mpp: float | None = None
    alpha: Pixels | None = None
    source: Path | None = None
    sha256: str | None = None
    notices: tuple[str, ...] = ()
    lossy: bool = False
    icc: bytes | None = None
    region: Region | None = None
    orientation: int = 1
    frame: Frame | None = None

    @property
    def height(self) -> int:
        """Rows, in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns, in pixels."""
        return int(self.pixels.shape[1])


@dataclass(frozen=True)
class Intensity:
    """Map file values to [-1, 1] and back; one per image, never one per tile.

    Parameters
    ----------
    low, high : float
        The file values that become -1 and 1.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.high > self.low):
            raise ValueRangeError(
                f"an intensity range needs two finite numbers, the second larger; "
                f"got {self.low} to {self.high}"
            )

    @classmethod
    def for_dtype(cls, dtype: npt.DTypeLike) -> Intensity:
        """Give the full range of a file type: uint8 is 0 to 255, uint16 is 0 to 65535.

        Raises
        ------
        ValueRangeError
            For any other type, whose range cannot be known from the type alone.
        """
        kind = np.dtype(dtype)
        if kind not in (np.dtype(np.uint8), np.dtype(np.uint16)):
            raise ValueRangeError(
                f"values of type {kind} have no known range; convert them to uint8 or uint16"
            )
        return cls(0.0, float(np.iinfo(kind).max))

    def record(self) -> dict[str, float]:
        """Return what a record says of it."""
        return {"low": self.low, "high": self.high}

    def encode(self, values: Pixels) -> npt.NDArray[np.float32]:
        """Map file values to [-1, 1].

        Parameters
        ----------
        values : array of any shape
            File values between `low` and `high`.

        Returns
        -------
        array of the same shape, float32 in [-1, 1]
        """
        x: npt.NDArray[np.float32] = np.subtract(values, np.float32(self.low), dtype=np.float32)
        x *= np.float32(2.0 / (self.high - self.low))
        x -= np.float32(1.0)
        return x

    def decode(self, x: Pixels, dtype: npt.DTypeLike) -> Pixels:
        """Map [-1, 1] back to file values, clipped, and rounded where the type holds integers.

        Exact for every uint8 and uint16 value that `encode` was given.

        Parameters
        ----------
        x : array of any shape, float in [-1, 1]
        dtype : uint8, uint16 or float

        Raises
        ------
        ValueRangeError
            If `x` holds NaN or infinity, which no file value can stand for.
        """
        kind = np.dtype(dtype)
        values: npt.NDArray[np.float32] = np.add(x, np.float32(1.0), dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueRangeError("restored values are NaN or infinite: the model overflowed")
        values *= np.float32((self.high - self.low) / 2.0)
        values += np.float32(self.low)
        low, high = self.low, self.high
        if kind.kind != "f":
            limits = np.iinfo(kind)
            low, high = max(low, limits.min), min(high, limits.max)
            np.rint(values, out=values)
        np.clip(values, low, high, out=values)
        result: Pixels = values.astype(kind)
        return result


def pixels_sha256(pixels: Pixels) -> str:
    """Hash shape, type and values, so that equal arrays give equal text on any machine.

    Parameters
    ----------
    pixels : array of any shape and integer type

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    array = np.asarray(pixels)
    digest = hashlib.sha256(f"{array.dtype.name} {array.shape}\n".encode())
    little = array.dtype.newbyteorder("<")
    for start, stop in bands(array.shape[0], array[:1].size) if array.ndim else [(0, 0)]:
        part = array[start:stop] if array.ndim else array
        digest.update(np.ascontiguousarray(part, dtype=little).tobytes())
    return digest.hexdigest()


def bands(height: int, row_values: int, limit: int = 1 << 24) -> Iterator[tuple[int, int]]:
    """Split rows into bands of at most `limit` values, so that copies of a band stay small."""
    step = max(1, limit // max(1, row_values))
    for start in range(0, height, step):
        yield start, min(start + step, height)


def is_grey(values: Pixels, tolerance: int = 0) -> bool:
    """Tell whether three channels (..., H, W, 3) differ nowhere by more than a tolerance."""
    flat = values.reshape(-1, *values.shape[-2:])
    # Of most coloured images a few rows tell; and over three channels max(axis=2) is slow.
    for start, stop in bands(flat.shape[0], flat[:1].size, limit=1 << 16):
        red, green, blue = np.moveaxis(flat[start:stop], 2, 0)
        highest = np.maximum(np.maximum(red, green), blue)
        # Of a float image all channels may be infinite: they are equal then.
        with np.errstate(invalid="ignore"):
            apart = highest - np.minimum(np.minimum(red, green), blue)
        if (apart > tolerance).any():
            return False
    return True


def check_size(
    width: int, height: int, where: str, *, hint: str = "", least: int = MIN_SIDE
) -> None:
    """Refuse what is too small to restore or too large to hold.

    Raises
    ------
    ImageSizeError
    """
    if width * height > MAX_PIXELS:
        raise ImageSizeError(
            f"{where}: {width} x {height} px is {width * height / 1e6:,.0f} megapixels; the limit "
            f"is {MAX_PIXELS // 10**6}. {hint or 'Cut the image into parts first.'}"
        )
    if min(width, height) < least:
        raise ImageSizeError(
            f"{where}: {width} x {height} px is too small; both sides need at least {least} px, "
            "or nothing is left around the artifact to restore from."
        )


def check_region(
    region: Region, width: int, height: int, where: str, *, least: int = MIN_SIDE
) -> Region:
    """Check that a region (x, y, w, h) lies inside an image and is worth restoring.

    Raises
    ------
    RegionError
        If it is not four whole numbers, or lies outside.
    ImageSizeError
        If it is smaller than `least` px a side or larger than 450 megapixels.
    """
    try:
        x, y, w, h = (_whole(number) for number in region)
    except (TypeError, ValueError):
        raise RegionError(
            f"{where}: a region is four whole numbers x,y,w,h in pixels; got {region!r}"
        ) from None
    if x < 0 or y < 0 or w < 1 or h < 1 or x + w > width or y + h > height:
        raise RegionError(
            f"{where}: region {x},{y},{w},{h} does not lie inside the image, which is "
            f"{width} x {height} px (x,y is the top left corner, w,h are width and height)"
        )
    name = f"{where}, region {x},{y},{w},{h}"
    check_size(w, h, name, hint="Choose a smaller region.", least=least)
    return x, y, w, h


def _whole(number: Any) -> int:
    if isinstance(number, (bool, str)) or int(number) != number:
        raise ValueError
    return int(number)


def check_mpp(mpp: float, where: str, *, least: float = MIN_MPP) -> float:
    """Check a pixel size that a user gave, in micrometres per pixel.

    Parameters
    ----------
    least : float
        Finest one that can be worked with, where that is coarser than files may be.

    Raises
    ------
    PixelSizeError
    """
    try:
        value = float(mpp)
    except (TypeError, ValueError):
        value = math.nan
    if not least <= value <= MAX_MPP:
        raise PixelSizeError(
            f"{where}: {mpp!r} is no possible pixel size; micrometres per pixel lie between "
            f"{least:g} and {MAX_MPP:g} here (20x objective: about 0.5; 40x: about 0.25)"
        )
    return value


def plausible_mpp(mpp: float | None) -> float | None:
    """Keep a pixel size found in a tag only if a microscope could have given it.

    Print resolutions (72, 96, 300 dpi) come out above 20 um/px and are dropped.
    """
    if mpp is None or not MIN_MPP <= mpp <= MAX_MPP:
        return None
    return round(mpp, 6)  # tags are rationals: 0.5 comes back as 0.49999999


_METRES = {
    "m": 1.0, "mm": 1e-3, "cm": 1e-2, "µm": 1e-6, "μm": 1e-6, "um": 1e-6, "nm": 1e-9,
    "pm": 1e-12, "å": 1e-10, "in": 0.0254, "inch": 0.0254, "inches": 0.0254,
    "micron": 1e-6, "microns": 1e-6, "micrometer": 1e-6, "micrometers": 1e-6, "micrometre": 1e-6,
    "micrometres": 1e-6, "millimeter": 1e-3, "millimetre": 1e-3, "centimeter": 1e-2,
    "centimetre": 1e-2, "nanometer": 1e-9, "nanometre": 1e-9,
}  # fmt: skip


def length_um(value: float, unit: str) -> float | None:
    """Convert a length with a unit as microscope files spell it to micrometres.

    XML entities (``&#181;m``, ``&micro;m``) and the escapes of Java and Python (``\\u00B5m``)
    are resolved first, however often they were applied.
    """
    for _ in range(3):
        unit = html.unescape(unit)
    unit = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found.group(1), 16)), unit).strip()
    # ImageJ writes a byte of Latin-1, and readers that expect UTF-8 put U+FFFD for it.
    metres = _METRES.get(unit.replace("\ufffd", "µ").lower())
    return None if metres is None else value * metres * 1e6


def ome_mpp(xml: str) -> float | None:
    """Find PhysicalSizeX of the first image in OME-XML.

    A regular expression rather than an XML parser: files come from anywhere, and entity
    expansion in a parser is a way to exhaust memory.
    """
    pixels = re.search(r"<(?:\w+:)?Pixels\b[^>]*>", xml)
    said = dict(
        re.findall(r"""\b(PhysicalSizeX(?:Unit)?)\s*=\s*["']([^"']*)["']""", (pixels or [""])[0])
    )
    try:
        value = float(said["PhysicalSizeX"])
    except (KeyError, ValueError):
        return None
    return plausible_mpp(length_um(value, said.get("PhysicalSizeXUnit", "µm")))


def check_rgb(pixels: Pixels, task: str, *, hint: str, deep: bool = False, least: int = 1) -> None:
    """Refuse what is no array of RGB values, or too small.

    Parameters
    ----------
    pixels : to be (H, W, 3) uint8.
    task : what needs it, as a message begins: "Detecting artifacts".
    hint : what to do about another array.
    deep : take uint16 too.
    least : shortest side in px.

    Raises
    ------
    UnsupportedImageError
    ImageSizeError
    """
    depths = ("uint8", "uint16") if deep else ("uint8",)
    array = isinstance(pixels, np.ndarray)
    if not array or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in depths:
        found = f"{pixels.dtype} of shape {pixels.shape}" if array else type(pixels).__name__
        raise UnsupportedImageError(
            f"{task} needs an RGB array, (height, width, 3) of {' or '.join(depths)}, not {found}. "
            f"{hint}"
        )
    height, width = pixels.shape[:2]
    if min(height, width) < least:
        raise ImageSizeError(
            f"{task} needs at least {least} px on each side, and the image is {width}x{height} px. "
            "Use a larger one."
        )
