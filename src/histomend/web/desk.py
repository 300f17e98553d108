"""What lies on the desk: the images that were opened, their versions, and nothing else."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from histomend.errors import HistomendError, InputError
from histomend.ledger import Record
from histomend.masks import regions
from histomend.web.companions import Overlay, Version, opened_versions, original, result_of
from histomend.web.contrast import Contrast, as_jpeg, as_png, first_contrast, whole_range
from histomend.web.pyramid import TILE_PX, ArrayPyramid, Pyramid, SlidePyramid, last_level

MOST_BYTES = 3_000_000_000
"""Of images that are kept in memory; those that were not looked at for longest go first."""
_MOST_REGIONS = 500
_WHOLE = 0.9  # of an image: what changed so much of it was no region
_T = TypeVar("_T")


class Shelf:
    """Keeps what was loaded, up to some bytes; what is asked for twice at once is loaded once."""

    def __init__(self, most: int = MOST_BYTES) -> None:
        self.most = most
        self._held: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._loading: dict[Any, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: Any, load: Callable[[], _T], size: Callable[[_T], int] = lambda _: 0) -> _T:
        """Return what is kept under a key, loaded if it is not there."""
        with self._lock:
            own = self._loading.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    found: _T = self._held[key][0]
                    return found
            loaded = load()
            with self._lock:
                self._held[key] = loaded, size(loaded)
                while len(self._held) > 1 and sum(n for _, n in self._held.values()) > self.most:
                    self._held.popitem(last=False)
            return loaded


@dataclass
class Item:
    """An image with its versions, the first of which is what it all began with.

    Parameters
    ----------
    number : int
    versions : list of Version
    path : Path
        The file that jobs work on.
    problems : list of str
        What could not be read of what belongs to it.
    """

    number: int
    versions: list[Version]
    path: Path
    problems: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the file that was opened."""
        return self.path.name


class Desk:
    """The images that were opened; nothing else can be asked for.

    Parameters
    ----------
    paths : files
    pair : sequence of files, optional
        The first is one image, and the others are what was made of it.
    """

    def __init__(self, paths: Sequence[Path], pair: Sequence[Path] = ()) -> None:
        self.items: list[Item] = []
        self._shelf = Shelf()
        if pair:
            versions = [original(pair[0]), *(result_of(path, in_source=True) for path in pair[1:])]
            self.items.append(Item(0, versions, pair[0]))
        taken: set[Path] = set()
        found = []
        for path in paths:
            problems: list[str] = []
            try:
                versions = list(opened_versions(path, paths))
            except HistomendError as error:
                versions, problems = [original(path)], [str(error)]
            # Jobs go on from what the image was, if that is a file.
            source = versions[0].path or path
            if len(versions) > 1 and source in paths:
                taken.add(source)
            found.append((versions, path, source, problems))
        results: dict[Path, list[Version]] = {}
        for versions, path, source, problems in found:
            if path in taken and len(versions) == 1:
                continue
            if source in results:  # several results of one image are versions of it
                results[source] += versions[1:]
                continue
            results[source] = versions
            self.items.append(Item(len(self.items), versions, source, problems))

    def item(self, number: int) -> Item:
        """Return an image.

        Raises
        ------
        InputError
            There is none of that number.
        """
        if not 0 <= number < len(self.items):
            raise InputError(f"There is no image {number}: {len(self.items)} were opened.")
        return self.items[number]

    def of_path(self, path: Path) -> Item | None:
        """Return the image of a file, None if it was not opened."""
        return next((item for item in self.items if item.path == path), None)

    def pyramid(self, item: Item, version: int) -> Pyramid:
        """Return the pixels of a version.

        Raises
        ------
        InputError
            It cannot be read, or there is no such version.
        """
        chosen = _nth(item.versions, version)
        return self._shelf.get((item.number, version), chosen.load, lambda loaded: loaded.bytes)

    def overlay(self, item: Item, version: int, name: str) -> tuple[Overlay, Pyramid, float]:
        """Return an overlay, its values, and its largest value.

        Raises
        ------
        InputError
        """
        for overlay in _nth(item.versions, version).overlays:
            if overlay.name == name:
                key = (item.number, version, name)
                pyramid = self._shelf.get(key, overlay.load, lambda loaded: loaded.bytes)
                most = self._shelf.get((*key, "most"), partial(_most, pyramid))
                return overlay, pyramid, most
        raise InputError(f"There is no overlay {name!r} of this image.")

    def tile(
        self, item: Item, version: int, name: str, place: tuple[int, int, int, int], look: Contrast
    ) -> tuple[bytes, str]:
        """Return the bytes of a tile and their media type.

        Parameters
        ----------
        name : "image", or that of an overlay.
        place : (level, column, row, plane)
        """
        if name == "image":
            pyramid = self.pyramid(item, version)
            pixels = look.shown(pyramid.tile(*place))
            if isinstance(pyramid, SlidePyramid):
                return as_jpeg(pixels), "image/jpeg"
            return as_png(pixels), "image/png"
        overlay, pyramid, most = self.overlay(item, version, name)
        level, column, row, plane = place
        values = pyramid.tile(level, column, row, min(plane, pyramid.planes - 1))
        return as_png(overlay.shown(values, most)), "image/png"

    def about(self, item: Item) -> dict[str, Any]:
        """Return what the page needs to know of an image; versions that cannot be read are told."""
        first = self.pyramid(item, 0)
        look = first_contrast(first)
        problems = list(item.problems)
        versions = []
        for number, version in enumerate(item.versions):
            try:
                versions.append(self._about_version(item, number, version, first))
            except HistomendError as error:
                problems.append(str(error))
        full = whole_range(first.dtype)
        return {
            "number": item.number,
            "name": item.name,
            "path": str(item.path),
            "width": first.width,
            "height": first.height,
            "mpp": first.mpp,
            "planes": first.planes,
            "channels": first.channels,
            "dtype": first.dtype.name,
            "slide": isinstance(first, SlidePyramid),
            "contrast": {"low": look.low, "high": look.high, "gamma": look.gamma},
            "range": full,
            "notices": [*first.notices, *problems],
            "versions": versions,
        }

    def _about_version(
        self, item: Item, number: int, version: Version, first: Pyramid
    ) -> dict[str, Any]:
        own = self.pyramid(item, number)
        region = version.region or (0, 0, first.width, first.height)
        x, y, w, h = region
        if x + w > first.width or y + h > first.height:
            raise InputError(f"{version.name}: lies outside {item.name}, so it is not of it.")
        return {
            "number": number,
            "name": version.name,
            "width": own.width,
            "height": own.height,
            "planes": own.planes,
            "mpp": own.mpp,
            "tile": TILE_PX,
            "last_level": last_level(own.width, own.height),
            "region": region,
            "file": version.path is not None,
            "overlays": [_about_overlay(overlay) for overlay in version.overlays],
            "record": None if version.record is None else summary(version.record),
            "changes": self.changes(item, number),
        }

    def changes(self, item: Item, version: int) -> list[dict[str, Any]]:
        """Return the regions that differ from the first version, the largest first."""
        chosen = item.versions[version]
        if version == 0 and len(item.versions) > 1:
            return []
        key = (item.number, version, "changes")
        return self._shelf.get(key, lambda: self._find_changes(item, version, chosen))

    def _find_changes(self, item: Item, version: int, chosen: Version) -> list[dict[str, Any]]:
        if chosen.record is not None:
            left, top = (chosen.region or (0, 0))[:2]
            found: list[dict[str, Any]] = [
                {
                    "box": [c.bbox[0] + left, c.bbox[1] + top, c.bbox[2], c.bbox[3]],
                    "area_px": c.area_px,
                    "area_um2": c.area_um2,
                    "uncertainty": c.uncertainty,
                }
                for c in chosen.record.regions
            ]
            return sorted(found, key=lambda change: -change["area_px"])[:_MOST_REGIONS]
        one, other = self.pyramid(item, 0), self.pyramid(item, version)
        if not (isinstance(one, ArrayPyramid) and isinstance(other, ArrayPyramid)):
            return []
        if version == 0 or one.values.shape != other.values.shape:
            return []
        differs = (one.values != other.values).any(axis=(0, 3))
        if differs.mean() > _WHOLE:
            return []
        mpp = one.mpp
        found = []
        for x, y, w, h in regions(differs, merge_px=8):
            area = int(np.count_nonzero(differs[y : y + h, x : x + w]))
            um2 = None if mpp is None else area * mpp**2
            found.append(
                {"box": [x, y, w, h], "area_px": area, "area_um2": um2, "uncertainty": None}
            )
        return sorted(found, key=lambda change: -change["area_px"])[:_MOST_REGIONS]


def summary(record: Record) -> dict[str, Any]:
    """Return what a record says, without pixels."""
    model = record.model or {}
    return {
        "task": record.task,
        "method": record.method,
        "model": model.get("name"),
        "model_sha256": model.get("sha256"),
        "created": record.created,
        "seed": record.seed,
        "nfe": record.nfe,
        "units": record.units,
        "options": record.options,
        "settings": record.settings,
        "figures": record.figures,
        "source": asdict(record.source),
        "notices": record.notices,
        "note": record.note,
        "histomend": record.histomend,
    }


def _about_overlay(overlay: Overlay) -> dict[str, Any]:
    """Return what the page needs to know of an overlay."""
    return {"name": overlay.name, "title": overlay.title, "kind": overlay.kind}


def _nth(versions: Sequence[Version], number: int) -> Version:
    if not 0 <= number < len(versions):
        raise InputError(f"There is no version {number} of this image.")
    return versions[number]


def _most(pyramid: Pyramid) -> float:
    if isinstance(pyramid, ArrayPyramid):
        return float(pyramid.values.max())
    return float(pyramid.overview(0).max())
