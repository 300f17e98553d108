"""Pictures whose values are marks and not light: as stored, whatever the file's way of showing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.image.inner_headers import check_complete, check_frames, check_storage
from histomend.image.pixels import Pixels, check_size
from histomend.image.rasters import open_picture
from histomend.image.reading import content_kind
from histomend.image.tiff_open import open_tiff

_PALETTE = 3


@dataclass(frozen=True)
class Marks:
    """What a picture of marks holds.

    Parameters
    ----------
    values : (H, W) or (H, W, S) bool, integer or float
        S is 3 for colours; the last of 2 or 4 is the transparency.
    notices : tuple of str
    """

    values: Pixels
    notices: tuple[str, ...] = ()

    @property
    def see_through(self) -> bool:
        """Whether the last sample is the transparency."""
        return self.values.ndim == 3 and self.values.shape[2] in (2, 4)


def read_marks(path: Path, check: Callable[[int, int], None]) -> Marks:
    """Read a PNG, TIFF, JPEG, WebP or AVIF of marks.

    An inverting LUT of ImageJ is how it shows a mask, and changes no value; other TIFF files in
    which 0 is white are turned, so that white is high.

    Parameters
    ----------
    path : Path
    check : function of (height, width)
        Asked before anything is decoded; raises if marks of this size are of no use.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ImageSizeError, MissingDependencyError
    """
    kind = content_kind(path)
    if kind == "TIFF":
        return _tiff(path, check)
    if kind not in ("PNG", "JPEG", "WebP", "AVIF"):
        raise UnsupportedImageError(f"{path}: a mask is a PNG, TIFF or GeoJSON file, not {kind}.")
    with open_picture(path, kind) as picture:
        _one_page(getattr(picture, "n_frames", 1), path)
        check(picture.height, picture.width)
        check_size(picture.width, picture.height, str(path), least=1)
        return Marks(_values(picture, path))


def _values(picture: PIL.Image.Image, path: Path) -> Pixels:
    mode = picture.mode
    if mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif mode not in ("1", "L", "LA", "I", "F", "RGB", "RGBA") and not mode.startswith("I;"):
        raise UnsupportedImageError(
            f"{path}: mode {mode} is no mask. Save it black and white, as PNG."
        )
    return np.asarray(picture)


def _tiff(path: Path, check: Callable[[int, int], None]) -> Marks:
    with open_tiff(path) as (file, layout):
        _one_page(layout.pages if layout else len(file.pages), path)
        page = file.pages.first
        check(int(page.imagelength), int(page.imagewidth))
        check_size(int(page.imagewidth), int(page.imagelength), str(path), least=1)
        photometric, samples = int(page.photometric), int(page.samplesperpixel)
        if photometric not in (0, 1, 2, 3, 6) or samples > 4 or int(page.imagedepth) != 1:
            raise UnsupportedImageError(
                f"{path}: {samples} samples of kind {page.photometric!s} per pixel are no mask. "
                "Save it black and white."
            )
        if int(page.nbytes) > 32 * int(page.imagelength) * int(page.imagewidth):
            raise UnreadableImageError(
                f"{path}: the TIFF is damaged: its pixels would take {int(page.nbytes):,} bytes. "
                "Export it again."
            )
        check_storage(page, str(path))
        check_complete(page, str(path))
        check_frames(page, str(path))
        values = page.asarray()
        if samples > 1 and int(page.planarconfig) == 2:
            values = np.moveaxis(values, 0, -1)
        if values.size == 0 or values.shape[:2] != (int(page.imagelength), int(page.imagewidth)):
            raise UnreadableImageError(
                f"{path}: the TIFF is damaged: its header does not tell how its pixels lie. Export "
                "it again."
            )
        if photometric == _PALETTE:
            return Marks(_expanded(values, page.colormap))
        if photometric != 0:
            return Marks(values)
        if file.is_imagej:
            return Marks(
                values,
                (
                    "ImageJ shows this mask through an inverting LUT; it was read by its values: "
                    "those above 0 are marked",
                ),
            )
        if values.dtype == np.bool_:
            return Marks(~values)
        if values.dtype.kind == "u":
            return Marks(np.iinfo(values.dtype).max - values)
        return Marks(values)


def _expanded(values: Pixels, colours: Any) -> Pixels:
    """Return the colours (H, W, 3) that a palette gives to the values."""
    table = np.asarray(colours).T
    return np.ascontiguousarray(table[np.minimum(values, len(table) - 1)])


def _one_page(pages: int, path: Path) -> None:
    if pages > 1:
        raise UnsupportedImageError(f"{path}: holds {pages} pages; a mask is one.")
