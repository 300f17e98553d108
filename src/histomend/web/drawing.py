"""What was drawn on the page, as a mask; and polygons of others, as if they had been drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from histomend.errors import MaskError
from histomend.image.pixels import Region
from histomend.masks import geojson_to_mask, mask_to_geojson
from histomend.masks.polygons import PolygonFiller

Mask = npt.NDArray[np.bool_]
Point = tuple[float, float]
MOST_PX = 450_000_000
"""Pixels of the box around a drawing: as many as of an image."""
_FAR = 1e7  # no image is larger, and OpenCV counts in 16ths of a pixel


class Drawn(BaseModel):
    """One thing that was drawn, in pixels of the image.

    Parameters
    ----------
    kind : "polygon" or "stroke"
    rings : of a polygon, the outer ring and the holes.
    points : of a stroke, its way.
    radius : of a stroke.
    erase : whether it takes away from what was drawn before.
    """

    kind: Literal["polygon", "stroke"]
    rings: list[list[Point]] = Field(default_factory=list, max_length=20_000)
    points: list[Point] = Field(default_factory=list, max_length=200_000)
    radius: float = Field(default=0, ge=0, le=5000, allow_inf_nan=False)
    erase: bool = False

    def corners(self) -> npt.NDArray[np.float64]:
        """Return all points, (N, 2)."""
        found = [point for ring in self.rings for point in ring] + self.points
        return np.array(found, np.float64).reshape(-1, 2)


Drawing = Sequence[Drawn]


def box_of(drawing: Drawing, width: int, height: int, margin: int = 0) -> Region | None:
    """Return the box (x, y, w, h) around what was drawn, within the image; None if there is none.

    Raises
    ------
    MaskError
        A point is no position.
    """
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    for drawn in drawing:
        corners = drawn.corners()
        if not np.isfinite(corners).all() or np.abs(corners).max(initial=0) > _FAR:
            raise MaskError("The drawing has points that are no positions in an image.")
        if len(corners) and not drawn.erase:
            grown = drawn.radius + 1
            low = np.minimum(low, corners.min(axis=0) - grown)
            high = np.maximum(high, corners.max(axis=0) + grown)
    if not np.isfinite(low).all():
        return None
    left, top = (max(0, math.floor(n) - margin) for n in low)
    right = min(width, math.ceil(high[0]) + margin)
    bottom = min(height, math.ceil(high[1]) + margin)
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def fill(drawing: Drawing, box: Region) -> Mask:
    """Return what was drawn in a box (x, y, w, h), one after the other, as (h, w) bool."""
    x, y, w, h = box
    if w * h > MOST_PX:
        raise MaskError(
            f"The drawing reaches over {w} x {h} px, which is too much at once. Restore its parts "
            "one after the other."
        )
    mask = np.zeros((h, w), np.bool_)
    for drawn in drawing:
        own = box_of([drawn.model_copy(update={"erase": False})], x + w, y + h)
        if own is None:
            continue
        left, top = max(own[0], x), max(own[1], y)
        right, bottom = own[0] + own[2], own[1] + own[3]
        if left >= right or top >= bottom:
            continue
        part = _filled(drawn, (left, top), (bottom - top, right - left))
        place = mask[top - y : bottom - y, left - x : right - x]
        if drawn.erase:
            place &= ~part
        else:
            place |= part
    return mask


def _filled(drawn: Drawn, origin: tuple[int, int], shape: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, np.bool_)
    if drawn.kind == "polygon":
        rings = [np.array(ring, np.float64) - origin for ring in drawn.rings if len(ring) > 2]
        if rings:
            filler = PolygonFiller(mask)
            filler.add(rings)
            filler.finish()
        return mask
    grey = np.zeros(shape, np.uint8)
    # A pixel's centre is half a pixel from its corner; OpenCV counts from centres.
    way = np.rint((np.array(drawn.points, np.float64) - origin - 0.5) * 16).astype(np.int32)
    thick = max(1, round(2 * drawn.radius))
    cv2.polylines(grey, [way.reshape(-1, 1, 2)], False, 1, thick, cv2.LINE_8, 4)
    if len(way) == 1:
        cv2.circle(
            grey, way[0].tolist(), max(0, round((drawn.radius - 0.5) * 16)), 1, -1, cv2.LINE_8, 4
        )
    return grey.astype(np.bool_)


def as_geojson(drawing: Drawing, width: int, height: int) -> dict[str, Any]:
    """Return what was drawn as annotations that QuPath opens.

    Raises
    ------
    MaskError
        Nothing of it lies in the image.
    """
    box = box_of(drawing, width, height)
    mask = np.zeros((0, 0), np.bool_) if box is None else fill(drawing, box)
    if box is None or not mask.any():
        raise MaskError("Nothing is drawn in the image yet. Draw what is to be restored first.")
    return mask_to_geojson(mask, origin=box[:2])


def from_geojson(found: Any, width: int, height: int) -> list[dict[str, Any]]:
    """Return the polygons of a GeoJSON object as things drawn, cut at the border of the image.

    Raises
    ------
    MaskError
        As `histomend.masks.geojson_to_mask`.
    """
    # All positions as one stroke, unchecked, as the reader below says best what is wrong with them.
    points = list(_points(found, 0))
    all_of_it = Drawn.model_construct(kind="stroke", rings=[], points=points, radius=0, erase=False)
    box = box_of([all_of_it], width, height) or (0, 0, width, min(height, 1))
    if box[2] * box[3] > MOST_PX:
        raise MaskError("The annotations reach over too much of the slide. Export fewer of them.")
    mask = geojson_to_mask(found, (box[3], box[2]), origin=box[:2])
    return polygons_of(mask, box[:2])


def polygons_of(mask: Mask, origin: tuple[int, int]) -> list[dict[str, Any]]:
    """Return the regions of a mask as things drawn, the largest first."""
    found = []
    for feature in mask_to_geojson(mask, origin=origin)["features"]:
        geometry = feature["geometry"]
        parts = geometry["coordinates"]
        for rings in [parts] if geometry["type"] == "Polygon" else parts:
            outer = np.array(rings[0])
            x, y = (int(n) for n in outer.min(axis=0))
            right, bottom = (int(n) for n in outer.max(axis=0))
            found.append(
                {
                    "kind": "polygon",
                    "rings": rings,
                    "erase": False,
                    "box": [x, y, right - x, bottom - y],
                    "area_px": round(sum(_area(np.array(ring)) for ring in rings)),
                }
            )
    return sorted(found, key=lambda item: -item["area_px"])


def _area(ring: npt.NDArray[Any]) -> float:
    """Return the area in a closed ring, negative where it runs the other way round (a hole)."""
    x, y = ring[:, 0].astype(float), ring[:, 1].astype(float)
    return float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2)


def _points(value: Any, depth: int) -> Iterator[Point]:
    """Yield whatever looks like a position in a GeoJSON object."""
    if depth > 12:
        return
    if isinstance(value, dict):
        for key in ("features", "geometries", "geometry", "coordinates"):
            yield from _points(value.get(key), depth + 1)
    elif isinstance(value, list):
        numbers = [v for v in value[:2] if isinstance(v, int | float)]
        if len(numbers) == 2 and all(abs(v) < _FAR for v in numbers):
            yield float(numbers[0]), float(numbers[1])
            return
        for item in value:
            yield from _points(item, depth + 1)
