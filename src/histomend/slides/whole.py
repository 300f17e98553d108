"""Whole slides as a source: level 0 of any slide, read part by part, and what is known of it.

A TIFF that can be appended to is read as it is stored, tile by tile; others through OpenSlide or
TiffSlide.

>>> with open_slide(path) as slide:
...     part = slide.part((x, y, w, h))         # an Image
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from histomend.errors import HistomendError, UnreadableImageError, UnsupportedImageError
from histomend.image.pixels import MAX_PIXELS, MIN_SIDE, Frame, Image, Pixels, Region, check_mpp
from histomend.image.reading import SAME_MPP, SLIDE_SUFFIXES, content_kind
from histomend.image.slides import (
    background_colour,
    openers,
    read_slide,
    slide_frame,
    unscanned,
)
from histomend.image.tiff import read_tiff, slide_scanner
from histomend.image.tiff_open import open_tiff
from histomend.slides.copying import open_slide_file
from histomend.slides.tiff_levels import LevelPixels, check_places, pyramid_levels
from histomend.slides.tiff_structure import TiffStructure
from histomend.slides.tile_folders import is_tile_folder, open_tile_folder, slide_sha256

_APERIO = "Aperio SVS"
BESIDE = ("label", "macro")
"""Images beside a slide that a new pyramid takes over; the macro image often shows the label."""


class Reader(Protocol):
    """Reads levels of a slide; not from several threads at once.

    Attributes
    ----------
    levels : list of (width, height)
        Level 0 first.
    factors : list of float
        How many pixels of level 0 lie along the side of one of each.
    """

    @property
    def levels(self) -> list[tuple[int, int]]: ...
    @property
    def factors(self) -> list[float]: ...

    def read(self, region: Region, level: int = 0) -> Pixels:
        """Return (h, w, 3) of a region (x, y, w, h), in pixels of its level."""

    def beside(self) -> dict[str, Pixels]:
        """Return the images beside the slide, (H, W, 3) uint8: its label and macro image."""


@dataclass(frozen=True)
class Slide:
    """An open slide.

    Parameters
    ----------
    about : Image
        What is known of it, with the pixels of its corner.
    appendable : bool
        A restored one can be written by appending to it.
    why : str
        If not, why.
    reader : Reader
    """

    about: Image
    appendable: bool
    why: str
    reader: Reader

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.about.source or "")

    @property
    def frame(self) -> Frame:
        """What was scanned."""
        return self.about.frame or Frame(self.about.width, self.about.height)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0."""
        return self.frame.width, self.frame.height

    def level_for(self, mpp: float, usual: float = 0.5) -> int:
        """Return the coarsest level whose pixels are no larger than that, or level 0.

        Parameters
        ----------
        mpp : float
            Micrometres.
        usual : float
            What the pixels of level 0 are taken to measure if the slide does not say.
        """
        own, (width, _) = self.about.mpp or usual, self.size
        fine = [
            number
            for number, level in enumerate(self.reader.levels)
            if own * width / level[0] <= mpp * 1.02
        ]
        return max(fine, default=0)

    def part(self, region: Region) -> Image:
        """Read a part (x, y, w, h), with what is known of the slide.

        Raises
        ------
        UnreadableImageError
        """
        return replace(self.about, pixels=self.reader.read(region), region=region, notices=())


def is_of_scanner(path: Path) -> bool:
    """Tell whether a file is a slide in the format of a scanner, or a path one of a viewer.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    """
    if is_tile_folder(path):
        return True
    kind = content_kind(path)
    return kind in SLIDE_SUFFIXES.values() or (kind == "TIFF" and slide_scanner(path) is not None)


def is_whole_slide(path: Path) -> bool:
    """Tell whether a file is worked on part by part: slides of scanners, and pyramids.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    """
    if is_of_scanner(path):
        return True
    if content_kind(path) != "TIFF":
        return False
    try:
        with path.open("rb") as file:
            levels = pyramid_levels(TiffStructure(file, str(path)))
    except UnsupportedImageError:
        return _is_pyramid(path)
    except (HistomendError, OSError):
        return False  # whatever it is, it is no slide; reading it as an image says what is wrong
    tiled = not levels[0].strips
    return tiled and (len(levels) > 1 or levels[0].width * levels[0].height > MAX_PIXELS)


def is_worked_on_by_parts(path: Path, task: str) -> bool:
    """Tell whether a verb takes a file as a whole slide, and not as an image.

    Pyramids that no scanner wrote are restored as slides, and denoised or enlarged as the stacks
    that they may be.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"

    Raises
    ------
    UnreadableImageError, UnsupportedImageError
    """
    return is_whole_slide(path) if task == "restore" else is_of_scanner(path)


def _is_pyramid(path: Path) -> bool:
    """Tell whether a TIFF that is not edited in place has tiles and levels."""
    with open_tiff(path) as (file, _):
        page = file.pages.first
        if not page.is_tiled:
            return False
        large = page.imagewidth * page.imagelength > MAX_PIXELS
        return bool(large or len(file.series[0].levels) > 1)


@contextmanager
def open_slide(
    path: Path, *, mpp: float | None = None, sha256: str | None = None, hashed: bool = True
) -> Iterator[Slide]:
    """Open a slide.

    Parameters
    ----------
    path : Path
    mpp : float or None
        Micrometres per pixel of level 0, in place of what the file says.
    sha256 : str or None
        Of the file, if it is known already.
    hashed : bool
        Find it out, for which all of the file is read.

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, ImageSizeError, PixelSizeError,
    MissingDependencyError
    """
    if is_tile_folder(path):
        about, tiles = open_tile_folder(path)
        about = _about(about, path, mpp, sha256 or (slide_sha256(path) if hashed else None))
        yield Slide(about, False, "it is a folder of tiles", tiles)
        return
    kind = content_kind(path)
    found = slide_scanner(path) if kind == "TIFF" else (kind, 0, 0)
    corner = (0, 0, MIN_SIDE, MIN_SIDE)
    size = found[1:] if found is not None and found[1] else None
    about = read_tiff(path, corner) if found is None else read_slide(path, found[0], corner, size)
    about = _about(about, path, mpp, sha256 or (slide_sha256(path) if hashed else None))
    if about.alpha is not None:
        raise UnsupportedImageError(f"{path}: the slide has transparency. Save it as RGB first.")
    why = "" if found is None or found[0] == _APERIO else f"{found[0]} files are not appended to"
    if not why:
        with open_slide_file(path) as file:
            stored, why = _stored(path, file, about)
            if stored is not None:
                yield Slide(about, True, "", stored)
                return
    if found is None:
        # What no library knows as a slide is read by the reader of TIFF, region by region.
        frame = about.frame or Frame(about.width, about.height)
        yield Slide(about, False, why, _TiffReader(path, (frame.width, frame.height)))
        return
    with _scanned(path, found[0]) as reader:
        yield Slide(about, False, why, reader)


def _about(about: Image, path: Path, mpp: float | None, sha256: str | None) -> Image:
    """Return what is known of a slide, with the pixel size that was given in its place."""
    notices = about.notices
    if mpp is not None:
        mpp = check_mpp(mpp, str(path))
        if about.mpp is not None and abs(mpp / about.mpp - 1) > SAME_MPP:
            notices += (f"{mpp:g} um/px was given and is used; the file says {about.mpp:g}",)
        about = replace(about, mpp=mpp)
    return replace(about, source=path, sha256=sha256, region=None, notices=notices)


def _stored(path: Path, file: Any, about: Image) -> tuple[_StoredReader | None, str]:
    """Return what reads a TIFF as it is stored; None and why, if it cannot be edited in place."""
    try:
        tiff = TiffStructure(file, str(path))
        levels = pyramid_levels(tiff)
        check_places(tiff)
    except UnsupportedImageError as error:
        return None, str(error).removeprefix(f"{path}: ")
    finest, frame = levels[0], about.frame
    if finest.codec.samples != 3 or finest.codec.photometric not in (2, 6):
        return None, "its pixels are not stored as red, green and blue"
    if frame is not None and (frame.canvas or (frame.width, frame.height)) != (
        finest.width,
        finest.height,
    ):
        return None, "its first image is not what was scanned"
    return _StoredReader([LevelPixels(tiff, level) for level in levels]), ""


class _StoredReader:
    """Tiles as they are stored; those that were never scanned are white."""

    def __init__(self, pixels: list[LevelPixels]) -> None:
        self._pixels = pixels
        self.levels = [(each.level.width, each.level.height) for each in pixels]
        self.factors = [float(each.level.factor) for each in pixels]

    def read(self, region: Region, level: int = 0) -> Pixels:
        """Return (h, w, 3) of a region."""
        pixels, scanned = self._pixels[level].read(region)
        if not scanned.all():
            pixels[~scanned] = np.iinfo(pixels.dtype).max
        return pixels

    def beside(self) -> dict[str, Pixels]:
        """Return nothing: what is edited in place keeps them as they are."""
        return {}


class _TiffReader:
    """Regions of a TIFF, through the reader of images."""

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        self._path = path
        self.levels, self.factors = [size], [1.0]

    def read(self, region: Region, level: int = 0) -> Pixels:
        """Return (h, w, 3) of a region."""
        return read_tiff(self._path, region, least=1).pixels

    def beside(self) -> dict[str, Pixels]:
        """Return nothing: a TIFF that no scanner wrote does not name them."""
        return {}


class _ScannedReader:
    """Regions of a slide that OpenSlide or TiffSlide has opened."""

    def __init__(self, slide: Any, path: Path) -> None:
        self._slide, self._path = slide, path
        self._frame = slide_frame(slide)
        self._background = np.array(background_colour(slide), np.uint8)
        self.factors = [float(factor) for factor in slide.level_downsamples]
        size = self._frame.width, self._frame.height
        self.levels = [size, *(self._size(size, factor) for factor in self.factors[1:])]

    def _size(self, size: tuple[int, int], factor: float) -> tuple[int, int]:
        return max(1, int(size[0] / factor)), max(1, int(size[1] / factor))

    def read(self, region: Region, level: int = 0) -> Pixels:
        """Return (h, w, 3) of a region."""
        x, y, w, h = region
        factor = self.factors[level]
        left, top = round(x * factor) + self._frame.offset[0], round(y * factor)
        corner = left, top + self._frame.offset[1]
        try:
            values = np.asarray(self._slide.read_region(corner, level, (w, h)))
        except Exception as error:  # each library has its own tree of errors
            raise UnreadableImageError(
                f"{self._path}: level {level} cannot be decoded at x={x}, y={y} ({error}). Copy or "
                "export the file again."
            ) from error
        pixels = values[..., :3].copy()
        pixels[unscanned(values, self._frame)] = self._background
        return pixels

    def beside(self) -> dict[str, Pixels]:
        """Return the label and the macro image, where there are any."""
        found = self._slide.associated_images
        try:
            return {
                name: np.asarray(found[name].convert("RGB")) for name in BESIDE if name in found
            }
        except Exception as error:  # each library has its own tree of errors
            raise UnreadableImageError(
                f"{self._path}: its label or macro image cannot be decoded ({error}). Leave them "
                "out: --no-label."
            ) from error


@contextmanager
def _scanned(path: Path, scanner: str) -> Iterator[_ScannedReader]:
    problems: list[str] = []
    for opener in openers(path, scanner):
        try:
            slide = opener(str(path))
            reader = _ScannedReader(slide, path)
            reader.read((0, 0, MIN_SIDE, MIN_SIDE))
        except Exception as error:  # each library has its own tree of errors
            problems.append(str(error) or type(error).__name__)
            continue
        with slide:
            yield reader
        return
    raise UnreadableImageError(
        f"{path}: the {scanner} file cannot be read ({'; '.join(problems)}). It may be damaged, or "
        "lack the files that belong beside it. Copy or export it again."
    )
