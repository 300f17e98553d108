"""Find artifacts on whole slides, part by part: neither the slide nor its mask is ever in memory.

Each part is searched with what lies around it, so that an artifact on the border of two is seen
whole; what is known of an image's own tissue is then that of the part.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histomend.detect.found import Found, Limits
from histomend.detect.learned import Detection, bundled_detector, find_in_parts
from histomend.detect.reports import quality_annotations
from histomend.detect.threshold import Thresholds, find_with_counts
from histomend.image import Intensity, check_target, write_atomically
from histomend.image.depth import eight_bit
from histomend.image.pixels import MIN_SIDE, Region
from histomend.jobs.progress import Advance
from histomend.masks.geojson import mask_to_geojson
from histomend.masks.geometry import EIGHT
from histomend.masks.slide_masks import BlockMask, SlideMask
from histomend.models.detector import Detector
from histomend.slides.whole import Slide
from histomend.tiles.seams import is_glass
from histomend.tiles.slide_plan import count_masked, parts_of

USUAL_MPP = 0.5
"""What a pixel is taken to measure if the slide does not say; and the coarsest that is searched."""
BLOCK_PX, MARGIN_PX = 2048, 128
# Polygons of larger artifacts are cut along squares of this many pixels.
_LARGEST_PX = 2048
_CELL_PX = 64
_ALL_GLASS = 0.9995

Mask = npt.NDArray[np.bool_]
Find: TypeAlias = (
    "Callable[[npt.NDArray[Any], float | None], tuple[npt.NDArray[np.bool_], int, int]]"
)
"""Given pixels (h, w, 3) and micrometres per pixel it returns a mask (h, w), how much of it is
tissue, and how much tissue there is in all."""


@dataclass(frozen=True)
class Searched:
    """What was found on a slide.

    Parameters
    ----------
    mask : BlockMask
    share : float
        Of the tissue.
    """

    mask: BlockMask
    share: float


def find_on_slide(
    slide: Slide,
    *,
    thresholds: Thresholds | None = None,
    find: Find | None = None,
    progress: Advance | None = None,
) -> Searched:
    """Search all of a slide.

    Parameters
    ----------
    slide : Slide
    thresholds : Thresholds or None
    find : function, optional
        What searches a part: `find_with_counts` unless given.
    progress : function of (parts done, parts in all), optional

    Raises
    ------
    UnreadableImageError
        A part of the slide is damaged.
    """
    search = find or partial(_by_thresholds, thresholds)
    number = slide.level_for(USUAL_MPP)
    width, height = level = slide.reader.levels[number]
    mpp = None if slide.about.mpp is None else slide.about.mpp * slide.size[0] / width
    mask = BlockMask(slide.size, level, BLOCK_PX)
    corners = [(x, y) for y in range(0, height, BLOCK_PX) for x in range(0, width, BLOCK_PX)]
    found = tissue = 0
    for done, (x, y) in enumerate(corners, 1):
        left, top = max(0, x - MARGIN_PX), max(0, y - MARGIN_PX)
        # A strip at the border of the slide that is narrower than an image has to be is widened.
        right = min(width, max(x + BLOCK_PX + MARGIN_PX, left + MIN_SIDE))
        bottom = min(height, max(y + BLOCK_PX + MARGIN_PX, top + MIN_SIDE))
        left, top = max(0, min(left, right - MIN_SIDE)), max(0, min(top, bottom - MIN_SIDE))
        pixels = slide.reader.read((left, top, right - left, bottom - top), number)
        if not _is_bare(pixels):
            there, inside, of = search(pixels, mpp)
            mask.put(x, y, there[y - top : y - top + BLOCK_PX, x - left : x - left + BLOCK_PX])
            found, tissue = found + inside, tissue + of
        if progress is not None:
            progress(done, len(corners))
    return Searched(mask, found / tissue if tissue else 0.0)


@dataclass(frozen=True)
class LearnedSearch:
    """What a detector found on a slide.

    Parameters
    ----------
    size, level : (width, height)
        Of the slide, and of the level that was looked at.
    detection : Detection
        In pixels of the level.
    """

    size: tuple[int, int]
    level: tuple[int, int]
    detection: Detection

    @property
    def found(self) -> Found:
        """The regions."""
        return self.detection.found

    def mask(self, kinds: Sequence[str] | None = None) -> BlockMask:
        """Return where artifacts of some classes are; all that may be restored unless given."""
        width, height = self.level
        mask = BlockMask(self.size, self.level, BLOCK_PX)
        for y in range(0, height, BLOCK_PX):
            for x in range(0, width, BLOCK_PX):
                part = (x, y, min(BLOCK_PX, width - x), min(BLOCK_PX, height - y))
                mask.put(x, y, self.found.mask(kinds, part))
        return mask

    def annotations(self, kinds: Sequence[str] | None = None) -> dict[str, Any]:
        """Return the regions as GeoJSON in pixels of the slide, classified and measured."""
        scale = (self.size[0] / self.level[0], self.size[1] / self.level[1])
        return quality_annotations(self.found, kinds, scale=scale)

    def write(self, path: Path, kinds: Sequence[str] | None = None, *, force: bool) -> int:
        """Write the regions as GeoJSON, and return how many there are."""
        features = self.annotations(kinds)["features"]
        write_found(path, features, force=force)
        return len(features)


def search_slide(
    slide: Slide,
    *,
    detector: Detector | None = None,
    limits: Limits | None = None,
    progress: Advance | None = None,
) -> LearnedSearch:
    """Search all of a slide with a detector: the bundled one unless given.

    Raises
    ------
    UnreadableImageError
        A part of the slide is damaged.
    UnsupportedImageError
        It shows fluorescence.
    PixelSizeError
        Its pixels are too coarse.
    """
    detector = bundled_detector() if detector is None else detector
    number = slide.level_for(detector.config.mpp)
    width, height = slide.reader.levels[number]
    mpp = None if slide.about.mpp is None else slide.about.mpp * slide.size[0] / width

    def read(region: Region) -> npt.NDArray[np.uint8]:
        return eight_bit(slide.reader.read(region, number))

    detection = find_in_parts(
        read,
        (height, width),
        mpp=mpp,
        detector=detector,
        limits=limits,
        where=str(slide.path),
        progress=progress,
    )
    return LearnedSearch(slide.size, (width, height), detection)


def _by_thresholds(
    thresholds: Thresholds | None, pixels: npt.NDArray[Any], mpp: float | None
) -> tuple[Mask, int, int]:
    return find_with_counts(pixels, mpp=mpp, thresholds=thresholds)


def _is_bare(pixels: npt.NDArray[Any]) -> bool:
    """Tell whether nothing is to be seen in a part, by every fourth pixel."""
    few = Intensity.for_dtype(pixels.dtype).encode(pixels[::4, ::4])
    return bool(is_glass(few).mean() >= _ALL_GLASS)


def write_found(path: Path, features: Iterable[dict[str, Any]], *, force: bool = False) -> None:
    """Write features as GeoJSON; the file appears complete or not at all.

    Raises
    ------
    OutputError
    """
    check_target(path, force=force)
    data = encoded(features)

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomically(path, write)


def encoded(features: Iterable[dict[str, Any]]) -> bytes:
    """Return features as the text of a GeoJSON file."""
    whole = {"type": "FeatureCollection", "features": list(features)}
    return json.dumps(whole, separators=(",", ":")).encode()


def slide_features(mask: SlideMask, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """Give a mask of a slide as GeoJSON features, in pixels of level 0, one for each region.

    Regions larger than a few thousand pixels are cut into pieces that meet.

    Parameters
    ----------
    mask : SlideMask
    size : (width, height)
    """
    counts = count_masked(mask, size, _CELL_PX)
    labels, _ = ndimage.label(counts > 0, structure=EIGHT)
    if not labels.any():
        return
    number = 0
    for part in parts_of(labels, counts, size, _CELL_PX, _LARGEST_PX // _CELL_PX, 0):
        own = part.own(mask.read(part.region))
        for feature in mask_to_geojson(own, origin=part.region[:2])["features"]:
            number += 1
            feature["properties"]["name"] = f"Artifact {number}"
            yield feature
