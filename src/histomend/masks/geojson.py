"""Masks as GeoJSON polygons, as QuPath exports and opens annotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from histomend.errors import MaskError
from histomend.masks.artifact_classes import INSTEAD
from histomend.masks.geometry import EIGHT, Mask, bounding_box
from histomend.masks.polygons import PolygonFiller, trace_labels

Ring = npt.NDArray[np.float64]
Polygon = list[list[list[int]]]
"""Closed rings of corners [x, y]: the outer one, then the holes."""

_WITHOUT_AREA = ("Point", "MultiPoint", "LineString", "MultiLineString")
_UNCLASSIFIED = "Unclassified"
_REMEDY = "In QuPath, export closed annotations as GeoJSON."
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
    features = [
        _feature(pieces, {"name": f"Artifact {number}", "classification": _ARTIFACT})
        for number, pieces in enumerate(traced(mask, origin), 1)
    ]
    return {"type": "FeatureCollection", "features": features}


@dataclass(frozen=True)
class Annotation:
    """A region as QuPath shows it.

    Parameters
    ----------
    mask : (h, w) bool
        Of a part of the image that holds it.
    origin : (x, y)
        Of that part, in pixels of the image.
    name, kind : str
        Its own name, and its class.
    color : (r, g, b)
        Of the class.
    measurements : numbers by name
    scale : (across, down)
        Of coordinates.
    """

    mask: Mask
    origin: tuple[int, int]
    name: str
    kind: str
    color: tuple[int, int, int]
    measurements: Mapping[str, float]
    scale: tuple[float, float] = (1, 1)


def annotations_to_geojson(annotations: Iterable[Annotation]) -> dict[str, Any]:
    """Trace regions, each with a class and measurements of its own.

    Returns
    -------
    dict
        A GeoJSON FeatureCollection in pixels of the image; one feature per annotation.
    """
    features = []
    for each in annotations:
        pieces = [piece for parts in traced(each.mask, each.origin) for piece in parts]
        if pieces:
            about = {
                "name": each.name,
                "classification": {"name": each.kind, "color": list(each.color)},
                "measurements": dict(each.measurements),
            }
            if each.scale != (1, 1):
                across, down = each.scale
                pieces = [
                    [[[round(x * across), round(y * down)] for x, y in ring] for ring in rings]
                    for rings in pieces
                ]
            features.append(_feature(pieces, about))
    return {"type": "FeatureCollection", "features": features}


def traced(mask: Mask, origin: tuple[int, int]) -> list[list[Polygon]]:
    """Return the polygons of each connected region of a mask, in their order."""
    values = np.asarray(mask, dtype=bool)
    box = bounding_box(values)
    polygons: dict[int, list[Polygon]] = {}
    if box is not None:
        x, y, w, h = box
        inside = values[y : y + h, x : x + w]
        parts, _ = ndimage.label(inside)  # pieces joined by edges: one polygon each
        whole, _ = ndimage.label(inside, structure=EIGHT)
        offset = np.array([x + origin[0], y + origin[1]])
        for rings, (top, left) in trace_labels(parts):
            closed = [(ring + offset)[[*range(len(ring)), 0]].tolist() for ring in rings]
            polygons.setdefault(int(whole[top, left]), []).append(closed)
    return [pieces for _, pieces in sorted(polygons.items())]


def geojson_to_mask(
    obj: Any,
    shape: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    classes: Sequence[str] | None = None,
    where: str = "the GeoJSON",
) -> Mask:
    """Fill the polygons of a GeoJSON object: a pixel is masked if its centre lies inside.

    What reaches over the border is cut off. See `fill_geojson`, which also says what was read.

    Parameters
    ----------
    obj : dict or list
        FeatureCollection, Feature, geometry, or a list of them (QuPath writes all of these).
    shape : (height, width)
    origin : (x, y)
        Subtracted from all coordinates, for a region of a larger image.
    classes : sequence of str, optional
        Names of the classes that count, by default all.
    where : str
        Named in messages.

    Returns
    -------
    (H, W) bool

    Raises
    ------
    MaskError
        No GeoJSON, no shape with an area in it, none of a class, or none that covers a pixel.
    """
    return fill_geojson(obj, shape, origin=origin, classes=classes, where=where)[0]


def fill_geojson(
    obj: Any,
    shape: tuple[int, int],
    *,
    origin: tuple[int, int] = (0, 0),
    classes: Sequence[str] | None = None,
    where: str = "the GeoJSON",
) -> tuple[Mask, tuple[str, ...]]:
    """Do what `geojson_to_mask` does, and say which classes were joined and what has no area.

    Returns
    -------
    mask : (H, W) bool
    notices : tuple of str
    """
    chosen, notices = polygons_of(obj, classes, where)
    mask = np.zeros(shape, dtype=bool)
    filler = PolygonFiller(mask)
    offset = np.asarray(origin, dtype=float)
    for rings in chosen:
        filler.add([ring - offset for ring in rings])
    filler.finish()
    if chosen and not mask.any():
        raise MaskError(
            f"{where}: none of its {len(chosen)} polygon(s) covers a pixel of the image or "
            f"region, which is {shape[1]} x {shape[0]} px. Are the coordinates in pixels at full "
            "resolution, and of this image?"
        )
    return mask, notices


def polygons_of(
    obj: Any, classes: Sequence[str] | None, where: str
) -> tuple[list[list[Ring]], tuple[str, ...]]:
    """Return the polygons of a GeoJSON object, each a list of rings, and what is to be said.

    Raises
    ------
    MaskError
    """
    found = _Shapes(where)
    found.collect(obj, "", 0)
    return found.of(classes), found.notices(classes)


def is_tissue_outline(obj: Any) -> bool:
    """Tell whether a GeoJSON object is the tissue that TRIDENT found: numbered, without classes."""
    features = obj.get("features") if isinstance(obj, dict) else None
    return (
        isinstance(features, list)
        and bool(features)
        and all(
            isinstance(feature, dict)
            and isinstance(feature.get("properties"), dict)
            and "tissue_id" in feature["properties"]
            for feature in features
        )
    )


def _feature(pieces: list[Polygon], about: dict[str, Any]) -> dict[str, Any]:
    single = len(pieces) == 1
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": pieces[0] if single else pieces,
        },
        "properties": {"objectType": "annotation", **about},
    }


def _is_kept_as_it_is(name: str) -> bool:
    return name.casefold().replace(" ", "_") in INSTEAD


class _Shapes:
    """The polygons of a GeoJSON object with their classes, and what has no area."""

    def __init__(self, where: str):
        self.where = where
        self.polygons: list[tuple[str, list[Ring]]] = []
        self.passed: Counter[str] = Counter()

    def collect(self, obj: Any, name: str, depth: int) -> None:
        """Find all polygons, however deep they are wrapped."""
        if depth > 8:
            raise MaskError(f"{self.where}: nested too deeply to be GeoJSON.")
        if isinstance(obj, list):
            for item in obj:
                self.collect(item, name, depth + 1)
            return
        kind = obj.get("type") if isinstance(obj, dict) else None
        if obj is None and depth:
            self.passed["feature without a shape"] += 1
        elif kind == "FeatureCollection":
            self.collect(obj.get("features") or [], name, depth + 1)
        elif kind == "GeometryCollection":
            self.collect(obj.get("geometries") or [], name, depth + 1)
        elif kind == "Feature":
            self.collect(obj.get("geometry"), _class_of(obj), depth + 1)
        elif kind == "Polygon":
            self._take(obj.get("coordinates"), name)
        elif kind == "MultiPolygon":
            parts = obj.get("coordinates") or []
            if not isinstance(parts, list):
                raise self._malformed("no list")
            if not parts:
                self.passed["empty polygon"] += 1
            for part in parts:
                self._take(part, name)
        elif kind in _WITHOUT_AREA:
            self.passed[kind] += 1
        else:
            raise MaskError(
                f"{self.where}: a mask needs Polygon or MultiPolygon shapes, found "
                f"{_plain(str(kind or type(obj).__name__))}. {_REMEDY}"
            )

    def of(self, classes: Sequence[str] | None) -> list[list[Ring]]:
        """Return the polygons of some classes; names count without their case."""
        if not self.polygons and self.passed:
            raise MaskError(
                f"{self.where}: a mask needs Polygon or MultiPolygon shapes that have an area, and "
                f"there is only {_listed(self.passed)}. {_REMEDY}"
            )
        if not classes:
            # Tissue that is there and badly seen is not replaced unless its class is named.
            kept = [rings for name, rings in self.polygons if not _is_kept_as_it_is(name)]
            return kept or [rings for _, rings in self.polygons]
        wanted = {name.strip().casefold() for name in classes}
        chosen = [rings for name, rings in self.polygons if name.casefold() in wanted]
        if not chosen:
            raise MaskError(
                f"{self.where}: no shape is of class {', '.join(classes)}. There is "
                f"{_listed(self._classes()) or 'none at all'}."
            )
        return chosen

    def notices(self, classes: Sequence[str] | None) -> tuple[str, ...]:
        """Say which classes were joined, and what was passed over."""
        said: tuple[str, ...] = ()
        found = self._classes()
        if classes and len(found) > 1:
            said += (f"of the GeoJSON only the class {', '.join(classes)} counts",)
        left = {name: count for name, count in found.items() if _is_kept_as_it_is(name)}
        if not classes and 0 < len(left) < len(found):
            said += (
                f"of the GeoJSON what is {_listed(Counter(left))} is not restored, as its tissue "
                "is there; name the class with --class to restore it all the same",
            )
            found = found - Counter(left)
        if not classes and len(found) > 1:
            said += (
                f"the GeoJSON holds shapes of several classes, which were joined: "
                f"{_listed(found)}; choose with --class",
            )
        if self.passed:
            said += (f"what has no area in the GeoJSON was passed over: {_listed(self.passed)}",)
        return said

    def _classes(self) -> Counter[str]:
        return Counter(name or _UNCLASSIFIED for name, _ in self.polygons)

    def _take(self, polygon: Any, name: str) -> None:
        if polygon in (None, [], {}, ""):
            self.passed["empty polygon"] += 1
            return
        if not isinstance(polygon, list):
            raise self._malformed("no list")
        rings = [self._ring(points) for points in polygon]
        if rings[0] is None:
            self.passed["empty polygon"] += 1
            return
        whole = [ring for ring in rings if ring is not None]
        if len(whole) < len(rings):
            self.passed["empty hole"] += len(rings) - len(whole)
        self.polygons.append((name or _UNCLASSIFIED, whole))

    def _ring(self, points: Any) -> Ring | None:
        """Return (N, 2) corners; None if there are fewer than three."""
        if points in (None, [], {}, ""):
            return None
        try:
            ring = np.array([point[:2] for point in points], dtype=float)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise self._malformed(str(error)) from error
        if ring.ndim != 2 or ring.shape[1] != 2:
            raise self._malformed("points are (x, y)")
        if not np.isfinite(ring).all() or np.abs(ring).max() > 1e9:
            raise MaskError(f"{self.where}: a polygon has coordinates that are no pixel positions.")
        return ring if len(ring) >= 3 else None

    def _malformed(self, reason: str) -> MaskError:
        return MaskError(
            f"{self.where}: a polygon's coordinates are malformed ({_plain(reason)}). {_REMEDY}"
        )


def _class_of(feature: dict[str, Any]) -> str:
    """Return the class of a feature as QuPath writes it: one name, or several of a derived one."""
    properties = feature.get("properties")
    said = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(said, dict):
        names = said.get("names")
        said = ": ".join(map(str, names)) if isinstance(names, list) else said.get("name")
    return _plain(said) if isinstance(said, str) else ""


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _plain(text: str) -> str:
    """Return a text from a file as it can be shown anywhere: no control signs, no half letters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]
