"""Images and z-stacks to denoise, from files and back into files of the same kind.

A TIFF is written page by page as its source was: order, type, compression, tiles, resolution and
descriptions (OME-XML among them) are taken over, and only the values are new.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import tifffile

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    ResourceError,
    SettingError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.pixels import Pixels, check_mpp
from histomend.image.rasters import ONE_BIT_REASON, open_picture
from histomend.image.reading import content_kind, read_image
from histomend.image.stacks import Stack, as_stack
from histomend.image.tiff import LOSSLESS, damaged, page_mpp, slide_scanner
from histomend.image.tiff_chain import check_chain
from histomend.image.writing import BIG_TIFF, check_output, write_atomically, write_image

_SOFTWARE = "Histomend"
_DEFLATE = 8
_GREY_PNG = ("L", "I;16", "I;16B", "I")
# Tags that are copied byte by byte: ImageJ's counts and contents of labels, colours and regions.
_COPIED = (50838, 50839)
_DESCRIPTION, _SOFTWARE_TAG, _DATE, _ICC = 270, 305, 306, 34675


def read_stack(
    path: Path | str,
    *,
    channels: int | None = None,
    axes: str | None = None,
    mpp: float | None = None,
) -> Stack:
    """Read an image or a z-stack of one to three channels.

    TIFF, OME-TIFF and ImageJ's TIFF may hold channels first or last, on one page or on many.
    Other files are read as one grey image (PNG) or one colour image.

    Parameters
    ----------
    path : Path
    channels : int, optional
        How many channels there have to be. Where the file does not say what its pages are, pages
        of this number are taken for channels.
    axes : str, optional
        The order in the file, in place of what it says: ZCYX, CYX, YXC, say.
    mpp : float, optional
        Micrometres per pixel, in place of what the file says.

    Raises
    ------
    UnreadableImageError
        Missing, truncated or damaged.
    UnsupportedImageError
        Pages of different sizes, a wrong number of channels, colours that are no measured light,
        a whole slide, or an order that cannot be known.
    ValueRangeError
        NaN, negative values, floats outside [0, 1], one value throughout.
    ImageSizeError, PixelSizeError, MissingDependencyError
    """
    path = Path(path)
    given = None if mpp is None else check_mpp(mpp, str(path))
    kind = content_kind(path)
    notices: tuple[str, ...] = ()
    if kind == "TIFF" and slide_scanner(path) is None:
        values, found, own, notices = _read_tiff(path)
    else:
        grey = _grey_png(path) if kind == "PNG" else None
        if grey is not None:
            values, own, found = *grey, "YX"
        else:
            image = read_image(path)
            values, own, found, notices = image.pixels, image.mpp, "YXC", image.notices
            if image.alpha is not None:
                notices += ("the transparency (alpha) is left out",)
    stack = as_stack(
        values,
        channels=channels,
        axes=axes,
        found=found,
        mpp=own if given is None else given,
        source=path,
    )
    return Stack(**{**vars(stack), "notices": notices + stack.notices})


def write_stack(path: Path | str, stack: Stack, *, force: bool = False) -> None:
    """Write an image or a stack; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        .tif or .tiff, or .png for a single image of one or three channels. A TIFF from a TIFF is
        laid out as that is; its compression becomes deflate if it was lossy.
    stack : Stack
        As `read_stack` gave it, with new values.
    force : bool
        Replace an existing file; never the source.

    Raises
    ------
    SettingError
        A format that cannot hold the stack.
    OutputError
    """
    path = Path(path)
    check_output(path, force=force, source=stack.source)
    if path.suffix.lower() == ".png":
        _write_png(path, stack, force=force)
        return
    source = stack.source
    like = source if source is not None and content_kind(source) == "TIFF" else None

    def encode(file: BinaryIO) -> None:
        if like is None:
            _write_fresh(file, stack)
        else:
            _write_like(file, stack, like)

    write_atomically(path, encode)


def _read_tiff(path: Path) -> tuple[Pixels, str, float | None, tuple[str, ...]]:
    """Return values, axes, mpp and notices."""
    try:
        with tifffile.TiffFile(path) as file:
            check_chain(file, path)
            series, notices = _only_series(file, path)
            for page in _pages(series):
                _check_page(page, path)
            mpp = page_mpp(file, file.pages.first)
            return series.asarray(maxworkers=1), series.axes, mpp, notices
    except HistomendError:
        raise
    except MemoryError as error:
        raise ResourceError(f"{path}: not enough memory to decode the stack") from error
    except Exception as error:  # decoders raise anything on damaged bytes
        if "imagecodecs" in str(error):
            raise MissingDependencyError(
                f"{path}: this kind of TIFF needs imagecodecs: pip install imagecodecs"
            ) from error
        raise damaged(path, error) from error


def _pages(series: tifffile.TiffPageSeries) -> list[Any]:
    """Return the pages with all their tags; those that ImageJ leaves out are like the first."""
    return [
        series.keyframe if page is None or page.is_virtual else page.aspage()
        for page in series.pages
    ]


def _only_series(
    file: tifffile.TiffFile, path: Path
) -> tuple[tifffile.TiffPageSeries, tuple[str, ...]]:
    first, *others = file.series
    others = [series for series in others if not series.keyframe.is_reduced]
    if others:
        sizes = " and ".join(f"{s.sizes['width']}x{s.sizes['height']}" for s in (first, others[0]))
        raise UnsupportedImageError(
            f"{path}: the file holds pages of different sizes or kinds ({sizes} px, "
            f"{1 + len(others)} sets). The planes of a stack must be alike: save each set to a "
            "file of its own."
        )
    if any(page is None for page in first.pages) or first.is_multifile:
        raise UnreadableImageError(
            f"{path}: the description speaks of {first.shape} values ({first.axes}), but some of "
            "the planes are missing, or are in other files. Export the stack to one file again."
        )
    if len(first.levels) > 1 or len(file.series) > 1:
        return first, ("only full-resolution pages were read; smaller ones are not written again",)
    return first, ()


def _check_page(page: Any, path: Path) -> None:
    bits = page.bitspersample
    photometric, compression = int(page.photometric), int(page.compression)
    if bits == 1:
        raise UnsupportedImageError(f"{path}: {ONE_BIT_REASON}.")
    if photometric not in (1, 2) and not (photometric == 6 and compression == 7):
        raise UnsupportedImageError(
            f"{path}: pixels of kind {page.photometric!s} are no measured light. Save the image "
            "as grey or RGB, without a palette."
        )
    if page.dtype is None or bits != 8 * page.dtype.itemsize or int(page.imagedepth) != 1:
        raise UnsupportedImageError(
            f"{path}: {bits} bits per sample are not read. Save the image with 8 or 16."
        )
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) > page.parent.filehandle.size:
        raise UnreadableImageError(
            f"{path}: the TIFF is truncated: the pixels of page {page.index + 1} need "
            f"{max(ends, default=0):,} bytes and the file has {page.parent.filehandle.size:,}. "
            "Copy or export the file again."
        )


def _grey_png(path: Path) -> tuple[Pixels, float | None] | None:
    """Return the values (H, W) and mpp of a grey PNG; None for another one."""
    with open_picture(path, "PNG") as picture:
        if picture.mode not in _GREY_PNG:
            return None
        picture.load()
        values = np.asarray(picture)
    return values.astype(np.uint8 if values.dtype == np.uint8 else np.uint16), None


def _write_png(path: Path, stack: Stack, *, force: bool) -> None:
    planes, channels, dtype = len(stack.values), stack.channels, stack.values.dtype
    if planes > 1 or channels == 2 or dtype.kind == "f":
        raise SettingError(
            f"{path}: PNG holds one image of one or three channels in 8 or 16 bits, and this is "
            f"{planes} planes of {channels} in {dtype}. Write .tif."
        )
    if channels == 3:
        write_image(path, stack.values[0], mpp=stack.mpp, force=force)
        return

    def encode(file: BinaryIO) -> None:
        dpi = None if stack.mpp is None else (25_400 / stack.mpp,) * 2
        PIL.Image.fromarray(stack.values[0, ..., 0]).save(file, "PNG", dpi=dpi)

    write_atomically(path, encode)


def _write_fresh(file: BinaryIO, stack: Stack) -> None:
    """Write what did not come from a TIFF, with its axes named for other readers."""
    values = stack.axes.restored(stack.values)
    colour = stack.channels == 3
    letters = stack.axes.letters
    if colour and letters.endswith("C"):
        letters = letters[:-1] + "S"
    per_cm = None if stack.mpp is None else (10_000 / stack.mpp,) * 2
    with tifffile.TiffWriter(file, bigtiff=values.nbytes > BIG_TIFF) as writer:
        writer.write(
            values,
            photometric="rgb" if colour and letters.endswith("S") else "minisblack",
            planarconfig="contig" if letters[-1] in "CS" and stack.channels > 1 else None,
            compression="zlib",
            predictor=True,
            resolution=per_cm,
            resolutionunit=None if per_cm is None else "CENTIMETER",
            software=_SOFTWARE,
            metadata={"axes": letters},
            maxworkers=1,
        )


def _write_like(file: BinaryIO, stack: Stack, like: Path) -> None:
    """Write the values on pages like those of the file `like`."""
    values = stack.axes.restored(stack.values)
    with tifffile.TiffFile(like) as source:
        pages = _pages(source.series[0])
        shape = pages[0].shape
        if math.prod(stack.axes.shape) != len(pages) * math.prod(shape):
            raise UnreadableImageError(
                f"{like}: the file is another one than when it was read. Start again."
            )
        planes = values.reshape(len(pages), *shape)
        big = source.is_bigtiff or values.nbytes > BIG_TIFF
        with tifffile.TiffWriter(file, bigtiff=big, byteorder=source.byteorder) as writer:
            for page, plane in zip(pages, planes, strict=True):
                writer.write(plane, **_settings(page, source))


def _settings(page: Any, source: tifffile.TiffFile) -> dict[str, Any]:
    """Return how a page is stored, as tifffile is told it."""
    compression, lossless = int(page.compression), int(page.compression) in LOSSLESS
    tags = page.tags
    colour = int(page.photometric) in (2, 6)
    samples = int(page.samplesperpixel)
    planar = {1: "CONTIG", 2: "SEPARATE"}[int(page.planarconfig)] if samples > 1 else None
    return {
        "photometric": "rgb" if colour else "minisblack",
        "planarconfig": planar,
        "extrasamples": [int(v) for v in page.extrasamples] or None,
        "compression": compression if lossless else _DEFLATE,
        "predictor": int(page.predictor) if lossless and int(page.predictor) > 1 else None,
        "tile": (page.tilelength, page.tilewidth) if page.is_tiled else None,
        "rowsperstrip": None if page.is_tiled else int(page.rowsperstrip),
        "resolution": _resolution(page),
        "resolutionunit": None if _resolution(page) is None else int(tags.valueof(296, 2)),
        "subfiletype": int(page.subfiletype),
        "description": _raw(page, _DESCRIPTION, source),
        "software": tags.valueof(_SOFTWARE_TAG) or "",
        "datetime": tags.valueof(_DATE),
        "iccprofile": tags.valueof(_ICC),
        "extratags": list(_copied(page, source)),
        "metadata": None,
        "contiguous": False,
        "maxworkers": 1,
    }


def _resolution(page: Any) -> tuple[Any, Any] | None:
    across, down = (page.tags.valueof(code) for code in (282, 283))
    return None if not across or not down else (across, down)


def _raw(page: Any, code: int, source: tifffile.TiffFile) -> bytes | None:
    """Return the bytes of a tag as they lie in the file; None if it is not there."""
    tag = page.tags.get(code)
    if tag is None:
        return None
    source.filehandle.seek(tag.valueoffset)
    return bytes(source.filehandle.read(tag.valuebytecount)).rstrip(b"\0")


def _copied(page: Any, source: tifffile.TiffFile) -> Iterator[tuple[Any, ...]]:
    for code in _COPIED:
        tag = page.tags.get(code)
        if tag is not None:
            source.filehandle.seek(tag.valueoffset)
            value = source.filehandle.read(tag.valuebytecount)
            yield code, tag.dtype, tag.count, value, True
