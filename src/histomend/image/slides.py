"""Regions of whole-slide files at full resolution, through OpenSlide or TiffSlide."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.inner_headers import check_frames, check_storage, check_tiles
from histomend.image.pixels import (
    MAX_MPP,
    Frame,
    Image,
    Pixels,
    Region,
    bands,
    check_region,
    plausible_mpp,
)
from histomend.image.tiff_open import TIFF_MAGIC, open_tiff

OVERVIEW = "which is no pixel size of tissue in detail but of an overview"
"""How a notice ends of a slide whose pixels are too large."""
_READERS = ("openslide", "tiffslide")
_log = logging.getLogger(__name__)


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
        Counted from the corner of what was scanned (`Frame`), as in QuPath.
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
            f"{path}: this is a whole-slide file ({scanner}){extent}, of which a part can be taken "
            "as an image: --region x,y,w,h (pixels at full resolution), in Python region=(x, y, w, "
            "h). Whole ones are restored by `histomend restore`, in Python "
            "histomend.restore_slide."
        )
    problems: list[str] = []
    for opener in openers(path, scanner):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of odd metadata; the pixels decide
                with opener(str(path)) as slide:
                    return _read_region(slide, str(path), region)
        except HistomendError:
            raise
        except Exception as error:  # each library has its own tree of errors
            problems.append(str(error) or type(error).__name__)
            _log.debug("%s: not read by %s: %s", path, _name(opener), problems[-1])
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

        found.append(partial(_sized, openslide.OpenSlide))
    except (ImportError, OSError) as error:  # OSError: the library is not there, its binding is
        _log.debug("%s: OpenSlide cannot be used, TiffSlide is tried: %s", path, error)
    try:
        import tiffslide

        found.append(partial(_checked, tiffslide.TiffSlide))
    except ImportError:
        pass
    if not found:
        raise MissingDependencyError(
            f'{path}: reading {scanner} files needs OpenSlide: pip install "histomend[slides]"'
        )
    return found


def _name(opener: Any) -> str:
    return str(opener.args[0].__name__)


def _sized(opener: Any, path: str) -> Any:
    """Open a slide with OpenSlide, which ends the process where tiles are absurdly large."""
    _check_pages(path, check_tiles)
    return opener(path)


def _checked(opener: Any, path: str) -> Any:
    """Open a slide with TiffSlide, which believes what the tiles say of their size."""
    _check_pages(path, check_storage, check_frames)
    return opener(path)


def _check_pages(path: str, *checks: Callable[[Any, str], None]) -> None:
    """Check all pages of a TIFF; other files have none."""
    with Path(path).open("rb") as file:
        magic = file.read(4)
    if magic in TIFF_MAGIC:
        with open_tiff(Path(path), slide=True) as (tiff, layout):
            for page in tiff.pages if layout is not None else ():
                for check in checks:
                    check(page, path)


def _read_region(slide: Any, where: str, region: Region) -> Image:
    frame = slide_frame(slide)
    x, y, w, h = check_region(region, frame.width, frame.height, where)
    left, top = x + frame.offset[0], y + frame.offset[1]
    background = np.array(background_colour(slide), np.uint8)
    pixels = np.empty((h, w, 3), np.uint8)
    bare = 0
    for start, stop in bands(h, w * 4):
        part = np.asarray(slide.read_region((left, top + start), 0, (w, stop - start)))
        pixels[start:stop] = part[..., :3]
        empty = unscanned(part, frame)
        bare += int(np.count_nonzero(empty))
        pixels[start:stop][empty] = background
    stated = stated_mpp(slide.properties)
    mpp = plausible_mpp(stated)
    notices = canvas_notice(frame) + _bare_notice(bare / (w * h))
    if mpp != stated and mpp is None:
        large = stated is not None and stated > MAX_MPP
        of = OVERVIEW if large else "which is no pixel size of tissue in detail"
        notices += (f"the slide says {stated:g} um/px, {of}",)
    return Image(pixels, mpp, notices=notices, lossy=True, icc=_icc(slide), frame=frame)


def slide_frame(slide: Any) -> Frame:
    """Return what was scanned of a slide, and where that lies on its canvas."""
    width, height = (int(side) for side in slide.dimensions)
    found = []
    for key in ("x", "y", "width", "height"):
        said = [slide.properties.get(f"{reader}.bounds-{key}") for reader in _READERS]
        value = _number(next((v for v in said if v is not None), None))
        found.append(-1 if value is None or not math.isfinite(value) else int(value))
    x, y, w, h = found
    if min(x, y) < 0 or min(w, h) < 1 or x + w > width or y + h > height:
        return Frame(width, height)
    if (w, h) == (width, height):
        return Frame(width, height)
    return Frame(w, h, (x, y), (width, height))


def canvas_notice(frame: Frame) -> tuple[str, ...]:
    """Say from where pixels of a slide are counted, if its scan lies on a larger canvas."""
    if frame.canvas is None:
        return ()
    (x, y), (width, height) = frame.offset, frame.canvas
    return (
        f"the scan ({frame.width} x {frame.height} px) begins at x={x}, y={y} of the slide's "
        f"canvas ({width} x {height} px): regions, masks and GeoJSON count from there, as in "
        f"QuPath; for OpenSlide add {x},{y}",
    )


def unscanned(values: Pixels, frame: Frame) -> Pixels:
    """Return (H, W) bool: places that were never scanned, in what a library read."""
    if values.shape[2] == 4:  # OpenSlide leaves them transparent
        return np.asarray(values[..., 3] == 0)
    if frame.canvas is None:
        return np.zeros(values.shape[:2], bool)
    return np.asarray((values == 0).all(axis=2))  # TiffSlide leaves them at 0


def _bare_notice(share: float) -> tuple[str, ...]:
    if share == 0:
        return ()
    if share == 1:
        return (
            "nothing was scanned in this region: it is filled with the colour of the background",
        )
    return (
        f"{100 * share:.1f} % of the region were never scanned, and are filled with the colour of "
        "the background",
    )


def background_colour(slide: Any) -> tuple[int, int, int]:
    """Return the colour of places that were never scanned, white unless the slide says more."""
    colour = str(slide.properties.get("openslide.background-color") or "")
    try:
        red, green, blue = bytes.fromhex(colour)
    except ValueError:
        return 255, 255, 255
    return red, green, blue


def stated_mpp(properties: Any) -> float | None:
    """Return micrometres per pixel of level 0 as a slide states them, plausible or not."""
    said = (_number(properties.get(f"{reader}.mpp-x")) for reader in _READERS)
    return next((value for value in said if value is not None), None)


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _icc(slide: Any) -> bytes | None:
    profile = getattr(slide, "color_profile", None)
    return profile.tobytes() if profile is not None and hasattr(profile, "tobytes") else None
