"""Images and z-stacks to denoise, out of files; sizes are checked before anything is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.inner_headers import check_frames, check_storage
from histomend.image.pixels import (
    Pixels,
    Region,
    check_mpp,
    check_region,
    check_size,
    is_grey,
)
from histomend.image.rasters import (
    ONE_BIT_REASON,
    alpha_notices,
    orientation_notice,
    read_grey,
)
from histomend.image.reading import (
    EQUAL_COLOURS,
    SAME_MPP,
    content_kind,
    file_sha256,
    read_image,
)
from histomend.image.signals import MOST_CHANNELS
from histomend.image.stacks import UNKNOWN_AXES, Stack, as_stack
from histomend.image.tiff import page_icc, page_mpp, slide_scanner
from histomend.image.tiff_declared import check_declared, missing_planes
from histomend.image.tiff_open import open_tiff
from histomend.image.tiff_tags import layout_notices

_ORIENTATION = 274
_TRACE = 4  # of 255
_MOST_SAMPLES = 64  # that are decoded before they are counted once more

_PICTURES = ("PNG", "JPEG", "AVIF", "WebP")


@dataclass(frozen=True)
class _Found:
    """What a file holds: values in its own order, and what must not be lost."""

    values: Pixels
    axes: str
    mpp: float | None
    notices: tuple[str, ...] = ()
    icc: bytes | None = None
    orientation: int = 1
    white_is_zero: bool = False
    alpha: Pixels | None = None
    lossy: bool = False


def read_stack(
    path: Path | str,
    *,
    channels: int | None = None,
    axes: str | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    flat: bool = False,
    per_channel: bool | None = False,
) -> Stack:
    """Read an image or a z-stack of one to three channels.

    TIFF, OME-TIFF and ImageJ's TIFF may hold channels first or last, on one page or on many.
    Other files are read as one grey image (PNG, JPEG) or one colour image. Where red, green and
    blue are equal everywhere, they count as one channel unless `channels` is 3.

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
    region : (x, y, w, h), optional
        The part that is wanted, in pixels; of a whole slide it has to be named.
    flat : bool
        Take an image of one value throughout, too.
    per_channel : bool, optional
        See `as_stack`.

    Raises
    ------
    UnreadableImageError
        Missing, truncated or damaged.
    UnsupportedImageError
        Pages of different sizes, a wrong number of channels, colours that are no measured light,
        a whole slide without a region, or an order that cannot be known.
    ValueRangeError
        NaN, negative values, floats outside [0, 1], one value throughout.
    ImageSizeError
        Too small, or more than 450 megapixels in all planes, found before decoding.
    RegionError, PixelSizeError, MissingDependencyError
    """
    path = Path(path)
    given = None if mpp is None else check_mpp(mpp, str(path))
    found = _found(path, region, channels)
    notices = found.notices
    if given is not None and found.mpp is not None and abs(given / found.mpp - 1) > SAME_MPP:
        notices += (f"{given:g} um/px was given and is used; the file says {found.mpp:g}",)
    stack = as_stack(
        found.values,
        channels=channels,
        axes=axes,
        found=found.axes,
        mpp=found.mpp if given is None else given,
        source=path,
        flat=flat,
        per_channel=per_channel,
    )
    return replace(
        stack,
        notices=notices + stack.notices,
        sha256=file_sha256(path),
        icc=found.icc,
        alpha=found.alpha,
        lossy=found.lossy,
        orientation=found.orientation,
        white_is_zero=found.white_is_zero,
        region=region,
    )


def is_of_a_scanner(path: Path) -> bool:
    """Tell whether a file is a slide, of which a region has to be named."""
    kind = content_kind(path)
    return kind not in _PICTURES and (kind != "TIFF" or slide_scanner(path) is not None)


def _found(path: Path, region: Region | None, channels: int | None) -> _Found:
    kind = content_kind(path)
    if kind == "TIFF" and slide_scanner(path) is None:
        return _read_tiff(path, region)
    grey = read_grey(path, kind, region) if kind in _PICTURES else None
    image = read_image(path, region=region) if grey is None else grey
    # What holds for a stained image only would contradict, and files of one channel have no place
    # for transparency.
    alpha = image.alpha if grey is None else None
    said = [EQUAL_COLOURS, *([] if grey is None else alpha_notices(image.alpha))]
    notices = tuple(notice for notice in image.notices if notice not in said)
    if image.alpha is not None and alpha is None:
        notices += ("the transparency (alpha) is left out",)
    pixels, axes = image.pixels, "YXC" if grey is None else "YX"
    # Formats that always store colours lossily give grey back with a trace of colour.
    if grey is None and image.lossy and channels != MOST_CHANNELS and is_grey(pixels, _TRACE):
        pixels = np.repeat(pixels[..., 1:2], MOST_CHANNELS, axis=2)
    return _Found(
        pixels,
        axes,
        image.mpp,
        notices,
        image.icc,
        image.orientation,
        alpha=alpha,
        lossy=image.lossy,
    )


def _read_tiff(path: Path, region: Region | None) -> _Found:
    with open_tiff(path) as (file, layout):
        check_declared(file, layout, path)
        series, notices = _only_series(file, path)
        key = series.keyframe
        _check_shape(series, path)
        # Where all pages are alike, each need not be parsed once more.
        pages = series.pages if layout is not None and layout.alike else pages_of(series)
        for page in pages:
            like = key if page is None or isinstance(page, tifffile.TiffFrame) else page
            _check_page(page, like, path)
        orientation = _orientation(key)
        values, turned, more = _light(series.asarray(maxworkers=1), key, file)
        if region is not None:
            values = _cut(values, series.axes, region, path)
        return _Found(
            values,
            series.axes,
            page_mpp(file, file.pages.first),
            notices + more + orientation_notice(orientation) + layout_notices(key),
            page_icc(key),
            orientation,
            turned,
        )


def _light(
    values: Pixels, page: Any, file: tifffile.TiffFile
) -> tuple[Pixels, bool, tuple[str, ...]]:
    """Turn values for which 0 is the brightest, so that more is lighter."""
    if int(page.photometric) != 0:
        return values, False, ()
    if file.is_imagej:
        return (
            values,
            False,
            ("ImageJ shows this file through an inverting LUT; the values are taken as they are",),
        )
    if values.dtype.kind != "u":
        raise UnsupportedImageError(
            f"{file.filename}: 0 is white in this file, and its values are {values.dtype}, of "
            "which the black end is not known. Invert it and save it as uint8 or uint16."
        )
    return (
        np.iinfo(values.dtype).max - values,
        True,
        ("0 is white in this file: the values are turned, so that more is lighter",),
    )


def _cut(values: Pixels, axes: str, region: Region, path: Path) -> Pixels:
    across, down = axes.index("X"), axes.index("Y")
    x, y, w, h = check_region(region, values.shape[across], values.shape[down], str(path))
    part = [slice(None)] * values.ndim
    part[across], part[down] = slice(x, x + w), slice(y, y + h)
    return np.ascontiguousarray(values[tuple(part)])


def _orientation(page: Any) -> int:
    value = page.tags.valueof(_ORIENTATION)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def pages_of(series: tifffile.TiffPageSeries) -> list[Any]:
    """Return the pages with all their tags; those that ImageJ leaves out are like the first."""
    return [
        series.keyframe if page is None or page.is_virtual else page.aspage()
        for page in series.pages
    ]


def _only_series(
    file: tifffile.TiffFile, path: Path
) -> tuple[tifffile.TiffPageSeries, tuple[str, ...]]:
    if not file.series:
        raise UnreadableImageError(f"{path}: the TIFF holds no image. Copy or export it again.")
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
        raise missing_planes(path, f"{first.shape} values ({first.axes})")
    if len(first.levels) > 1 or len(file.series) > 1:
        return first, ("only full-resolution pages were read; smaller ones are not written again",)
    return first, ()


def _check_shape(series: tifffile.TiffPageSeries, path: Path) -> None:
    """Refuse axes that cannot be, and sizes that cannot be held."""
    axes, shape = series.axes, series.shape
    known = [axis for axis in axes if axis not in UNKNOWN_AXES]
    if len(set(known)) != len(known) or len(axes) != len(shape) or not {"X", "Y"} <= set(known):
        raise UnreadableImageError(
            f"{path}: the description calls the axes {axes!r} for values of shape {shape}, which "
            "cannot be. Export the file again."
        )
    width, height = shape[axes.index("X")], shape[axes.index("Y")]
    check_size(width, height, str(path), least=1)
    values = math.prod(shape) // (width * height)
    # An axis that the file does not name may turn out to be channels, of which there are three.
    named = [n for axis, n in zip(axes, shape, strict=True) if axis in "CS"]
    if max(named, default=1) > _MOST_SAMPLES:
        raise UnsupportedImageError(
            f"{path}: {max(named):,} channels are no measured light of one to three. Save those "
            "to restore, or name the axes (--axes ZYX, say) if they were taken wrongly."
        )
    channels = max([1, *named]) if len(known) == len(axes) else MOST_CHANNELS
    planes = values // min(channels, MOST_CHANNELS)
    if planes > 1:
        where = f"{path}, {values:,} planes of {width} x {height} px"
        check_size(width, height * planes, where, least=1)


def _check_page(page: Any, like: Any, path: Path) -> None:
    """Check a page, with the tags of the one that it is stored like."""
    bits = like.bitspersample
    photometric, compression = int(like.photometric), int(like.compression)
    if bits == 1:
        raise UnsupportedImageError(f"{path}: {ONE_BIT_REASON}.")
    if photometric not in (0, 1, 2) and not (photometric == 6 and compression == 7):
        raise UnsupportedImageError(
            f"{path}: pixels of kind {like.photometric!s} are no measured light. Save the image "
            "as grey or RGB, without a palette."
        )
    if like.dtype is None or bits != 8 * like.dtype.itemsize or int(like.imagedepth) != 1:
        raise UnsupportedImageError(
            f"{path}: {bits} bits per sample are not read. Save the image with 8 or 16."
        )
    if like.dtype.kind not in "uif":
        raise UnsupportedImageError(
            f"{path}: values of type {like.dtype} are no measured light. Save the image with 8 or "
            "16 bits."
        )
    check_storage(like, str(path))
    if page is None or page.is_virtual:
        return
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)]
    if not ends or max(ends) > page.parent.filehandle.size:
        raise UnreadableImageError(
            f"{path}: the TIFF is truncated: the pixels of page {page.index + 1} need "
            f"{max(ends, default=0):,} bytes and the file has {page.parent.filehandle.size:,}. "
            "Copy or export the file again."
        )
    check_frames(page, str(path), like=like)
