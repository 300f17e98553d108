"""Regions of whole-slide files at full resolution, through OpenSlide or TiffSlide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.pixels import Image, Region, bands, check_region, plausible_mpp


def read_slide(
    path: Path, scanner: str, region: Region | None, size: tuple[int, int] | None = None
) -> Image:
    """Read a region of a whole-slide file at level 0.

    Parameters
    ----------
    path : Path
    scanner : str
        The kind of file, for messages ("Aperio SVS").
    region : (x, y, w, h) in level 0 pixels, or None, which is refused
    size : (width, height) of level 0, if known without opening the slide

    Raises
    ------
    UnsupportedImageError
        Without a region.
    MissingDependencyError
        If neither OpenSlide nor TiffSlide is installed.
    UnreadableImageError, RegionError, ImageSizeError
    """
    if region is None:
        extent = f" of {size[0]} x {size[1]} px" if size else ""
        raise UnsupportedImageError(
            f"{path}: this is a whole-slide file ({scanner}){extent}, and whole slides are not "
            "restored yet. Choose a part of it: --region x,y,w,h (pixels at full resolution), "
            "in Python region=(x, y, w, h)."
        )
    problems: list[str] = []
    for opener in openers(path, scanner):
        try:
            with opener(str(path)) as slide:
                return _read_region(slide, str(path), region)
        except HistomendError:
            raise
        except Exception as error:  # each library has its own tree of errors
            problems.append(str(error) or type(error).__name__)
    raise UnreadableImageError(
        f"{path}: the {scanner} file cannot be read ({'; '.join(problems)}). It may be damaged, "
        "or lack the files that belong beside it. Copy or export it again."
    )


def openers(path: Path, scanner: str) -> list[Any]:
    """Return the classes that open slides, the better one first.

    Raises
    ------
    MissingDependencyError
        If neither OpenSlide nor TiffSlide is installed.
    """
    found: list[Any] = []
    try:
        import openslide

        found.append(openslide.OpenSlide)
    except (ImportError, OSError):  # OSError: the Python part is there, the library is not
        pass
    try:
        import tiffslide

        found.append(tiffslide.TiffSlide)
    except ImportError:
        pass
    if not found:
        raise MissingDependencyError(
            f'{path}: reading {scanner} files needs OpenSlide: pip install "histomend[slides]"'
        )
    return found


def _read_region(slide: Any, where: str, region: Region) -> Image:
    width, height = slide.dimensions
    x, y, w, h = check_region(region, int(width), int(height), where)
    background = np.array(background_colour(slide), np.uint8)
    pixels = np.empty((h, w, 3), np.uint8)
    for start, stop in bands(h, w * 4):
        part = np.asarray(slide.read_region((x, y + start), 0, (w, stop - start)))
        pixels[start:stop] = part[..., :3]
        if part.shape[2] == 4:  # places that were never scanned are transparent
            pixels[start:stop][part[..., 3] == 0] = background
    stated = stated_mpp(slide.properties)
    mpp = plausible_mpp(stated)
    notices: tuple[str, ...] = ()
    if mpp != stated and mpp is None:
        notices = (f"the slide says {stated:g} um/px, which is no pixel size of tissue in detail",)
    return Image(pixels, mpp, notices=notices, lossy=True, icc=_icc(slide))


def background_colour(slide: Any) -> tuple[int, int, int]:
    """Return the colour of places that were never scanned, white unless the slide says more."""
    colour = slide.properties.get("openslide.background-color") or "FFFFFF"
    return int(colour[0:2], 16), int(colour[2:4], 16), int(colour[4:6], 16)


def stated_mpp(properties: Any) -> float | None:
    """Return micrometres per pixel of level 0 as a slide states them, plausible or not."""
    for key in ("openslide.mpp-x", "tiffslide.mpp-x"):
        value = properties.get(key)
        if value is not None:
            return float(value)
    return None


def _icc(slide: Any) -> bytes | None:
    profile = getattr(slide, "color_profile", None)
    return profile.tobytes() if profile is not None and hasattr(profile, "tobytes") else None
