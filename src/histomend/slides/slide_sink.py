"""Where restored parts of a slide go: into the appended file, or into a new slide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from histomend.image.pixels import Pixels, Region
from histomend.image.reading import file_sha256
from histomend.image.writing import check_target
from histomend.slides.appended import AppendedSlide
from histomend.slides.compact import compact
from histomend.slides.jpeg_edit import Mask
from histomend.slides.ome_zarr import SUFFIX, check_zarr_target, write_ome_zarr
from histomend.slides.patches import Patches
from histomend.slides.pyramid import write_pyramid
from histomend.slides.tile_folders import slide_sha256

APPENDED, COMPACT, PYRAMID, DICOM, ZARR = "appended", "compact", "pyramid", "dicom", "ome-zarr"
"""Kinds of output."""


def check_place(target: Path, *, force: bool, new_folder: bool = False) -> None:
    """Fail early if nothing can be written here, or something is there and may not be replaced.

    Parameters
    ----------
    new_folder : bool
        The folder will be made if it is not there.

    Raises
    ------
    OutputError, MissingDependencyError
    """
    if target.suffix.lower() == SUFFIX:
        check_zarr_target(target, force=force, new_folder=new_folder)
    else:
        check_target(target, force=force, new_folder=new_folder)


@dataclass(frozen=True)
class Written:
    """What came of a slide.

    Parameters
    ----------
    kind : str
        `APPENDED`, `COMPACT`, `PYRAMID`, `DICOM` or `ZARR`.
    sha256 : str
        Of what was appended to a TIFF, else of the whole file, or of all files of a folder.
    tiles : int
        Tiles of all levels that have new pixels; 0 where all were written anew.
    never_scanned : tuple of (x, y, w, h)
        Masked tiles that hold nothing, and were left so.
    """

    kind: str
    sha256: str
    tiles: int = 0
    never_scanned: tuple[Region, ...] = ()


class SlideSink(Protocol):
    """Takes finished parts, in any order."""

    def put(self, region: Region, pixels: Pixels, mask: Mask) -> None:
        """Hand in new pixels (h, w, 3) of a region under a mask (h, w)."""

    def composed(self, region: Region) -> tuple[Pixels, Mask] | None:
        """Return what was put into a region so far; None if nothing was."""

    def settle(self, row: int) -> None:
        """Use the time: nothing comes any more above a row."""

    def finish(self, fields: dict[str, str], through: Path) -> Written:
        """Write the slide, through a temporary file in the folder `through`."""

    def close(self) -> None:
        """Let go of all files."""


class AppendedSink:
    """The source with new tiles behind it, or what is left of that without what was replaced.

    Parameters
    ----------
    source, target : Path
    sha256 : str
        Of the source.
    force : bool
    compacted : bool
        Written anew, without what was replaced.
    drop : tuple of str
        Images beside the slide that are left out then.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        *,
        sha256: str,
        force: bool = False,
        compacted: bool = False,
        drop: tuple[str, ...] = (),
    ) -> None:
        self._target, self._compacted, self._drop, self._force = target, compacted, drop, force
        self._slide = AppendedSlide(source, target, force=force, sha256=sha256)
        self.put, self.composed = self._slide.put, self._slide.composed
        self.settle, self.close = self._slide.settle, self._slide.close

    def finish(self, fields: dict[str, str], through: Path) -> Written:
        """Write the slide."""
        if not self._compacted:
            report = self._slide.finish(fields, through=through)
            return Written(
                APPENDED, report.appended_sha256, len(report.changes), report.never_scanned
            )
        whole = through / "appended.part"
        report = self._slide.finish(fields, through=through, target=whole)
        try:
            compact(whole, self._target, drop=self._drop, force=self._force, through=through)
        finally:
            whole.unlink()
        sha256 = file_sha256(self._target)
        return Written(COMPACT, sha256, len(report.changes), report.never_scanned)


class PyramidSink:
    """A new slide, where nothing can be appended to the source, or an OME-Zarr is wanted.

    Parameters
    ----------
    read : function of a region of the source -> its pixels
    target : Path
    size : (width, height)
    dtype : numpy dtype
    kind : str
        `PYRAMID` or `ZARR`.
    options : dict
        Of `write_pyramid` or `write_ome_zarr`.
    """

    def __init__(
        self,
        read: Callable[[Region], Pixels],
        target: Path,
        size: tuple[int, int],
        dtype: npt.DTypeLike,
        kind: str,
        **options: Any,
    ) -> None:
        self._read, self._target, self._size, self._kind = read, target, size, kind
        self._dtype, self._options = np.dtype(dtype), options
        self._patches = Patches(target.parent, 3, self._dtype)
        self.close = self._patches.close

    def put(self, region: Region, pixels: Pixels, mask: Mask) -> None:
        """Hand in new pixels."""
        self._patches.add(region, pixels, mask)

    def composed(self, region: Region) -> tuple[Pixels, Mask] | None:
        """Return what was put into a region so far."""
        return self._patches.compose(region)

    def settle(self, row: int) -> None:
        """Do nothing: all is written at the end."""

    def finish(self, fields: dict[str, str], through: Path) -> Written:
        """Write the slide."""
        write = write_ome_zarr if self._kind == ZARR else write_pyramid
        write(
            self._target,
            self._size,
            self._rows,
            dtype=self._dtype,
            fields=fields,
            through=through,
            **self._options,
        )
        return Written(self._kind, slide_sha256(self._target))

    def _rows(self, start: int, stop: int) -> Pixels:
        region = 0, start, self._size[0], stop - start
        pixels = self._read(region)
        new = self._patches.compose(region)
        if new is not None:
            pixels[new[1]] = new[0][new[1]]
        return pixels
