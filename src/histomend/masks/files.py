"""Masks in and out of files."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image

from histomend.errors import MaskError, SettingError, UnsupportedImageError
from histomend.image import check_target, write_atomically
from histomend.image.labels import Marks, read_marks
from histomend.image.pixels import Frame
from histomend.image.regular_files import read_at_most
from histomend.masks.geojson import fill_geojson, is_tissue_outline, mask_to_geojson
from histomend.masks.geometry import Mask, check_shape, share_notice
from histomend.masks.other_tools import (
    Smaller,
    check_no_tissue_map,
    chosen_labels,
    is_grandqc,
    is_smaller_by_nature,
    is_usable_tissue,
)

MOST_GEOJSON = 128_000_000
"""Bytes of a GeoJSON file; parsing takes up to 25 times as much memory."""
MASK_SUFFIXES = (".png", ".tif", ".tiff", ".geojson")
_CLEAR_SHARE = 0.9  # of the pixels of an anti-aliased mask, which have to be nearly black or white


@dataclass(frozen=True)
class ReadMask:
    """A mask out of a file.

    Parameters
    ----------
    mask : (H, W) bool
        True is to be restored. It may be empty; `check_mask` refuses that.
    notices : tuple of str
        What the user should know: which classes were joined, what was passed over.
    """

    mask: Mask
    notices: tuple[str, ...] = ()


def read_mask(
    path: Path | str,
    shape: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    classes: Sequence[str] | None = None,
    frame: Frame | None = None,
) -> Mask:
    """Read a mask for an image of a given shape, as `load_mask` does, which also gives notices.

    Returns
    -------
    (H, W) bool
    """
    return load_mask(path, shape, origin=origin, classes=classes, frame=frame).mask


def load_mask(
    path: Path | str,
    shape: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    classes: Sequence[str] | None = None,
    frame: Frame | None = None,
) -> ReadMask:
    """Read a mask for an image of a given shape, and say what the user should know of it.

    Masks of GrandQC (``NAME_mask.png``), HistoQC (``NAME_mask_use.png`` and those of single
    artifacts) and TRIDENT (GeoJSON of tissue) are read as they are written.

    Parameters
    ----------
    path : Path
        An image (PNG, TIFF; white is to be restored), or a .geojson or .json file of polygons,
        as QuPath exports annotations.
    shape : (height, width)
        Of the image, or of the region of it, that is to be restored.
    origin : (x, y)
        Where that region begins in the coordinates of the GeoJSON file.
    classes : sequence of str, optional
        What counts: names of classes in GeoJSON, numbers of labels or names of GrandQC's legend
        in an image. By default all classes of GeoJSON, and GrandQC's artifacts.
    frame : Frame, optional
        The whole of which the region is a part, as `Image.frame` has it.

    Raises
    ------
    MaskError
        Other size, colours, shades of grey, polygons that do not touch the image, a class that
        is not there.
    UnreadableImageError, UnsupportedImageError
    """
    path = Path(path)
    frame = frame or Frame(shape[1], shape[0])
    if path.suffix.lower() in (".geojson", ".json"):
        mask, notices = _from_geojson(path, shape, origin, classes, frame)
    else:
        mask, notices = _from_picture(path, Smaller.on(frame, origin, shape), classes)
    return ReadMask(mask, notices + share_notice(mask))


def masks_beside(image: Path) -> list[Path]:
    """Return the masks that lie beside an image under a name that says so.

    ``X.mask.png``, ``X_mask.png`` and ``X-mask.png`` belong to ``X.png``, with or without the
    suffix of the image in their name, and so do such .tif and .geojson files.
    """
    found = []
    for name in dict.fromkeys((image.stem, image.name)):
        for joint in (".mask", "_mask", "-mask"):
            for suffix in MASK_SUFFIXES:
                path = image.with_name(f"{name}{joint}{suffix}")
                if path != image and os.path.isfile(path):  # noqa: PTH113  False, whatever is wrong
                    found.append(path)
    return found


def write_mask(
    path: Path | str, mask: Mask, *, origin: tuple[int, int] = (0, 0), force: bool = False
) -> None:
    """Write a mask as PNG (white is masked) or GeoJSON, by suffix; complete or not at all.

    Parameters
    ----------
    path : Path
        Ends in .png or .geojson.
    mask : (H, W) bool
    origin : (x, y)
        Added to GeoJSON coordinates, for a mask of a region of a larger image.
    force : bool
        Replace an existing file.

    Raises
    ------
    SettingError
        Another suffix.
    OutputError
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".png", ".geojson"):
        raise SettingError(f"{path}: masks are written as .png or .geojson, not as {suffix!r}.")
    values = np.asarray(mask, dtype=bool)
    check_target(path, force=force)

    def encode(file: BinaryIO) -> None:
        if suffix == ".png":
            PIL.Image.fromarray(values.astype(np.uint8) * 255).save(file, "PNG")
        else:
            text = json.dumps(mask_to_geojson(values, origin=origin), separators=(",", ":"))
            file.write(text.encode("utf-8"))

    write_atomically(path, encode)


def _from_geojson(
    path: Path,
    shape: tuple[int, int],
    origin: tuple[int, int],
    classes: Sequence[str] | None,
    frame: Frame,
) -> tuple[Mask, tuple[str, ...]]:
    obj, notices = load_json(path)
    if not is_tissue_outline(obj):
        mask, said = fill_geojson(obj, shape, origin=origin, classes=classes, where=str(path))
        return mask, notices + said
    # TRIDENT counts from the corner of the canvas, as OpenSlide does.
    there = (origin[0] + frame.offset[0], origin[1] + frame.offset[1])
    tissue, said = fill_geojson(obj, shape, origin=there, where=str(path))
    return ~tissue, (
        *notices,
        *said,
        "the GeoJSON outlines the tissue (TRIDENT): what it leaves out is to be restored, the "
        "glass around included",
    )


def _from_picture(
    path: Path, place: Smaller, classes: Sequence[str] | None
) -> tuple[Mask, tuple[str, ...]]:
    mask, notices = marked(path, place, classes)
    return (mask if mask.shape == place.shape else place.enlarged(mask)), notices


def marked(
    path: Path, place: Smaller, classes: Sequence[str] | None
) -> tuple[Mask, tuple[str, ...]]:
    """Return what a picture marks, at its own size, which may be smaller than the slide's.

    Raises
    ------
    MaskError, UnreadableImageError, UnsupportedImageError
    """

    def check(height: int, width: int) -> None:
        if (height, width) == place.shape:
            return
        check_no_tissue_map(path)
        if not (is_smaller_by_nature(path) and place.fits(height, width)):
            check_shape((height, width), place.shape, str(path))

    try:
        marks = read_marks(path, check)
    except UnsupportedImageError as error:
        # What is an image, but no mask, is a fault of the mask.
        if "mask" in str(error).removeprefix(str(path)):
            raise MaskError(str(error)) from error
        raise
    values, notices = _grey_values(marks, str(path)), marks.notices
    grandqc = is_grandqc(path, values)
    if (grandqc or classes) and values.dtype.kind in "ui":
        mask, said = chosen_labels(values, classes, str(path), grandqc=grandqc)
        notices += (said,)
    else:
        mask = _black_and_white(values, str(path))
    if is_usable_tissue(path):
        mask = ~mask
        notices += (
            "the mask is HistoQC's of usable tissue: what it leaves out (black) is to be restored, "
            "the glass around included",
        )
    if mask.shape == place.shape:
        return mask, notices
    if not (grandqc or is_smaller_by_nature(path, labels=False)):
        check_shape((mask.shape[0], mask.shape[1]), place.shape, str(path))
    share = place.whole[0] / mask.shape[1]
    return mask, (
        *notices,
        f"the mask is {share:.1f} times smaller than the slide and was enlarged",
    )


def _grey_values(marks: Marks, where: str) -> npt.NDArray[Any]:
    values = marks.values
    if marks.see_through:
        full = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
        if values[..., -1].min() < full:
            raise MaskError(
                f"{where}: the mask is partly transparent, so what is marked cannot be told. "
                "Save it black and white, without transparency."
            )
        values = values[..., :-1]
    if values.ndim == 2:
        return values
    first = values[..., 0]
    if any(not np.array_equal(first, values[..., i]) for i in range(1, values.shape[2])):
        raise MaskError(
            f"{where}: has colours. A mask is black and white, white being what is to be restored."
        )
    return first


def _black_and_white(values: npt.NDArray[Any], where: str) -> Mask:
    """Take two values as they are; of anti-aliased or JPEG masks take the lighter half."""
    if values.dtype == np.bool_:
        return values.copy()
    if values.dtype.kind not in "uif":
        raise MaskError(f"{where}: values of type {values.dtype} are no mask.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MaskError(f"{where}: holds NaN or infinite values.")
    high = values.max()
    if bool(((values == 0) | (values == high)).all()):
        return np.asarray(values > 0)
    # Pillow opens 16-bit grey as 32-bit integers at times, so the scale is told by the values.
    full = 1.0 if values.dtype.kind == "f" else 255 if high <= 255 else 65_535
    clear = np.count_nonzero(values <= 0.1 * full) + np.count_nonzero(values >= 0.9 * full)
    if high < 0.9 * full or clear < _CLEAR_SHARE * values.size:
        raise MaskError(
            f"{where}: has shades of grey or several labels (values up to {high}); a mask is "
            "black and white. Threshold it first, or name the labels that count: --class 2,3"
        )
    return np.asarray(values >= 0.5 * full)


def load_json(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Parse JSON in UTF-8, UTF-16, UTF-32 or a code page of Windows, with a BOM or without."""
    data = read_at_most(path, MOST_GEOJSON, MaskError, "a GeoJSON")
    notices: tuple[str, ...] = ()
    try:
        try:
            text = data.decode(json.detect_encoding(data))
        except UnicodeDecodeError:
            text = data.decode("cp1252", errors="replace")
            notices = ("the GeoJSON is not in UTF-8; it was read as Windows-1252",)
        return json.loads(text.removeprefix("\ufeff")), notices
    except (ValueError, RecursionError) as error:
        raise MaskError(f"{path}: cannot be read as GeoJSON ({error}).") from error
