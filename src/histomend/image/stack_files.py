"""Images and z-stacks to denoise, from files and back into files of the same kind.

A TIFF is written page by page as its source was: order, type, compression, tiles, resolution and
descriptions (OME-XML among them) are taken over, and only the values are new.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL.Image
import tifffile
from PIL.PngImagePlugin import PngInfo

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    ResourceError,
    SettingError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.pixels import Pixels, check_mpp
from histomend.image.rasters import ONE_BIT_REASON, density_mpp, open_picture
from histomend.image.reading import SAME_MPP, content_kind, file_sha256, read_image
from histomend.image.signals import MOST_CHANNELS
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
    about: dict[str, Any] = {}
    notices: tuple[str, ...] = ()
    if kind == "TIFF" and slide_scanner(path) is None:
        values, found, own, about["icc"], notices = _read_tiff(path)
    else:
        grey = _grey_png(path) if kind == "PNG" else None
        if grey is not None:
            values, own, about["icc"] = grey
            found = "YX"
        else:
            image = read_image(path)
            values, own, found, notices = image.pixels, image.mpp, "YXC", image.notices
            about = {"icc": image.icc, "alpha": image.alpha, "lossy": image.lossy}
    if given is not None and own is not None and abs(given / own - 1) > SAME_MPP:
        notices += (f"{given:g} um/px was given and is used; the file says {own:g}",)
    stack = as_stack(
        values,
        channels=channels,
        axes=axes,
        found=found,
        mpp=own if given is None else given,
        source=path,
    )
    return replace(stack, notices=notices + stack.notices, sha256=file_sha256(path), **about)


def write_stack(
    path: Path | str,
    stack: Stack,
    *,
    note: str | None = None,
    lossy: bool = False,
    force: bool = False,
) -> None:
    """Write an image or a stack; the file appears complete or not at all.

    Parameters
    ----------
    path : Path
        .tif or .tiff, or .png for a single image of one or three channels. A TIFF from a TIFF is
        laid out as that is; its compression becomes deflate if it was lossy.
    stack : Stack
        As `read_stack` gave it, with new values.
    note : str or None
        Stored in the file's metadata, beside what stands there already.
    lossy : bool
        Accept JPEG, for a single RGB image.
    force : bool
        Replace an existing file; never the source.

    Raises
    ------
    SettingError
        A format that cannot hold the stack.
    OutputError
    """
    path = Path(path)
    check_output(path, force=force, lossy=lossy, source=stack.source)
    source, suffix = stack.source, path.suffix.lower()
    like = source if source is not None and content_kind(source) == "TIFF" else None
    if suffix not in (".tif", ".tiff"):
        _check_picture(path, stack)
    # A TIFF of a picture is laid out as that of any other verb; arrays keep their axes.
    if stack.channels == MOST_CHANNELS and (
        suffix not in (".tif", ".tiff") or (source is not None and like is None)
    ):
        write_image(
            path, stack.values[0], alpha=stack.alpha, mpp=stack.mpp, icc=stack.icc, note=note,
            lossy=lossy, force=force,
        )  # fmt: skip
        return

    def encode(file: BinaryIO) -> None:
        if suffix == ".png":
            _write_grey_png(file, stack, note)
        elif like is not None and stack.region is None:
            _write_like(file, stack, like, note)
        else:
            _write_fresh(file, stack, note)

    write_atomically(path, encode)


def _read_tiff(path: Path) -> tuple[Pixels, str, float | None, bytes | None, tuple[str, ...]]:
    """Return values, axes, mpp, colour profile and notices."""
    try:
        with tifffile.TiffFile(path) as file:
            check_chain(file, path)
            series, notices = _only_series(file, path)
            for page in _pages(series):
                _check_page(page, path)
            first = file.pages.first
            icc = first.tags.valueof(_ICC)
            values = series.asarray(maxworkers=1)
            return values, series.axes, page_mpp(file, first), icc and bytes(icc), notices
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


def _grey_png(path: Path) -> tuple[Pixels, float | None, bytes | None] | None:
    """Return the values (H, W), mpp and colour profile of a grey PNG; None for another one."""
    with open_picture(path, "PNG") as picture:
        if picture.mode not in _GREY_PNG:
            return None
        picture.load()
        values, mpp = np.asarray(picture), density_mpp(picture.info.get("dpi"))
        icc = picture.info.get("icc_profile")
    return values.astype(np.uint8 if values.dtype == np.uint8 else np.uint16), mpp, icc


def _check_picture(path: Path, stack: Stack) -> None:
    planes, channels, dtype = len(stack.values), stack.channels, stack.values.dtype
    grey = "" if path.suffix.lower() == ".png" else " (JPEG of three)"
    if planes > 1 or channels == 2 or dtype.kind == "f" or (grey and channels == 1):
        raise SettingError(
            f"{path}: PNG holds one image of one or three channels in 8 or 16 bits{grey}, and this "
            f"is {planes} planes of {channels} in {dtype}. Write .tif."
        )


def _write_grey_png(file: BinaryIO, stack: Stack, note: str | None) -> None:
    dpi = None if stack.mpp is None else (25_400 / stack.mpp,) * 2
    text = PngInfo()
    text.add_text("Software", _SOFTWARE)
    if note:
        text.add_itxt("Comment", note)
    picture = PIL.Image.fromarray(stack.values[0, ..., 0])
    picture.save(file, "PNG", dpi=dpi, pnginfo=text, icc_profile=stack.icc)


def _write_fresh(file: BinaryIO, stack: Stack, note: str | None) -> None:
    """Write what did not come from a TIFF, with its axes named for other readers."""
    values = stack.axes.to_original(stack.values)
    colour = stack.channels == MOST_CHANNELS
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
            iccprofile=stack.icc,
            metadata={"axes": letters, **({"note": note} if note else {})},
            maxworkers=1,
        )


def _write_like(file: BinaryIO, stack: Stack, like: Path, note: str | None) -> None:
    """Write the values on pages like those of the file `like`."""
    values = stack.axes.to_original(stack.values)
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
            for number, (page, plane) in enumerate(zip(pages, planes, strict=True)):
                settings = _settings(page, source)
                if note and number == 0:
                    settings["description"] = _with_note(settings["description"], note)
                writer.write(plane, **settings)


def _with_note(description: bytes | None, note: str) -> bytes:
    """Return the first page's description with a note, in the form that its readers expect."""
    text = (description or b"").decode("utf-8", "surrogateescape")
    if text.rstrip().endswith("OME>"):
        start = text.rindex("</")
        text = f"{text[:start]}<!-- {note.replace('--', '-')} -->{text[start:]}"
    elif text.startswith("{"):  # tifffile's shape
        try:
            text = json.dumps({**json.loads(text), "note": note})
        except ValueError:
            text = f"{text}\n{note}"
    elif text.startswith("ImageJ="):
        text = f"{text.rstrip()}\nnote={note}\n"
    else:
        text = f"{text}\n{note}" if text else note
    return text.encode("utf-8", "surrogateescape")


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
