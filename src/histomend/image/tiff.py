"""TIFF and OME-TIFF: one RGB page, whole or a region, with its pixel size."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image.inner_headers import (
    check_complete,
    check_frames,
    check_storage,
    chunk_shape,
)
from histomend.image.pixels import (
    MIN_SIDE,
    Frame,
    Image,
    Pixels,
    Region,
    bands,
    check_region,
    check_size,
    length_um,
    ome_mpp,
    plausible_mpp,
)
from histomend.image.rasters import (
    CMYK_REASON,
    GREY_REASON,
    ONE_BIT_REASON,
    alpha_notices,
    depth_notices,
    orientation_notice,
)
from histomend.image.tiff_chain import Layout
from histomend.image.tiff_open import open_tiff

_SCANNERS = {
    "is_svs": "Aperio SVS",
    "is_ndpi": "Hamamatsu NDPI",
    "is_scn": "Leica SCN",
    "is_bif": "Ventana BIF",
    "is_philips": "Philips TIFF",
}
LOSSLESS = {1, 5, 8, 32773, 32946, 34925, 50000}  # none, LZW, deflate, PackBits, LZMA, zstd
_ENCODED_COLOUR = {6, 7, 33003, 33005, 33007, 34712, 50001, 50002}  # decoders give RGB


def slide_scanner(path: Path) -> tuple[str, int, int] | None:
    """Tell a scanner's whole-slide TIFF from an ordinary one.

    Returns
    -------
    (name, width, height) of level 0, or None for ordinary TIFF and OME-TIFF files

    Raises
    ------
    UnreadableImageError
    """
    with open_tiff(path, slide=True) as (file, layout):
        page = file.pages.first
        for flag, name in _SCANNERS.items():
            # Where pages are linked as in NDPI, nothing but its own reader knows the way.
            if getattr(file, flag) or (layout is None and flag == "is_ndpi"):
                return name, int(page.imagewidth), int(page.imagelength)
    return None


def read_tiff(path: Path, region: Region | None, *, least: int = MIN_SIDE) -> Image:
    """Read the RGB page of a TIFF or OME-TIFF, or a region of it.

    Of a pyramid the full-resolution level is read. A region of a tiled file is read without
    decoding the rest. No side may be shorter than `least` px.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ValueRangeError, ImageSizeError, RegionError,
    MissingDependencyError
    """
    with open_tiff(path) as (file, layout):
        return _read(file, layout, path, region, least)


def _read(
    file: tifffile.TiffFile, layout: Layout | None, path: Path, region: Region | None, least: int
) -> Image:
    page = file.pages.first
    where = str(path)
    width, height = int(page.imagewidth), int(page.imagelength)
    if region is None:
        hint = "Restore a part of it with --region x,y,w,h."
        check_size(width, height, where, hint=hint, least=least)
    else:
        region = check_region(region, width, height, where, least=least)
    notices = _check_single(file, layout, where)
    _check_kind(page, where)
    check_storage(page, where)
    check_complete(page, where)
    values = _decode(page, region, where)
    turned = page.tags.valueof(274)
    orientation = turned if isinstance(turned, int) and 1 <= turned <= 8 else 1
    notices += orientation_notice(orientation)
    if int(page.photometric) == 3:
        values = _expand_palette(values, page.colormap)
        notices += ("the palette was expanded to RGB",)
    pixels = values if values.shape[2] == 3 else np.ascontiguousarray(values[..., :3])
    alpha = np.ascontiguousarray(values[..., 3]) if values.shape[2] == 4 else None
    if alpha is not None and 1 in page.extrasamples and alpha.min() < np.iinfo(alpha.dtype).max:
        raise UnsupportedImageError(
            f"{where}: colours are stored multiplied by the transparency (associated alpha), so "
            "they are not the tissue's. Flatten the image or save it with plain alpha."
        )
    return Image(
        pixels,
        page_mpp(file, page),
        alpha,
        notices=notices + alpha_notices(alpha) + depth_notices(pixels),
        lossy=int(page.compression) not in LOSSLESS,
        icc=page_icc(page),
        orientation=orientation,
        frame=Frame(width, height),
    )


def _check_single(file: tifffile.TiffFile, layout: Layout | None, where: str) -> tuple[str, ...]:
    """Refuse stacks and channels; smaller pages (pyramid levels, thumbnails) are passed over."""
    planes = 1
    if file.is_imagej and file.imagej_metadata:
        planes = int(file.imagej_metadata.get("images", 1))
    (width, height), *others = layout.sizes if layout else [(1, 1)]
    smaller = sum(w < width and h < height for w, h in others)
    planes += len(others) - smaller
    if planes > 1:
        raise UnsupportedImageError(
            f"{where}: the file holds {planes} full-size pages (a z-stack, a time series or "
            "separate channels), and which of them is meant cannot be known. Save the one to "
            "restore as an RGB image; in Python tifffile.imread(IN, key=0) gives the first."
        )
    if smaller:
        return (f"only the full-resolution page was read; {smaller} smaller page(s) were not",)
    return ()


def _check_kind(page: Any, where: str) -> None:
    bits = page.bitspersample
    bits = set(bits) if isinstance(bits, tuple) else {bits}
    photometric = int(page.photometric)
    if bits == {1}:
        raise UnsupportedImageError(f"{where}: {ONE_BIT_REASON}.")
    if photometric == 5:
        raise UnsupportedImageError(f"{where}: {CMYK_REASON}.")
    if photometric in (0, 1) and int(page.samplesperpixel) < 3:
        raise UnsupportedImageError(f"{where}: {GREY_REASON}.")
    if photometric == 3:
        if bits != {8}:
            raise UnsupportedImageError(f"{where}: palette with {bits} bits; save it as RGB.")
        return
    colour = photometric == 2 or (photometric == 6 and int(page.compression) in _ENCODED_COLOUR)
    if not colour or int(page.samplesperpixel) not in (3, 4) or int(page.imagedepth) != 1:
        raise UnsupportedImageError(
            f"{where}: {page.samplesperpixel} samples of kind {page.photometric!s} per pixel are "
            "not RGB. Save the image as RGB, or RGB with alpha."
        )
    if page.dtype is None or page.dtype.kind == "f":
        raise ValueRangeError(
            f"{where}: floating-point TIFF, of which the range is not known. Scale it to 0..255 "
            "and save it as uint8, or to 0..65535 as uint16."
        )
    if bits not in ({8}, {16}) or page.dtype.kind != "u":
        raise ValueRangeError(
            f"{where}: {sorted(bits)} bits of type {page.dtype} per sample; only 8 and 16 bit "
            "unsigned values have a known range. Save the image as 8 or 16 bit RGB."
        )


def _decode(page: Any, region: Region | None, where: str) -> Pixels:
    """Decode all or a region into (H, W, S), S being 1, 3 or 4, in the machine's byte order."""
    rows, columns = chunk_shape(page)
    samples = int(page.samplesperpixel)
    planar = samples > 1 and int(page.planarconfig) == 2
    if region is None and not planar:
        check_frames(page, where)
        values: Pixels = page.asarray()
        if values.ndim == 2:
            values = values[..., None]
        native: Pixels = values.astype(values.dtype.newbyteorder("="), copy=False)
        return native
    x, y, w, h = region or (0, 0, int(page.imagewidth), int(page.imagelength))
    across = math.ceil(int(page.imagewidth) / columns)
    down = math.ceil(int(page.imagelength) / rows)
    wanted = [
        (plane * down + row) * across + column
        for plane in range(samples if planar else 1)
        for row in range(y // rows, (y + h - 1) // rows + 1)
        for column in range(x // columns, (x + w - 1) // columns + 1)
    ]
    check_frames(page, where, wanted)
    out = np.zeros((h, w, samples), page.dtype.newbyteorder("="))
    extra: dict[str, Any] = {"_fullsize": False}
    if int(page.compression) in (6, 7, 33007):
        extra |= {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}
    handle = page.parent.filehandle
    offsets = [page.dataoffsets[index] for index in wanted]
    counts = [page.databytecounts[index] for index in wanted]
    for segment, index in handle.read_segments(offsets, counts, indices=wanted):
        part, (plane, _, top, left, _), _ = page.decode(segment, index, **extra)
        if part is None:
            continue  # a tile that the file leaves out: zeros, as other readers give
        part = part[0]
        bottom, right = min(top + part.shape[0], y + h), min(left + part.shape[1], x + w)
        t, s = max(top, y), max(left, x)
        target = slice(plane, plane + 1) if planar else slice(None)
        out[t - y : bottom - y, s - x : right - x, target] = part[
            t - top : bottom - top, s - left : right - left
        ]
    return out


def _expand_palette(indices: Pixels, colormap: Any) -> Pixels:
    table = np.asarray(colormap).T  # (3, 256) of 16-bit values in the file
    if table.max() > 255:
        table = table >> 8
    table = np.ascontiguousarray(table.astype(np.uint8))
    height, width = indices.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    for start, stop in bands(height, width * 3):
        out[start:stop] = table[indices[start:stop, :, 0]]
    return out


def page_icc(page: Any) -> bytes | None:
    """Return the colour profile of a page; None if there is none, or what is there is no bytes."""
    value = page.tags.valueof(34675)
    return value if isinstance(value, bytes) and value else None


def page_mpp(file: tifffile.TiffFile, page: Any) -> float | None:
    """Return micrometres per pixel as OME-XML, ImageJ or the page's resolution tell them."""
    if file.is_ome:
        found = ome_mpp(page.description or "")
        if found is not None:
            return found
    resolution = page.tags.valueof(282)
    if not isinstance(resolution, tuple) or len(resolution) != 2 or not all(resolution):
        return None
    per_unit = resolution[0] / resolution[1]
    if file.is_imagej and file.imagej_metadata:
        unit = str(file.imagej_metadata.get("unit", ""))
    else:
        unit = {2: "inch", 3: "cm"}.get(page.tags.valueof(296, 2), "")
    length = length_um(1.0, unit)
    return None if length is None else plausible_mpp(length / per_unit)
