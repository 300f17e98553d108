"""What detection writes: QuPath annotations, an image of labels, an overview, tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from histomend.detect.found import Found
from histomend.errors import SettingError
from histomend.image import write_atomically, write_text
from histomend.masks.artifact_classes import ARTIFACTS
from histomend.masks.geojson import Annotation, annotations_to_geojson

Pixels = npt.NDArray[np.uint8]

COLOURS = {
    "fold": (230, 25, 75),
    "bubble": (0, 170, 200),
    "ink": (0, 60, 255),
    "debris": (150, 110, 0),
    "dark_spot": (20, 20, 20),
    "out_of_focus": (0, 160, 60),
    "streak": (255, 130, 0),
    "haze": (130, 130, 255),
    "scanner": (190, 0, 240),
}
"""By class, in QuPath and in the overview."""
OVERVIEW_PX = 1600


def quality_annotations(
    found: Found,
    kinds: Iterable[str] | None = None,
    origin: tuple[int, int] = (0, 0),
    scale: tuple[float, float] = (1, 1),
) -> dict[str, Any]:
    """Return regions as a GeoJSON FeatureCollection that QuPath opens, classified and measured.

    Parameters
    ----------
    kinds : names of classes, optional
        All of them unless given.
    origin : (x, y)
        Added to all coordinates, for a part of a larger image.
    scale : (across, down)
        Of coordinates: pixels of the slide per pixel of the level that was looked at.
    """

    def each() -> Iterable[Annotation]:
        for region in found.of(ARTIFACTS if kinds is None else kinds):
            down, across = (int(np.ceil(value)) for value in found.scale)
            x, y, w, h = region.box
            left, top = max(0, x - across), max(0, y - down)
            right = min(found.places.shape[1], x + w + across)
            bottom = min(found.places.shape[0], y + h + down)
            part = (left, top, right - left, bottom - top)
            yield Annotation(
                found.region_mask(region, part),
                (left + origin[0], top + origin[1]),
                f"{title(region.kind)} {region.number}",
                title(region.kind),
                COLOURS[region.kind],
                {
                    "Probability": round(region.probability, 4),
                    "Area µm^2": round(region.area_um2, 1),
                },
                scale,
            )

    return annotations_to_geojson(each())


def title(kind: str) -> str:
    """Return the name of a class as people read it: "Out of focus"."""
    return kind.replace("_", " ").capitalize()


def overview(pixels: Pixels, found: Found, longest_px: int = OVERVIEW_PX) -> Pixels:
    """Draw an image small, with coloured outlines of what was found and a legend.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
        The image, at any size.

    Returns
    -------
    (h, w, 3) uint8
    """
    scale = min(1.0, longest_px / max(pixels.shape[:2]))
    size = tuple(max(1, round(n * scale)) for n in pixels.shape[1::-1])
    picture = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    width = max(1, round(max(size) / 500))
    names = [name for name in ARTIFACTS if any(r.kind == name for r in found.regions)]
    for name in names:
        numbers = [region.number for region in found.of([name])]
        mine = np.isin(found.labels, numbers).astype(np.uint8)
        small = cv2.resize(mine, size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, COLOURS[name], width)
    rows = [(name, f"{title(name)} {found.shares()[name]:.2%}") for name in names]
    legend = np.full((28 * max(1, len(rows)) + 12, picture.shape[1], 3), 255, np.uint8)
    for row, (name, text) in enumerate(rows or [("", "no artifact was found")]):
        y = 28 * row + 24
        if name:
            cv2.rectangle(legend, (8, y - 12), (26, y + 2), COLOURS[name], -1)
        cv2.putText(
            legend, text, (34, y), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA
        )
    return np.concatenate([np.asarray(picture, np.uint8), legend])


_GRANDQC_LABELS = {
    "fold": 2,
    "debris": 3,
    "dark_spot": 3,
    "ink": 4,
    "bubble": 5,
    "out_of_focus": 6,
    "haze": 6,
}
"""What GrandQC calls "dark spot" are dark spots and foreign objects; haze blurs as defocus does. Of
streaks and marks of a scanner it knows nothing: there is tissue."""
_GRANDQC_TISSUE, _GRANDQC_BACKGROUND = 1, 7


def grandqc_labels(found: Found) -> Pixels:
    """Return the labels that GrandQC gives, (H, W) uint8, to be compared with its own maps.

    1 tissue, 2 fold, 3 dark spot or foreign object, 4 pen marking, 5 edge or air bubble, 6 out of
    focus, 7 background (Weng et al. 2024).
    """
    height, width = found.places.shape
    tissue = found.places.tissue.astype(np.uint8)
    there = cv2.resize(tissue, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    labels = np.where(there, _GRANDQC_TISSUE, _GRANDQC_BACKGROUND).astype(np.uint8)
    for kind in {region.kind for region in found.regions}:
        labels[found.mask([kind])] = _GRANDQC_LABELS.get(kind, _GRANDQC_TISSUE)
    return labels


def write_annotations(path: Path, content: Mapping[str, Any]) -> None:
    """Write GeoJSON."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
    write_text(path, text, force=True)


def write_plain(path: Path, values: Pixels) -> None:
    """Write labels (H, W) as a grey PNG, as other tools do."""
    write_atomically(path, lambda file: PIL.Image.fromarray(values).save(file, "PNG"))


def write_picture(path: Path, values: Pixels) -> None:
    """Write labels (H, W) or an overview (H, W, 3) as PNG."""
    picture = PIL.Image.fromarray(values)
    if values.ndim == 2:
        # Labels show as the colours of their classes, and stay the numbers that they are.
        picture = PIL.Image.fromarray(values, "P")
        picture.putpalette([255, 255, 255, *(v for name in ARTIFACTS for v in COLOURS[name])])
    write_atomically(path, lambda file: picture.save(file, "PNG"))


def write_summary(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one row per image: .csv or .json, by suffix.

    Raises
    ------
    SettingError
        Another suffix.
    OutputError
    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise SettingError(f"--summary {path}: tables are written as .csv or .json.")
    if path.suffix.lower() == ".json":
        text = json.dumps(list(rows), indent=1, ensure_ascii=False) + "\n"
    else:
        names = list(dict.fromkeys(name for row in rows for name in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        text = table.getvalue()
    write_text(path, text, force=True)
