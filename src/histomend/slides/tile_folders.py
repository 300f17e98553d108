"""Slides that are folders of tiles: Deep Zoom (NAME.dzi beside NAME_files) and OME-Zarr."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import PIL.Image

from histomend.errors import (
    HistomendError,
    MissingDependencyError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image.pixels import MIN_SIDE, Frame, Image, Pixels, Region, plausible_mpp
from histomend.image.reading import file_sha256
from histomend.image.regular_files import check_regular_file

SUFFIXES = (".dzi", ".zarr")
_METADATA = (".zattrs", "zarr.json")  # of OME-Zarr 0.4 and 0.5
_MOST_METADATA = 1 << 20
_LARGEST = 1 << 24
_LARGEST_TILE = 1 << 13
_SMALLEST_LEVEL = 128
_PLAIN = {"micrometer": 1.0, "micron": 1.0, "µm": 1.0, "nanometer": 1e-3, "millimeter": 1e3}


class FolderReader(Protocol):
    """As `histomend.slides.whole.Reader`, and what is known of the slide."""

    levels: list[tuple[int, int]]
    factors: list[float]
    mpp: float | None
    lossy: bool
    icc: bytes | None

    def read(self, region: Region, level: int = 0) -> Pixels:
        """Return (h, w, 3) of a region (x, y, w, h), in pixels of its level."""

    def beside(self) -> dict[str, Pixels]:
        """Return the images beside the slide."""


def is_tile_folder(path: Path) -> bool:
    """Tell whether a path is a Deep Zoom description, or the folder of an OME-Zarr."""
    # os.path: False, whatever the machine refuses; the reader then says what it was.
    if path.suffix.lower() == ".dzi":
        return os.path.isfile(path)  # noqa: PTH113
    names = (str(path / name) for name in _METADATA)
    return os.path.isdir(path) and any(map(os.path.isfile, names))  # noqa: PTH112


def description_of(path: Path) -> Path:
    """Return the file that says what the tiles are."""
    if path.is_file():
        return path
    return next(path / name for name in _METADATA if (path / name).is_file())


def folder_sha256(path: Path) -> str:
    """Return the hash of the names and bytes of all files of such a slide."""
    digest = hashlib.sha256()
    roots = [path.with_name(f"{path.stem}_files"), path] if path.is_file() else [path]
    for root in roots:
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for file in files:
            check_regular_file(file)
            name = "" if file == path else file.relative_to(root).as_posix()
            digest.update(f"{name}\0{file.stat().st_size}\0".encode("utf-8", "surrogateescape"))
            with file.open("rb") as opened:
                while block := opened.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def slide_sha256(path: Path) -> str:
    """Return the hash of a slide: of its bytes, or of all files of a folder of tiles.

    Raises
    ------
    UnreadableImageError
    """
    return folder_sha256(path) if is_tile_folder(path) else file_sha256(path)


def open_tile_folder(path: Path) -> tuple[Image, FolderReader]:
    """Open such a slide.

    Returns
    -------
    about : Image
        The pixels of its corner, and what is known of it.
    reader : FolderReader

    Raises
    ------
    UnreadableImageError, UnsupportedImageError, MissingDependencyError
    """
    check_regular_file(description_of(path))
    reader: FolderReader
    reader = _deep_zoom(path) if path.is_file() else _ome_zarr(path)
    width, height = reader.levels[0]
    corner = 0, 0, min(width, MIN_SIDE), min(height, MIN_SIDE)
    frame = Frame(width, height)
    mpp = plausible_mpp(reader.mpp)
    about = Image(reader.read(corner), mpp, icc=reader.icc, lossy=reader.lossy, frame=frame)
    return about, reader


def _deep_zoom(path: Path) -> _DeepZoomReader:
    with path.open("rb") as file:
        text = file.read(_MOST_METADATA).decode("utf-8", "replace")
    found = {
        name: re.search(rf"\b{name}\s*=\s*[\"']([^\"']*)[\"']", text)
        for name in ("TileSize", "Overlap", "Format", "Width", "Height")
    }
    said = {name: match[1] for name, match in found.items() if match is not None}
    try:
        side, overlap = int(said["TileSize"]), int(said["Overlap"])
        width, height = int(said["Width"]), int(said["Height"])
        suffix = said["Format"].lower()
    except (KeyError, ValueError) as error:
        raise UnreadableImageError(
            f"{path}: is no description of a Deep Zoom slide ({error} is missing or no number). "
            "Export it again."
        ) from error
    fits = 0 < side <= _LARGEST_TILE and 0 <= overlap < side
    if not fits or not (0 < width <= _LARGEST and 0 < height <= _LARGEST):
        raise UnreadableImageError(
            f"{path}: claims {width} x {height} px in tiles of {side} px that overlap by "
            f"{overlap}. It is damaged."
        )
    if suffix not in ("jpg", "jpeg", "png"):
        raise UnsupportedImageError(
            f"{path}: its tiles are {suffix}, and read are jpeg and png. Export it again."
        )
    tiles = path.with_name(f"{path.stem}_files")
    if not tiles.is_dir():
        raise UnreadableImageError(
            f"{path}: the folder of its tiles, {tiles.name}, does not lie beside it. Copy it too."
        )
    return _DeepZoomReader(tiles, (width, height), side, overlap, suffix)


@dataclass
class _DeepZoomReader:
    folder: Path
    size: tuple[int, int]
    side: int
    overlap: int
    suffix: str
    mpp: float | None = None
    icc: bytes | None = None

    def __post_init__(self) -> None:
        self.lossy = self.suffix != "png"
        self._last = (max(self.size) - 1).bit_length()
        self.levels, self.factors = [], []
        for halvings in range(self._last + 1):
            width, height = (-(-side // (1 << halvings)) for side in self.size)
            if halvings and max(width, height) < _SMALLEST_LEVEL:
                break
            self.levels.append((width, height))
            self.factors.append(float(1 << halvings))

    def beside(self) -> dict[str, Pixels]:
        return {}

    def read(self, region: Region, level: int = 0) -> Pixels:
        x, y, w, h = region
        pixels = np.empty((h, w, 3), np.uint8)
        for row in range(y // self.side, (y + h - 1) // self.side + 1):
            for column in range(x // self.side, (x + w - 1) // self.side + 1):
                left, top = column * self.side, row * self.side
                tile = self._tile(level, column, row)
                x0, x1 = max(x, left), min(x + w, left + self.side)
                y0, y1 = max(y, top), min(y + h, top + self.side)
                # A tile begins with what it shares with those before it.
                dx = left - (self.overlap if column else 0)
                dy = top - (self.overlap if row else 0)
                pixels[y0 - y : y1 - y, x0 - x : x1 - x] = tile[
                    y0 - dy : y1 - dy, x0 - dx : x1 - dx
                ]
        return pixels

    def _tile(self, level: int, column: int, row: int) -> Pixels:
        path = self.folder / str(self._last - level) / f"{column}_{row}.{self.suffix}"
        width, height = self.levels[level]
        expected = self._length(column, width), self._length(row, height)
        try:
            check_regular_file(path)
            with PIL.Image.open(path, formats=("JPEG", "PNG")) as picture:
                if picture.size != expected:
                    raise ValueError(f"it has {picture.size} px in place of {expected}")
                return np.asarray(picture.convert("RGB"))
        except HistomendError:
            raise
        except Exception as error:  # Pillow has many
            raise UnreadableImageError(
                f"{path}: the tile cannot be read ({error}). Copy or export the slide again."
            ) from error

    def _length(self, number: int, length: int) -> int:
        start = max(0, number * self.side - self.overlap)
        return min(length, (number + 1) * self.side + self.overlap) - start


def _ome_zarr(path: Path) -> _ZarrReader:
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError(
            f'{path}: reading OME-Zarr needs zarr: pip install "histomend[zarr]"'
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a version of the format does not know
            group: Any = zarr.open_group(str(path), mode="r")
            attributes: Any = dict(group.attrs)
            image = attributes.get("ome", attributes)["multiscales"][0]
            axes = [axis["name"] for axis in image["axes"]]
            arrays = [group[each["path"]] for each in image["datasets"]]
            scale = _scale(image["datasets"][0])
            unit = image["axes"][axes.index("x")].get("unit", "")
            icc = _profile(image)
    except Exception as error:  # the library has many, and metadata can be anything
        raise UnreadableImageError(
            f"{path}: is no image of OME-Zarr ({type(error).__name__}: {error}). Name the folder "
            "of the image itself, or export it again."
        ) from error
    finest = arrays[0]
    count = dict(zip(axes, finest.shape, strict=True))
    problem = ""
    if sorted({*axes} - {"t", "z"}) != ["c", "x", "y"] or count["c"] != 3:
        problem = f"has axes {', '.join(axes)} with {count.get('c', 0)} channels"
    elif count.get("t", 1) != 1 or count.get("z", 1) != 1:
        problem = "is a stack or a series in time"
    elif finest.dtype not in (np.uint8, np.uint16):
        problem = f"has values of {finest.dtype}"
    if problem:
        raise UnsupportedImageError(
            f"{path}: {problem}, and slides are read that are one plane of red, green and blue in "
            "8 or 16 bits."
        )
    mpp = None
    if unit in _PLAIN and scale is not None:
        mpp = float(scale[axes.index("x")]) * _PLAIN[unit]
    return _ZarrReader(path, axes, arrays, mpp, icc)


def _scale(dataset: dict[str, Any]) -> list[float] | None:
    for each in dataset.get("coordinateTransformations", []):
        if each.get("type") == "scale":
            return list(each["scale"])
    return None


def _profile(image: dict[str, Any]) -> bytes | None:
    """Return the colour profile, where `histomend.slides.ome_zarr` leaves it."""
    text = dict(image.get("metadata") or {}).get("icc_profile")
    return base64.b64decode(text, validate=True) if text else None


class _ZarrReader:
    lossy = False

    def __init__(
        self,
        path: Path,
        axes: list[str],
        arrays: list[Any],
        mpp: float | None,
        icc: bytes | None,
    ) -> None:
        self._path, self._axes, self._arrays, self.mpp, self.icc = path, axes, arrays, mpp, icc
        self.levels = [
            (int(array.shape[axes.index("x")]), int(array.shape[axes.index("y")]))
            for array in arrays
        ]
        self.factors = [float(max(1, round(self.levels[0][0] / w))) for w, _ in self.levels]

    def beside(self) -> dict[str, Pixels]:
        return {}

    def read(self, region: Region, level: int = 0) -> Pixels:
        x, y, w, h = region
        places = {"x": slice(x, x + w), "y": slice(y, y + h), "c": slice(0, 3)}
        where = tuple(places.get(axis, 0) for axis in self._axes)
        try:
            values = np.asarray(self._arrays[level][where])
        except Exception as error:  # of the store, the codec, the disk
            raise UnreadableImageError(
                f"{self._path}: level {level} cannot be decoded at x={x}, y={y} ({error}). Copy or "
                "export the slide again."
            ) from error
        kept = [axis for axis in self._axes if axis in "yxc"]
        order = [kept.index(axis) for axis in "yxc"]
        return np.ascontiguousarray(values.transpose(order)).astype(
            values.dtype.newbyteorder("="), copy=False
        )
