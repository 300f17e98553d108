"""Masks as GeoJSON polygons, as QuPath exports and opens annotations."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histomend.errors import MaskError
from histomend.masks.geometry import EIGHT, Mask, bounding_box
from histomend.masks.polygons import fill_polygon, trace_labels

_ARTIFACT = {"name": "Artifact", "color": [255, 0, 180]}


def mask_to_geojson(mask: Mask, *, origin: tuple[int, int] = (0, 0)) -> dict[str, Any]:
    """Trace a mask along its pixel edges into polygons that QuPath opens as annotations.

    One feature per connected region (diagonal neighbours count), with holes. All rings are
    simple (no ring touches itself), which QuPath's geometry library asks for.

    Parameters
    ----------
    mask : (H, W) bool
    origin : (x, y)
        Added to all coordinates.

    Returns
    -------
    dict
        A GeoJSON FeatureCollection in full-resolution pixels; `geojson_to_mask` gives exactly
        the same mask back.
    """
    values = np.asarray(mask, dtype=bool)
    box = bounding_box(values)
    features: list[dict[str, Any]] = []
    if box is not None:
        x, y, w, h = box
        inside = values[y : y + h, x : x + w]
        parts, _ = ndimage.label(inside)  # pieces joined by edges: one polygon each
        whole, _ = ndimage.label(inside, structure=EIGHT)
        polygons: dict[int, list[list[list[list[int]]]]] = {}
        offset = np.array([x + origin[0], y + origin[1]])
        for rings, (top, left) in trace_labels(parts):
            closed = [(ring + offset)[[*range(len(ring)), 0]].tolist() for ring in rings]
            polygons.setdefault(int(whole[top, left]), []).append(closed)
        features = [_feature(number, pieces) for number, pieces in sorted(polygons.items())]
    return {"type": "FeatureCollection", "features": features}


def geojson_to_mask(
    obj: Any,
    shape: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    where: str = "the GeoJSON",
) -> Mask:
    """Fill the polygons of a GeoJSON object: a pixel is masked if its centre lies inside.

    All polygons count, whatever their class; what reaches over the border is cut off.

    Parameters
    ----------
    obj : dict or list
        FeatureCollection, Feature, geometry, or a list of them (QuPath writes all of these).
    shape : (height, width)
    origin : (x, y)
        Subtracted from all coordinates, for a region of a larger image.
    where : str
        Named in messages.

    Returns
    -------
    (H, W) bool

    Raises
    ------
    MaskError
        No GeoJSON, no polygons in it, or none that covers a pixel of the image.
    """
    mask = np.zeros(shape, dtype=bool)
    polygons: list[Any] = []
    _collect(obj, polygons, where, 0)
    for polygon in polygons:
        rings = _rings(polygon, where)
        fill_polygon(mask, [ring - np.asarray(origin, dtype=float) for ring in rings])
    if polygons and not mask.any():
        raise MaskError(
            f"{where}: none of its {len(polygons)} polygon(s) covers a pixel of the image or "
            f"region, which is {shape[1]} x {shape[0]} px. Are the coordinates in pixels at full "
            "resolution, and of this image?"
        )
    return mask


def _feature(number: int, pieces: list[list[list[list[int]]]]) -> dict[str, Any]:
    single = len(pieces) == 1
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": pieces[0] if single else pieces,
        },
        "properties": {
            "objectType": "annotation",
            "name": f"Artifact {number}",
            "classification": _ARTIFACT,
        },
    }


def _collect(obj: Any, polygons: list[Any], where: str, depth: int) -> None:
    """Find all polygons, however deep they are wrapped."""
    if depth > 8:
        raise MaskError(f"{where}: nested too deeply to be GeoJSON.")
    if isinstance(obj, list):
        for item in obj:
            _collect(item, polygons, where, depth + 1)
        return
    kind = obj.get("type") if isinstance(obj, dict) else None
    if kind == "FeatureCollection":
        _collect(obj.get("features", []), polygons, where, depth + 1)
    elif kind == "GeometryCollection":
        _collect(obj.get("geometries", []), polygons, where, depth + 1)
    elif kind == "Feature":
        _collect(obj.get("geometry"), polygons, where, depth + 1)
    elif kind == "Polygon":
        polygons.append(obj.get("coordinates"))
    elif kind == "MultiPolygon" and isinstance(obj.get("coordinates"), list):
        polygons.extend(obj["coordinates"])
    else:
        raise MaskError(
            f"{where}: a mask needs Polygon or MultiPolygon shapes, found {kind or type(obj)}. "
            "In QuPath, export closed annotations as GeoJSON."
        )


def _rings(polygon: Any, where: str) -> list[npt.NDArray[np.float64]]:
    try:
        rings = [np.array([point[:2] for point in ring], dtype=float) for ring in polygon]
    except (TypeError, ValueError, KeyError) as error:
        raise MaskError(f"{where}: a polygon's coordinates are malformed ({error}).") from error
    for ring in rings:
        if ring.ndim != 2 or ring.shape[0] < 3 or ring.shape[1] != 2:
            raise MaskError(f"{where}: a polygon needs rings of at least three points (x, y).")
        if not np.isfinite(ring).all() or np.abs(ring).max() > 1e9:
            raise MaskError(f"{where}: a polygon has coordinates that are no pixel positions.")
    return rings
