"""PNG, JPEG, AVIF and WebP, and images that Pillow already holds."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from PIL import (
    AvifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from histomend.errors import (
    HistomendError,
    ImageSizeError,
    ResourceError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.inner_headers import jpeg_least_bytes
from histomend.image.pixels import (
    MAX_PIXELS,
    MIN_SIDE,
    Frame,
    Image,
    Pixels,
    Region,
    bands,
    check_region,
    check_size,
    plausible_mpp,
)
from histomend.image.png import check_png, decode_deep_png
from histomend.image.regular_files import check_regular_file

# The plugins are called directly: PIL.Image.open refuses more than 179 megapixels through one
# setting for the whole process, which is the caller's to choose and not ours to change.
_PLUGINS: dict[str, Any] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}
_ORIENTATION_TAG = 0x0112
_DEEP_GREY = ((16, 0), (16, 4))

# Profiles and thumbnails may stand before the start of frame.
_JPEG_HEAD = 1 << 20
_TO_RGB = "PIL.Image.open(IN).convert('RGB').save(OUT)"
GREY_REASON = (
    "the image is grey, and the models restore the colours of a stain. If it is the grey copy of "
    "a colour image, use the colour image"
)
ONE_BIT_REASON = (
    "the image has one bit per pixel (black and white only): it looks like a mask. Give the "
    "colour image here and this file as --mask"
)
CMYK_REASON = (
    "the image is CMYK, made for printing. Convert it to RGB first, in Python "
    f"{_TO_RGB}, or with ImageMagick: magick IN -colorspace sRGB OUT"
)


def unsupported_mode(where: str, mode: str) -> UnsupportedImageError:
    """Say why images of a Pillow mode are not restored, and what to do."""
    if mode == "1":
        reason = ONE_BIT_REASON
    elif mode in ("L", "LA", "La", "I", "F") or mode.startswith("I;"):
        reason = GREY_REASON
    elif mode == "CMYK":
        reason = CMYK_REASON
    else:
        reason = f"the image has mode {mode}, not RGB. Convert it, in Python {_TO_RGB}"
    return UnsupportedImageError(f"{where}: {reason}.")


def read_raster(path: Path, kind: str, region: Region | None, *, least: int = MIN_SIDE) -> Image:
    """Read a PNG, JPEG, AVIF or WebP file.

    Parameters
    ----------
    path : Path
    kind : "PNG", "JPEG", "AVIF" or "WebP"
        As found from the content.
    region : (x, y, w, h) or None
    least : int
        Shortest side in px.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ImageSizeError, RegionError
    """
    with open_picture(path, kind) as picture:
        if kind == "PNG" and _png_kind(path) in ((16, 2), (16, 6)):
            return _read_deep_png(path, picture, region, least)
        if kind == "PNG" and _png_kind(path) in _DEEP_GREY:
            raise unsupported_mode(str(path), "LA")  # Pillow takes it for colours
        return from_pillow(picture, str(path), region, lossy=_is_lossy(path, kind), least=least)


def read_grey(path: Path, kind: str, region: Region | None) -> Image | None:
    """Read a grey PNG or JPEG in 8 or 16 bit, with or without transparency.

    Returns
    -------
    Image, of which `pixels` is (H, W); None if the file is not grey

    Raises
    ------
    UnreadableImageError, ImageSizeError, RegionError
    """
    with open_picture(path, kind) as picture:
        deep = kind == "PNG" and _png_kind(path) in _DEEP_GREY
        if not deep and picture.mode not in ("L", "LA") and not picture.mode.startswith("I"):
            return None
        _check_header(picture, str(path), region, MIN_SIDE)
        if deep:  # Pillow drops bits where there is alpha
            values = decode_deep_png(path.read_bytes(), str(path))
        else:
            picture.load()
            values = np.asarray(picture)
        x, y, w, h = region or (0, 0, picture.width, picture.height)
        values = values[y : y + h, x : x + w].reshape(h, w, -1)
        alpha = np.ascontiguousarray(values[..., 1]) if values.shape[2] == 2 else None
        return Image(
            np.ascontiguousarray(values[..., 0]),
            density_mpp(picture.info.get("dpi")),
            alpha,
            notices=_orientation_notice(picture),
            lossy=kind == "JPEG",
            icc=picture.info.get("icc_profile") or None,
            orientation=_orientation(picture),
        )


@contextmanager
def open_picture(path: Path, kind: str) -> Iterator[PIL.Image.Image]:
    """Open a file with Pillow; only the header is read until pixels are asked for.

    Whatever Pillow raises within the block becomes one of our errors.

    Raises
    ------
    UnreadableImageError, ImageSizeError, ResourceError
    """
    check_regular_file(path)
    try:
        if kind == "PNG":
            check_png(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; the pixels decide
            with _PLUGINS[kind](path) as picture:
                # Of larger ones it is said that they are too large.
                if kind == "JPEG" and picture.width * picture.height <= MAX_PIXELS:
                    _check_jpeg(path)
                yield picture
    except HistomendError:
        raise
    except PIL.Image.DecompressionBombError as error:
        raise ImageSizeError(f"{path}: {error} Save it as TIFF or PNG instead.") from error
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to decode the image") from error
    except Exception as error:  # decoders raise anything on damaged bytes
        raise UnreadableImageError(
            f"{path}: the {kind} data are truncated or damaged ({error}). "
            "Copy or export the file again."
        ) from error


def from_pillow(
    picture: PIL.Image.Image,
    where: str,
    region: Region | None,
    *,
    lossy: bool,
    least: int = MIN_SIDE,
) -> Image:
    """Take the pixels out of a Pillow image, and what its metadata say about them.

    Raises
    ------
    UnsupportedImageError, ImageSizeError, RegionError
    """
    _check_header(picture, where, region, least)
    x, y, w, h = region or (0, 0, picture.width, picture.height)
    notices = _orientation_notice(picture)
    mode = picture.mode
    see_through = mode == "RGBA" or "transparency" in picture.info
    if mode == "P":
        notices += ("the palette was expanded to RGB",)
    elif mode not in ("RGB", "RGBA", "RGBX"):
        raise unsupported_mode(where, mode)
    picture.load()
    pixels = np.empty((h, w, 3), np.uint8)
    alpha = np.empty((h, w), np.uint8) if see_through else None
    # Band by band: a whole converted copy beside Pillow's 4 bytes per pixel would be too much.
    for start, stop in bands(h, w * 4):
        part = picture.crop((x, y + start, x + w, y + stop))
        values = np.asarray(part.convert("RGBA" if see_through else "RGB"))
        pixels[start:stop] = values[..., :3]
        if alpha is not None:
            alpha[start:stop] = values[..., 3]
    return Image(
        pixels,
        density_mpp(picture.info.get("dpi")),
        alpha,
        notices=notices + alpha_notices(alpha),
        lossy=lossy,
        icc=picture.info.get("icc_profile") or None,
        orientation=_orientation(picture),
        frame=Frame(picture.width, picture.height),
    )


def alpha_notices(alpha: Pixels | None) -> tuple[str, ...]:
    """Say what becomes of transparency, where there is any."""
    if alpha is None:
        return ()
    low, high = int(alpha.min()), int(alpha.max())
    if high == 0:
        return (
            "the image is fully transparent: the colours below were read and restored, but "
            "viewers will show nothing, since the transparency is kept as it is",
        )
    if low == np.iinfo(alpha.dtype).max:
        return ()
    return ("the transparency (alpha) is kept as it is",)


def _check_header(picture: PIL.Image.Image, where: str, region: Region | None, least: int) -> None:
    check_size(picture.width, picture.height, where, least=least)
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise UnsupportedImageError(
            f"{where}: the file is an animation of {frames} frames. Save the one to restore as PNG."
        )
    if region is not None:
        check_region(region, picture.width, picture.height, where, least=least)


def _check_jpeg(path: Path) -> None:
    """Refuse a JPEG that cannot be whole: the decoder makes up the rest, without a word.

    Raises
    ------
    UnreadableImageError
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        least = jpeg_least_bytes(file.read(_JPEG_HEAD))
    if size < least:
        raise UnreadableImageError(
            f"{path}: the JPEG data are truncated or damaged: a picture of the size that it tells "
            f"takes {least:,} bytes at least, and the file has {size:,}. Copy or export it again."
        )


def _orientation(picture: PIL.Image.Image) -> int:
    if "exif" not in picture.info and not isinstance(picture, JpegImagePlugin.JpegImageFile):
        return 1
    tag = picture.getexif().get(_ORIENTATION_TAG, 1)
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _orientation_notice(picture: PIL.Image.Image) -> tuple[str, ...]:
    return orientation_notice(_orientation(picture))


def orientation_notice(tag: Any) -> tuple[str, ...]:
    """Say that a rotation tag was seen and not applied."""
    if tag in (0, 1, None):
        return ()
    return (
        f"the orientation tag ({tag}) asks viewers to turn the image; pixels are restored as "
        "stored, so that the result lies exactly on the source",
    )


def density_mpp(dpi: Any) -> float | None:
    """Return micrometres per pixel from a density in dpi, where a microscope could give it."""
    try:
        across = float(dpi[0])
    except (TypeError, ValueError, IndexError, ZeroDivisionError):
        return None
    return plausible_mpp(25_400 / across) if across > 0 else None


def _is_lossy(path: Path, kind: str) -> bool:
    if kind == "PNG":
        return False
    if kind == "WebP":
        with path.open("rb") as file:
            return b"VP8L" not in file.read(64)
    return True


def _png_kind(path: Path) -> tuple[int, int]:
    """Return bit depth and colour type (0 grey, 2 RGB, 4 grey and 6 RGB with alpha) of IHDR."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[24], header[25]


def _read_deep_png(
    path: Path, picture: PIL.Image.Image, region: Region | None, least: int
) -> Image:
    _check_header(picture, str(path), region, least)
    values = decode_deep_png(path.read_bytes(), str(path))
    x, y, w, h = region or (0, 0, picture.width, picture.height)
    values = values[y : y + h, x : x + w]
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    pixels = np.ascontiguousarray(values[..., :3])
    return Image(
        pixels,
        density_mpp(picture.info.get("dpi")),
        alpha,
        notices=_orientation_notice(picture) + alpha_notices(alpha) + depth_notices(pixels),
        icc=picture.info.get("icc_profile") or None,
        orientation=_orientation(picture),
        frame=Frame(picture.width, picture.height),
    )


def depth_notices(pixels: Pixels) -> tuple[str, ...]:
    """Warn of 12-bit values in a 16-bit file, which a model would see as almost black."""
    if pixels.dtype != np.uint16 or int(pixels.max()) > 4095:
        return ()
    return (
        "16-bit file, but no value is above 4095: the values look like 12-bit or 8-bit ones and "
        "will be seen as nearly black. Scale them to 0..65535 first",
    )
