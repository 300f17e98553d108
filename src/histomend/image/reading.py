"""Open whatever the user has: the content decides what a file is, never its name."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image

from histomend.errors import (
    UnreadableImageError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.image.pixels import (
    MIN_SIDE,
    Image,
    Pixels,
    Region,
    bands,
    check_mpp,
    check_region,
    check_size,
    is_grey,
)
from histomend.image.rasters import (
    GREY_REASON,
    alpha_notices,
    depth_notices,
    from_pillow,
    read_raster,
)
from histomend.image.regular_files import check_regular_file
from histomend.image.slides import read_slide
from histomend.image.tiff import read_tiff, slide_scanner
from histomend.image.tiff_open import TIFF_MAGIC

# A given pixel size that differs by more from the file's is worth a notice.
SAME_MPP = 0.05
_SUFFIXES = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "TIFF": {".tif", ".tiff", ".btf", ".tf2", ".tf8", ".svs", ".ndpi", ".scn", ".bif", ".qptiff"},
    "WebP": {".webp"},
    "AVIF": {".avif"},
}
# Slides whose first file looks like something else (a JPEG, a text) or has its own magic.
SLIDE_SUFFIXES = {
    ".mrxs": "MIRAX",
    ".vms": "Hamamatsu VMS",
    ".vmu": "Hamamatsu VMU",
    ".dcm": "DICOM",
    ".czi": "Zeiss CZI",
}
SLIDE_FILES = (".svs", ".ndpi", ".scn", ".bif", *SLIDE_SUFFIXES)
"""Suffixes of whole slides, beside those of images."""
EQUAL_COLOURS = (
    "red, green and blue are equal everywhere: the image is grey, and the models restore the "
    "colours of a stain"
)
_OTHERS = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
    b"\x89HDF": "HDF5",
}


def read_image(
    path: Path | str,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    least: int = MIN_SIDE,
) -> Image:
    """Read an RGB image from a file.

    PNG, JPEG, TIFF, OME-TIFF, AVIF and WebP are read whole or in part; whole-slide files (SVS,
    NDPI, SCN, MRXS, VMS, DICOM) in part. Pixels are taken as stored: no rotation, no colour
    management.

    Parameters
    ----------
    path : Path
    mpp : float or None
        Micrometres per pixel, in place of what the file says.
    region : (x, y, w, h) or None
        In pixels at full resolution.
    least : int
        Shortest side that is of use, in px; regions of whole-slide files have at least 64.

    Returns
    -------
    Image
        `notices` says what the user should know: a wrong extension, an expanded palette.

    Raises
    ------
    UnreadableImageError
        Missing, empty, truncated, no image, no permission.
    UnsupportedImageError
        Grey, CMYK, one-bit, multi-page, or a whole slide without a region.
    ImageSizeError
        Below `least` px a side or above 450 megapixels, found before decoding.
    ValueRangeError, RegionError, PixelSizeError, MissingDependencyError
    """
    path = Path(path)
    given = None if mpp is None else check_mpp(mpp, str(path))
    kind = content_kind(path)
    notices = _name_notice(path, kind)
    if kind in SLIDE_SUFFIXES.values():
        image = read_slide(path, kind, region)
    elif kind == "TIFF":
        slide = slide_scanner(path)
        if slide is None:
            image = read_tiff(path, region, least=least)
        else:
            image = read_slide(path, slide[0], region, slide[1:])
    else:
        image = read_raster(path, kind, region, least=least)
    if given is not None and image.mpp is not None and abs(given / image.mpp - 1) > SAME_MPP:
        notices += (f"{given:g} um/px was given and is used; the file says {image.mpp:g}",)
    if is_grey(image.pixels):
        notices += (EQUAL_COLOURS,)
    return replace(
        image,
        mpp=image.mpp if given is None else given,
        source=path,
        sha256=file_sha256(path),
        region=_as_read(region),
        notices=notices + image.notices,
    )


def as_image(
    value: Pixels | PIL.Image.Image | str | Path,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    least: int = MIN_SIDE,
) -> Image:
    """Take an image from an array, a Pillow image or a file.

    Parameters
    ----------
    value : (H, W, 3) or (H, W, 4) uint8, uint16, or float in [0, 1]; PIL image; path
        Float values are rounded to uint8. An array is not copied where it need not be.
    mpp : float or None
        Micrometres per pixel.
    region : (x, y, w, h) or None
        In pixels.
    least : int
        Shortest side that is of use, in px.

    Raises
    ------
    InputError
        One of its children, as for `read_image`.
    """
    if isinstance(value, (str, Path)):
        return read_image(Path(value), mpp=mpp, region=region, least=least)
    given = None if mpp is None else check_mpp(mpp, "mpp")
    if isinstance(value, PIL.Image.Image):
        lossy = getattr(value, "format", None) in ("JPEG", "MPO", "AVIF")
        image = from_pillow(value, "the Pillow image", region, lossy=lossy, least=least)
        return replace(image, mpp=image.mpp if given is None else given, region=_as_read(region))
    if not isinstance(value, np.ndarray):
        raise UnsupportedImageError(
            f"expected a path, a NumPy array or a Pillow image, got {type(value).__name__}"
        )
    return replace(_from_array(value, region, least), mpp=given, region=_as_read(region))


def _as_read(region: Region | None) -> Region | None:
    """Turn a region that was found to be right into plain integers."""
    if region is None:
        return None
    x, y, w, h = (int(number) for number in region)
    return x, y, w, h


def _from_array(values: Pixels, region: Region | None, least: int) -> Image:
    where = "the array"
    if values.ndim == 2 or (values.ndim == 3 and values.shape[2] == 1):
        raise UnsupportedImageError(f"{where}: {GREY_REASON}.")
    if values.ndim != 3 or values.shape[2] not in (3, 4):
        hint = ""
        if values.ndim == 3 and values.shape[0] in (3, 4):
            hint = " Channels come last here: numpy.moveaxis(array, 0, -1)."
        raise UnsupportedImageError(
            f"{where}: expected (height, width, 3), or 4 with alpha, got {values.shape}.{hint}"
        )
    height, width = values.shape[:2]
    check_size(width, height, where, least=least)
    if region is not None:
        x, y, w, h = check_region(region, width, height, where, least=least)
        values = values[y : y + h, x : x + w]
    if values.dtype.kind == "f":
        values = _from_float(values, where)
    elif values.dtype not in (np.uint8, np.uint16):
        raise ValueRangeError(
            f"{where}: values of type {values.dtype} have no known range. Use uint8 (0..255), "
            "uint16 (0..65535) or float in [0, 1]."
        )
    pixels = np.ascontiguousarray(values[..., :3], dtype=values.dtype.newbyteorder("="))
    alpha = None
    if values.shape[2] == 4:
        alpha = np.ascontiguousarray(values[..., 3], dtype=pixels.dtype)
    return Image(pixels, alpha=alpha, notices=alpha_notices(alpha) + depth_notices(pixels))


def _from_float(values: Pixels, where: str) -> Pixels:
    out = np.empty(values.shape, np.uint8)
    for start, stop in bands(values.shape[0], values[:1].size):
        part = values[start:stop]
        bad = ~np.isfinite(part)
        if bad.any():
            y, x = np.argwhere(bad)[0][:2]
            raise ValueRangeError(
                f"{where}: NaN or infinity at x={x}, y={y + start}. Put other values there; "
                "to have that place restored, add it to the mask as well."
            )
        low, high = float(part.min()), float(part.max())
        if low < 0 or high > 1:
            raise ValueRangeError(
                f"{where}: floating-point values must lie in [0, 1], found {low:g} to {high:g}. "
                "Divide by the maximum of the scale (255 or 65535), or convert to uint8 or uint16."
            )
        out[start:stop] = np.rint(part * 255.0)
    return out


def content_kind(path: Path) -> str:
    """Tell the kind of an image file ("PNG", "TIFF", "DICOM", ...) from its first bytes.

    Raises
    ------
    UnreadableImageError
        Missing, empty, no permission, or no image.
    UnsupportedImageError
        An image format that is not read.
    """
    head = _head(path)
    suffix = path.suffix.lower()
    if head[128:132] == b"DICM":
        return "DICOM"
    if head.startswith(b"ZISRAWFILE"):
        return "Zeiss CZI"
    if suffix in (".mrxs", ".vms", ".vmu"):
        return SLIDE_SUFFIXES[suffix]
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head[:4] in TIFF_MAGIC:
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp":
        if head[8:12] in (b"avif", b"avis") or b"avif" in head[16:64]:
            return "AVIF"
        raise _not_read(path, "HEIF")
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise _not_read(path, name)
    raise UnreadableImageError(
        f"{path}: this is no image: the file is {_describe(head)}, whatever its name says. "
        "Histomend reads PNG, JPEG, TIFF, AVIF, WebP and regions of slide files."
    )


def _head(path: Path) -> bytes:
    check_regular_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError as error:
        raise UnreadableImageError(
            f"{path}: cannot be opened ({error.strerror or error}). Check the permissions and the "
            "path."
        ) from error
    if not head:
        raise UnreadableImageError(f"{path}: the file is empty (0 bytes). Copy or export it again.")
    return head


def _describe(head: bytes) -> str:
    if set(head) <= set(b"\t\n\r\f\x1b") | set(range(32, 127)):
        return "text"
    if not any(head):
        return "filled with zeros (an interrupted copy?)"
    return "binary of an unknown kind"


def _not_read(path: Path, name: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"{path}: {name} files are not read. Save the image as PNG or TIFF first."
    )


def _name_notice(path: Path, kind: str) -> tuple[str, ...]:
    suffix = path.suffix.lower()
    known = {s for suffixes in _SUFFIXES.values() for s in suffixes} | set(SLIDE_SUFFIXES)
    if suffix not in known or suffix in _SUFFIXES.get(kind, set()):
        return ()
    if SLIDE_SUFFIXES.get(suffix) == kind:
        return ()
    return (f"the file is named {path.suffix} but holds a {kind} image; it was read as {kind}",)


def file_sha256(path: Path) -> str:
    """Return the hash of a file's bytes, 64 hexadecimal digits."""
    check_regular_file(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
