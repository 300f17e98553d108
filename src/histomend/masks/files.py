"""Masks in and out of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import PIL.Image

from histomend.errors import MaskError, SettingError
from histomend.image import check_target, content_kind, open_picture, write_atomically
from histomend.masks.geojson import geojson_to_mask, mask_to_geojson
from histomend.masks.geometry import Mask, check_shape

_CLEAR_SHARE = 0.9  # of the pixels of an anti-aliased mask, which have to be nearly black or white


def read_mask(
    path: Path | str, shape: tuple[int, int], *, origin: tuple[int, int] = (0, 0)
) -> Mask:
    """Read a mask for an image of a given shape.

    Parameters
    ----------
    path : Path
        An image (PNG, TIFF; white is to be restored), or a .geojson or .json file of polygons,
        as QuPath exports annotations.
    shape : (height, width)
        Of the image, or of the region of it, that is to be restored.
    origin : (x, y)
        Where that region begins in the coordinates of the GeoJSON file.

    Returns
    -------
    (H, W) bool
        True is to be restored. It may be empty; `check_mask` refuses that.

    Raises
    ------
    MaskError
        Other size, colours, shades of grey, polygons that do not touch the image.
    UnreadableImageError, UnsupportedImageError
    """
    path = Path(path)
    if path.suffix.lower() in (".geojson", ".json"):
        return geojson_to_mask(_load_json(path), shape, origin=origin, where=str(path))
    kind = content_kind(path)
    if kind not in ("PNG", "TIFF", "JPEG", "WebP", "AVIF"):
        raise MaskError(f"{path}: a mask is a PNG, TIFF or GeoJSON file, not {kind}.")
    with open_picture(path, kind) as picture:
        check_shape((picture.height, picture.width), shape, str(path))
        return _black_and_white(_grey_values(picture, str(path)), str(path))


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


def _grey_values(picture: PIL.Image.Image, where: str) -> npt.NDArray[Any]:
    if getattr(picture, "n_frames", 1) > 1:
        raise MaskError(f"{where}: holds {picture.n_frames} pages; a mask is one.")  # type: ignore[attr-defined]
    mode = picture.mode
    if mode == "1" or mode in ("L", "I", "F") or mode.startswith("I;"):
        return np.asarray(picture)
    if mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    elif mode not in ("RGB", "RGBA", "LA"):
        raise MaskError(f"{where}: mode {mode} is no mask. Save it black and white, as PNG.")
    values = np.asarray(picture)
    if picture.mode in ("RGBA", "LA"):
        if values[..., -1].min() < 255:
            raise MaskError(
                f"{where}: the mask is partly transparent, so what is marked cannot be told. "
                "Save it black and white, without transparency."
            )
        values = values[..., :-1]
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
    high = values.max()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise MaskError(f"{where}: holds NaN or infinite values.")
    if bool(((values == 0) | (values == high)).all()):
        return np.asarray(values > 0)
    # Pillow opens 16-bit grey as 32-bit integers at times, so the scale is told by the values.
    full = 1.0 if values.dtype.kind == "f" else 255 if high <= 255 else 65_535
    clear = np.count_nonzero(values <= 0.1 * full) + np.count_nonzero(values >= 0.9 * full)
    if high < 0.9 * full or clear < _CLEAR_SHARE * values.size:
        raise MaskError(
            f"{where}: has shades of grey or several labels (values up to {high}); a mask is "
            "black and white. Threshold it first, or choose one label."
        )
    return np.asarray(values >= 0.5 * full)


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MaskError(f"{path}: cannot be read as GeoJSON ({reason}).") from error
