"""Masks of whole slides, read where they are needed: a slide's mask is never in memory.

>>> mask = load_slide_mask(path, Frame(width, height))
>>> mask.read((x, y, w, h))            # (h, w) bool
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from histomend.errors import MaskError
from histomend.image.pixels import Frame, Region
from histomend.masks.files import load_json, marked
from histomend.masks.geojson import Ring, is_tissue_outline, polygons_of
from histomend.masks.geometry import Mask
from histomend.masks.other_tools import Smaller
from histomend.masks.polygons import PolygonFiller


class SlideMask(Protocol):
    """What is to be restored of a slide.

    Attributes
    ----------
    notices : tuple of str
        What the user should know.
    """

    @property
    def notices(self) -> tuple[str, ...]: ...

    def may_touch(self, region: Region) -> bool:
        """Tell quickly whether something could be marked in a region (x, y, w, h)."""

    def read(self, region: Region) -> Mask:
        """Return the mask of a region that lies in the slide, (h, w) bool."""


class PolygonMask:
    """Polygons in pixels of the slide.

    Parameters
    ----------
    polygons : list of lists of (N, 2) float
        Each an outer ring and its holes.
    origin : (x, y)
        Of the slide in their coordinates.
    inverted : bool
        What lies outside of them is to be restored.
    notices : tuple of str
    """

    def __init__(
        self,
        polygons: list[list[Ring]],
        *,
        origin: tuple[int, int] = (0, 0),
        inverted: bool = False,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.notices = notices
        self._inverted = inverted
        self._polygons = [[ring - np.asarray(origin, float) for ring in each] for each in polygons]
        boxes = [
            [*np.concatenate(each).min(0), *np.concatenate(each).max(0)] for each in self._polygons
        ]
        self._boxes = np.array(boxes, float).reshape(-1, 4)

    def may_touch(self, region: Region) -> bool:
        """Tell quickly whether something could be marked in a region (x, y, w, h)."""
        return self._inverted or len(self._touching(region)) > 0

    def read(self, region: Region) -> Mask:
        """Return the mask of a region: pixels whose centre lies in a polygon."""
        x, y, w, h = region
        mask = np.zeros((h, w), np.bool_)
        filler = PolygonFiller(mask)
        for number in self._touching(region):
            filler.add([ring - (float(x), float(y)) for ring in self._polygons[number]])
        filler.finish()
        return ~mask if self._inverted else mask

    def _touching(self, region: Region) -> list[int]:
        x, y, w, h = region
        left, top, right, bottom = self._boxes.T
        met = (left < x + w) & (right > x) & (top < y + h) & (bottom > y)
        return [int(number) for number in np.flatnonzero(met)]


class PictureMask:
    """A picture of marks, as large as the slide or smaller.

    Parameters
    ----------
    mask : (H, W) bool
    frame : Frame
        The slide.
    notices : tuple of str
    """

    def __init__(self, mask: Mask, frame: Frame, notices: tuple[str, ...] = ()) -> None:
        self.notices = notices
        self._mask, self._frame = mask, frame

    def may_touch(self, region: Region) -> bool:
        """Tell quickly whether something could be marked in a region (x, y, w, h)."""
        if self._mask.shape == (self._frame.height, self._frame.width):
            return bool(self.read(region).any())
        # At most the few pixels of the smaller mask that lie on the region.
        x, y, w, h = region
        place = Smaller.on(self._frame, (x, y), (h, w))
        across, down = self._mask.shape[1] / place.whole[0], self._mask.shape[0] / place.whole[1]
        left, top = int(place.origin[0] * across), int(place.origin[1] * down)
        right = int(np.ceil((place.origin[0] + w) * across))
        bottom = int(np.ceil((place.origin[1] + h) * down))
        return bool(self._mask[top : bottom + 1, left : right + 1].any())

    def read(self, region: Region) -> Mask:
        """Return the mask of a region."""
        x, y, w, h = region
        if self._mask.shape == (self._frame.height, self._frame.width):
            return self._mask[y : y + h, x : x + w]
        return Smaller.on(self._frame, (x, y), (h, w)).enlarged(self._mask)


class BlockMask:
    """A mask that was found block by block, on a level of a slide.

    Parameters
    ----------
    size : (width, height)
        Of the slide.
    level : (width, height)
        Of the level that was looked at.
    block : int
        Side of a block, in its pixels.
    """

    def __init__(self, size: tuple[int, int], level: tuple[int, int], block: int) -> None:
        self.notices: tuple[str, ...] = ()
        self._size, self._level, self._block = size, level, block
        self._blocks: dict[tuple[int, int], bytes] = {}

    def put(self, x: int, y: int, mask: Mask) -> None:
        """Keep what was found in the block whose corner is (x, y)."""
        if mask.any():
            key = y // self._block, x // self._block
            self._blocks[key] = zlib.compress(np.packbits(mask).tobytes(), 6)

    def may_touch(self, region: Region) -> bool:
        """Tell quickly whether something could be marked in a region (x, y, w, h)."""
        return any(key in self._blocks for key in self._keys(self._on_level(region)))

    def read(self, region: Region) -> Mask:
        """Return the mask of a region, each pixel of the level as it is."""
        x, y, w, h = self._on_level(region)
        found = np.zeros((h, w), np.bool_)
        for row, column in self._keys((x, y, w, h)):
            if (row, column) not in self._blocks:
                continue
            top, left = row * self._block, column * self._block
            shape = min(self._block, self._level[1] - top), min(self._block, self._level[0] - left)
            bits = np.frombuffer(zlib.decompress(self._blocks[row, column]), np.uint8)
            block = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape).astype(np.bool_)
            y0, y1 = max(y, top), min(y + h, top + shape[0])
            x0, x1 = max(x, left), min(x + w, left + shape[1])
            found[y0 - y : y1 - y, x0 - x : x1 - x] = block[
                y0 - top : y1 - top, x0 - left : x1 - left
            ]
        across = self._places(region[0], region[2], 0) - x
        down = self._places(region[1], region[3], 1) - y
        return np.ascontiguousarray(found[down][:, across])

    def _places(self, start: int, count: int, axis: int) -> npt.NDArray[np.int64]:
        """Return which pixels of the level lie under pixels of the slide."""
        middle = (start + np.arange(count) + 0.5) * self._level[axis] / self._size[axis]
        return np.minimum(middle.astype(np.int64), self._level[axis] - 1)

    def _on_level(self, region: Region) -> Region:
        across = self._places(region[0], region[2], 0)
        down = self._places(region[1], region[3], 1)
        left, top = int(across[0]), int(down[0])
        return left, top, int(across[-1]) + 1 - left, int(down[-1]) + 1 - top

    def _keys(self, region: Region) -> Iterator[tuple[int, int]]:
        x, y, w, h = region
        for row in range(y // self._block, (y + h - 1) // self._block + 1):
            for column in range(x // self._block, (x + w - 1) // self._block + 1):
                yield row, column


def load_slide_mask(path: Path, frame: Frame, *, classes: Sequence[str] | None = None) -> SlideMask:
    """Read the mask of a slide, as `load_mask` reads those of images.

    Parameters
    ----------
    path : Path
        GeoJSON in pixels of the slide as in QuPath, or a picture as large as the slide; those of
        GrandQC and HistoQC are smaller.
    frame : Frame
        The slide.
    classes : sequence of str, optional
        What counts, as of `load_mask`.

    Raises
    ------
    MaskError, UnreadableImageError, UnsupportedImageError, ImageSizeError
    """
    if path.suffix.lower() not in (".geojson", ".json"):
        place = Smaller.on(frame, (0, 0), (frame.height, frame.width))
        return PictureMask(*_picture(path, place, frame, classes))
    obj, notices = load_json(path)
    if not is_tissue_outline(obj):
        polygons, said = polygons_of(obj, classes, str(path))
        return PolygonMask(polygons, notices=notices + said)
    polygons, said = polygons_of(obj, None, str(path))
    said += (
        "the GeoJSON outlines the tissue (TRIDENT): what it leaves out is to be restored, the "
        "glass around included",
    )
    # TRIDENT counts from the corner of the canvas, as OpenSlide does.
    return PolygonMask(polygons, origin=frame.offset, inverted=True, notices=notices + said)


def _picture(
    path: Path, place: Smaller, frame: Frame, classes: Sequence[str] | None
) -> tuple[Mask, Frame, tuple[str, ...]]:
    mask, notices = marked(path, place, classes)
    if not mask.any():
        raise MaskError(f"{path}: the mask is empty: no pixel is marked (white).")
    return mask, frame, notices
