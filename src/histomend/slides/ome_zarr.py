"""A new slide from plain pixels as an OME-Zarr: a folder of chunks, each in a file of its own.

Of OME-NGFF version 0.4 in Zarr 2, with all five axes: what tools that read any OME-Zarr read. The
pixels of all levels are those that `histomend.slides.pyramid` writes without loss.
"""

from __future__ import annotations

import base64
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.errors import (
    ImageSizeError,
    MissingDependencyError,
    OutputError,
    UnsupportedImageError,
    display_name,
)
from histomend.image.pixels import Pixels, check_mpp
from histomend.image.places import exists_already, output_error
from histomend.image.writing import check_target
from histomend.slides.description import MARK, check_fields
from histomend.slides.halving import Halving, Rows, halved_sizes
from histomend.slides.tile_folders import is_tile_folder

SUFFIX = ".zarr"
CHUNK = 512
"""Pixels along the side of a chunk, which holds all colours: files of about 0.3 MB of tissue."""
_LEVEL = 3  # of zlib, which every Zarr reader has; a higher one takes longer for nothing
_COLOURS = {3: (("Red", "FF0000"), ("Green", "00FF00"), ("Blue", "0000FF")), 1: (("", "FFFFFF"),)}


def check_zarr_target(target: Path, *, force: bool, new_folder: bool = False) -> None:
    """Fail early if an OME-Zarr cannot be written here.

    Parameters
    ----------
    new_folder : bool
        The folder will be made if it is not there.

    Raises
    ------
    OutputError
        Something is there and may not be replaced (of folders, an OME-Zarr may with `force`), or
        nothing can be written here.
    MissingDependencyError
        zarr is not installed, or is too old to write it.
    """
    _import_zarr(target)
    there = os.path.lexists(target)
    if there and not force:
        raise exists_already(target)
    if there and (target.is_symlink() or not is_tile_folder(target)):
        raise OutputError(
            f"{target}: is no OME-Zarr, so that it is not replaced. Remove it, or choose another "
            "name."
        )
    beside = target.with_name(f"{target.name}.part")
    check_target(beside, force=True, new_folder=new_folder)


def write_ome_zarr(
    target: Path | str,
    size: tuple[int, int],
    rows: Rows,
    *,
    mpp: float | None,
    through: Path,
    samples: int = 3,
    dtype: npt.DTypeLike = np.uint8,
    icc: bytes | None = None,
    name: str = "",
    fields: dict[str, str] | None = None,
    force: bool = False,
) -> None:
    """Write a pyramid; the folder appears complete or not at all.

    Parameters
    ----------
    target : Path
    size, rows, mpp, samples, dtype, name, fields, force
        As of `histomend.slides.pyramid.write_pyramid`.
    through : Path
        A folder on the same disk in which it is prepared, whose owner clears it up.
    icc : bytes or None
        Colour profile; it stands as base64 in the metadata, as OME-NGFF has no place for it.

    Raises
    ------
    ImageSizeError, UnsupportedImageError, SettingError, PixelSizeError, OutputError,
    MissingDependencyError
    """
    target, kind = Path(target), np.dtype(dtype)
    if min(size) < 1 or max(size) >= 1 << 31:
        raise ImageSizeError(f"{target}: an image of {size[0]} x {size[1]} px cannot be written.")
    if samples not in _COLOURS or kind not in (np.dtype(np.uint8), np.dtype(np.uint16)):
        raise UnsupportedImageError(
            f"{target}: {samples} values of {kind} are no pixels of a slide."
        )
    mpp = None if mpp is None else check_mpp(mpp, str(target))
    check_fields(fields or {})
    check_zarr_target(target, force=force)
    prepared = through / f"{secrets.token_hex(6)}.part"
    try:
        group = _import_zarr(target).open_group(str(prepared), mode="w", zarr_format=2)
        arrays = list(_arrays(group, halved_sizes(size), samples, kind))

        def put(level: int, top: int, pixels: Pixels) -> None:
            band = np.ascontiguousarray(pixels.transpose(2, 0, 1))
            arrays[level][0, :, 0, top : top + len(pixels)] = band

        Halving(size, samples, kind, CHUNK, put).run(rows, str(target))
        group.attrs.update(_attributes(len(arrays), samples, kind, mpp, icc, name, fields))
        _sync(prepared)
        _put_in_place(prepared, target, through, force=force)
    except OSError as error:
        raise output_error(target, error) from error
    finally:
        shutil.rmtree(prepared, ignore_errors=True)


def _import_zarr(target: Path) -> Any:
    """Return the module.

    Raises
    ------
    MissingDependencyError
    """
    try:
        import zarr
    except ImportError as error:
        raise MissingDependencyError(
            f'{target}: writing OME-Zarr needs zarr: pip install "histomend[zarr]"'
        ) from error
    if int(zarr.__version__.partition(".")[0]) < 3:
        raise MissingDependencyError(
            f"{target}: writing OME-Zarr needs zarr 3 or later, which needs Python 3.11, and zarr "
            f"{zarr.__version__} is installed. Update it, or write a .tif."
        )
    return zarr


def _arrays(
    group: Any, sizes: list[tuple[int, int]], samples: int, dtype: np.dtype[Any]
) -> Iterator[Any]:
    from numcodecs import Zlib

    for number, (width, height) in enumerate(sizes):
        yield group.create_array(
            str(number),
            shape=(1, samples, 1, height, width),
            chunks=(1, samples, 1, min(CHUNK, height), min(CHUNK, width)),
            dtype=dtype.newbyteorder("<"),
            compressors=Zlib(_LEVEL),
            fill_value=0,
            chunk_key_encoding={"name": "v2", "separator": "/"},
        )


def _attributes(
    levels: int,
    samples: int,
    dtype: np.dtype[Any],
    mpp: float | None,
    icc: bytes | None,
    name: str,
    fields: dict[str, str] | None,
) -> dict[str, Any]:
    """Return the metadata (OME-NGFF 0.4, multiscales and omero)."""
    unit = {} if mpp is None else {"unit": "micrometer"}
    axes: list[dict[str, str]] = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", **unit} for axis in "zyx"]
    side = [(mpp or 1.0) * (1 << level) for level in range(levels)]
    metadata = {"method": "mean of 2 x 2 px, computed in whole numbers of 1/256"}
    if fields is not None:
        metadata |= {"description": MARK, **fields}
    if icc:
        metadata["icc_profile"] = base64.b64encode(icc).decode("ascii")
    image = {
        "version": "0.4",
        "name": display_name(name),
        "axes": axes,
        "datasets": [
            {
                "path": str(level),
                "coordinateTransformations": [
                    {"type": "scale", "scale": [1.0, 1.0, 1.0, side[level], side[level]]}
                ],
            }
            for level in range(levels)
        ],
        "type": "mean",
        "metadata": metadata,
    }
    top = int(np.iinfo(dtype).max)
    window = {"start": 0, "end": top, "min": 0, "max": top}
    channels = [
        {"label": label, "color": colour, "window": window, "active": True, "coefficient": 1,
         "family": "linear", "inverted": False}
        for label, colour in _COLOURS[samples]
    ]  # fmt: skip
    model = "color" if samples == 3 else "greyscale"
    omero = {"version": "0.4", "name": display_name(name), "channels": channels}
    return {"multiscales": [image], "omero": {**omero, "rdefs": {"model": model}}}


def _sync(folder: Path) -> None:
    """Make sure that all of a folder is on the disk."""
    for root, _, names in os.walk(folder):
        for path in (*(Path(root, name) for name in names), Path(root)):
            with suppress(PermissionError):  # Windows opens no folders
                handle = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)


def _put_in_place(prepared: Path, target: Path, through: Path, *, force: bool) -> None:
    """Rename a folder; what was there is removed when the new one is there."""
    replaced = through / f"{secrets.token_hex(6)}.part"
    there = os.path.lexists(target)
    if there and not force:
        raise exists_already(target)
    if there:
        target.rename(replaced)
    try:
        prepared.rename(target)
    except BaseException:
        if there:
            replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
