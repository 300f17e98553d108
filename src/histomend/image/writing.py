"""Images out: PNG and TIFF without loss, JPEG on demand, never half a file."""

from __future__ import annotations

import errno
import os
import struct
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import tifffile

from histomend.errors import OutputError, SettingError, UnsupportedImageError, utf8
from histomend.image.ome_names import ome_of
from histomend.image.pixels import Pixels, check_mpp, check_rgb
from histomend.image.places import check_leads_somewhere, exists_already, output_error
from histomend.image.png import encode_png
from histomend.image.replacing import write_atomically
from histomend.image.tiff_tags import carried_from

_TILE = 512
BIG_TIFF = 3 << 30  # raw bytes; classic TIFF ends at 4 GiB and incompressible data grow a little
_JPEG_SIDE = 65_500  # libjpeg's limit
_SOFTWARE = "Histomend"
_ORIENTATION, _SOFTWARE_TAG, _ICC = 274, 305, 34675


def check_output(
    path: Path | str, *, force: bool = False, lossy: bool = False, source: Path | None = None
) -> None:
    """Fail early if an image could not be written here, before hours are spent on it.

    Parameters
    ----------
    path : Path
        Ends in .png, .tif, .tiff, or with `lossy` in .jpg, .jpeg.
    force : bool
        An existing file may be replaced.
    lossy : bool
        A lossy format is accepted.
    source : Path or None
        The file being restored, which is never overwritten, `force` or not.

    Raises
    ------
    SettingError
        The suffix is unknown, or lossy without `lossy`.
    OutputError
        The file exists, is the source, or the folder is missing or cannot be written.
    """
    path = Path(path)
    check_format(path, lossy=lossy)
    check_target(path, force=force)
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise OutputError(f"{path}: is the source image itself. Choose another output.")


def check_target(path: Path, *, force: bool, new_folder: bool = False) -> None:
    """Fail if a file could not be created at `path`, whatever its kind.

    Parameters
    ----------
    new_folder : bool
        The folder will be made if it is not there.

    Raises
    ------
    OutputError
    """
    folder = path.parent
    try:
        if path.is_dir():
            raise OutputError(f"{path}: is a folder. Give the name of a file.")
        with suppress(FileNotFoundError):
            path.lstat()
            if not force:
                raise exists_already(path)
        while new_folder and not os.path.lexists(folder):
            check_leads_somewhere(folder)
            folder = folder.parent
        if not folder.is_dir():
            if new_folder:
                raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder")
            raise OutputError(f"{path}: the folder {folder} does not exist. Create it first.")
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise output_error(path, error) from error


def write_image(
    path: Path | str,
    pixels: Pixels,
    *,
    alpha: Pixels | None = None,
    mpp: float | None = None,
    note: str | None = None,
    lossy: bool = False,
    force: bool = False,
    icc: bytes | None = None,
    orientation: int = 1,
    like: Path | None = None,
) -> None:
    """Write an RGB image; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        Its suffix chooses the format: .png, .tif or .tiff (tiled, deflate, BigTIFF where
        needed), or .jpg (quality 95, no chroma subsampling) with `lossy`.
    pixels : (H, W, 3) uint8 or uint16
    alpha : (H, W) of the same type, or None
    mpp : float or None
        Micrometres per pixel, written as the resolution of the file.
    note : str or None
        Stored in the file's metadata: PNG text, TIFF ImageDescription, JPEG comment.
    lossy : bool
        Accept JPEG.
    force : bool
        Replace an existing file.
    icc : bytes or None
        Colour profile.
    orientation : int
        How viewers are asked to turn it (EXIF and TIFF tag 274); 1 is not at all.
    like : Path or None
        A TIFF of which a TIFF takes over the tags that stay true.

    Raises
    ------
    SettingError, OutputError, UnsupportedImageError, PixelSizeError
    """
    path = Path(path)
    kind = check_format(path, lossy=lossy)
    check_rgb(pixels, f"Writing {path}", hint="Convert the values first.", deep=True)
    if alpha is not None and (alpha.shape != pixels.shape[:2] or alpha.dtype != pixels.dtype):
        raise UnsupportedImageError(
            f"{path}: alpha is {alpha.shape} {alpha.dtype}, and the pixels need "
            f"{pixels.shape[:2]} {pixels.dtype}"
        )
    if mpp is not None:
        mpp = check_mpp(mpp, str(path))
    if kind == "JPEG":
        check_jpeg(path, pixels.shape, pixels.dtype, alpha=alpha is not None)
    check_target(path, force=force)

    def rows(start: int, stop: int) -> Pixels:
        if alpha is None:
            return pixels[start:stop]
        return np.concatenate([pixels[start:stop], alpha[start:stop, :, None]], axis=2)

    def encode(file: BinaryIO) -> None:
        if kind == "PNG":
            text = {"Software": _SOFTWARE} | ({"Comment": note} if note else {})
            shape = (*pixels.shape[:2], 3 if alpha is None else 4)
            encode_png(
                file, rows, shape=shape, dtype=pixels.dtype, mpp=mpp, text=text, icc=icc,
                exif=_exif(orientation),
            )  # fmt: skip
        elif kind == "TIFF":
            tags = [] if like is None else carried_from(like)
            tags += [(_ORIENTATION, 3, 1, orientation, False)] if orientation != 1 else []
            _encode_tiff(file, pixels, alpha, mpp, note, icc, tags, ome_of(path, pixels, mpp, note))
        else:
            _encode_jpeg(file, pixels, mpp, note, icc, _exif(orientation))

    write_atomically(path, encode)


def write_text(path: Path | str, text: str, *, force: bool) -> None:
    """Write UTF-8 text; the file appears complete or not at all.

    Raises
    ------
    OutputError
        If the file exists (and not `force`), or cannot be written.
    """
    path = Path(path)
    check_target(path, force=force)

    def encode(file: BinaryIO) -> None:
        file.write(utf8(text))

    write_atomically(path, encode)


def check_format(path: Path, *, lossy: bool) -> str:
    """Return the format of an image file by its suffix: PNG, TIFF or JPEG.

    Raises
    ------
    SettingError
        Another suffix, or JPEG without `lossy`.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        return "PNG"
    if suffix in (".tif", ".tiff"):
        return "TIFF"
    if suffix in (".jpg", ".jpeg"):
        if lossy:
            return "JPEG"
        raise SettingError(
            f"{path}: JPEG changes every pixel, so that nobody could verify what was restored. "
            "Write .png or .tif, or accept the loss: --lossy."
        )
    raise SettingError(
        f"{path}: images are written as .png or .tif (or .jpg with --lossy), "
        f"not as {suffix or 'a file without a suffix'}."
    )


def check_jpeg(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], *, alpha: bool) -> None:
    """Fail if JPEG could not hold an image (H, W, 3).

    Raises
    ------
    SettingError
    """
    if dtype != np.uint8:
        raise SettingError(f"{path}: JPEG holds 8 bits, the image has 16. Write .png or .tif.")
    if alpha:
        raise SettingError(f"{path}: JPEG has no transparency, the image has. Write .png or .tif.")
    if max(shape[:2]) > _JPEG_SIDE:
        raise SettingError(f"{path}: JPEG ends at {_JPEG_SIDE} px a side. Write .png or .tif.")


def _encode_tiff(
    file: BinaryIO,
    pixels: Pixels,
    alpha: Pixels | None,
    mpp: float | None,
    note: str | None,
    icc: bytes | None,
    tags: list[Any],
    ome: dict[str, Any] | None,
) -> None:
    height, width = pixels.shape[:2]
    samples = 3 if alpha is None else 4
    big = height * width * samples * pixels.dtype.itemsize > BIG_TIFF
    per_cm = None if mpp is None else (10_000 / mpp, 10_000 / mpp)
    taken = {tag[0] for tag in tags}
    text = None if note is None or ome else utf8(note)
    with tifffile.TiffWriter(file, bigtiff=big, byteorder="<", ome=ome is not None) as writer:
        writer.write(
            _tiles(pixels, alpha),
            shape=(height, width, samples),
            dtype=pixels.dtype,
            tile=(_TILE, _TILE),
            photometric="rgb",
            extrasamples=None if alpha is None else ["unassalpha"],
            compression="zlib",
            predictor=True,
            resolution=per_cm,
            resolutionunit=None if per_cm is None else "CENTIMETER",
            description=text,
            software="" if _SOFTWARE_TAG in taken else _SOFTWARE,
            iccprofile=None if _ICC in taken else icc,
            extratags=tags,
            metadata=ome,
            maxworkers=1,
        )


def _tiles(pixels: Pixels, alpha: Pixels | None) -> Iterator[Pixels]:
    """Give tiles row by row, so that no second copy of the image is ever held."""
    height, width = pixels.shape[:2]
    samples = 3 if alpha is None else 4
    for y in range(0, height, _TILE):
        for x in range(0, width, _TILE):
            part = pixels[y : y + _TILE, x : x + _TILE]
            # Zeros rather than repeated edges: they compress best and no reader shows them.
            tile = np.zeros((_TILE, _TILE, samples), pixels.dtype)
            tile[: part.shape[0], : part.shape[1], :3] = part
            if alpha is not None:
                tile[: part.shape[0], : part.shape[1], 3] = alpha[y : y + _TILE, x : x + _TILE]
            yield tile


def _exif(orientation: int) -> bytes | None:
    """Return EXIF of one entry: how viewers are asked to turn the image."""
    if orientation == 1:
        return None
    return struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, _ORIENTATION, 3, 1, orientation, 0, 0)


def _encode_jpeg(
    file: BinaryIO,
    pixels: Pixels,
    mpp: float | None,
    note: str | None,
    icc: bytes | None,
    exif: bytes | None,
) -> None:
    picture = PIL.Image.fromarray(np.ascontiguousarray(pixels))
    more = {"exif": b"Exif\0\0" + exif} if exif else {}
    picture.save(
        file, "JPEG", quality=95, subsampling=0, comment=utf8(note or ""), icc_profile=icc,
        **more,
    )  # fmt: skip
    density = 0 if mpp is None else round(10_000 / mpp)
    if 0 < density < 65_536:
        # JFIF header: unit at byte 13 (2 is per cm), then two 16-bit densities. Pillow writes
        # them per inch only, where 40x images would not fit into 16 bits.
        file.seek(13)
        file.write(b"\x02" + density.to_bytes(2, "big") * 2)
        file.seek(0, os.SEEK_END)
