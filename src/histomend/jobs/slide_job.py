"""What is to be done to a whole slide, decided before the first network call, as data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import torch

import histomend
from histomend.image import Image
from histomend.jobs.companions import name_beside
from histomend.jobs.engines import given_threads
from histomend.jobs.job import Job, Mask, RestoreOptions
from histomend.jobs.run import execute
from histomend.masks.slide_masks import SlideMask
from histomend.slides.slide_sink import APPENDED, COMPACT, DICOM, PYRAMID, ZARR
from histomend.slides.source import ArraySource
from histomend.tiles.slide_plan import SlidePart, SlidePlan

FOUND = "mask.geojson"
"""The end of the name of what was found on a slide."""
Decide = Callable[[ArraySource, Mask, RestoreOptions], Job]
"""Decides what a method does to a part of a slide that is in memory."""

_PART_BYTES = 40
"""Bytes that restoring a part takes for each of its pixels, as measured."""
_NETWORK_BYTES = 1 << 29
# A tile that is edited in place takes up to so many times its bytes anew (SLIDES, section 2).
_EDITED = 3.4
_TILE_PX = 256


@dataclass(frozen=True)
class Writing:
    """How a restored slide is to be written.

    Parameters
    ----------
    target : Path
    force : bool
        An existing file may be replaced.
    lossy : bool
        A new pyramid may be JPEG.
    compact : bool
        Write it anew rather than behind its source.
    drop : tuple of str
        Images beside the slide that are left out then.
    """

    target: Path
    force: bool = False
    lossy: bool = False
    compact: bool = False
    drop: tuple[str, ...] = ()


@dataclass(frozen=True)
class SlideJob:
    """Everything decided before the first network call.

    Parameters
    ----------
    source : Image
        What is known of the slide, with its path and hash.
    size : (width, height)
        Of level 0.
    container : str
        How it is written: see `histomend.slides.slide_sink`.
    writing : Writing
    mask : SlideMask
    mask_sha256 : str
        Of the mask, or of what finds it.
    plan : SlidePlan
    options : RestoreOptions
    decide : Decide
    device : torch.device
    model : dict or None
        What the record says of it.
    settings, repeats : dict
        As of `Job`.
    notices : tuple of str
    found : bytes or None
        GeoJSON of what was found, to be written beside the output.
    mask_file : Path or None
        The mask, where it is a file of the user's.
    """

    source: Image
    size: tuple[int, int]
    container: str
    writing: Writing
    mask: SlideMask
    mask_sha256: str
    plan: SlidePlan
    options: RestoreOptions
    decide: Decide
    device: torch.device
    model: dict[str, Any] | None
    settings: dict[str, Any] = field(default_factory=dict)
    repeats: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()
    found: bytes | None = None
    mask_file: Path | None = None

    @property
    def path(self) -> Path:
        """The slide."""
        return Path(self.source.source or "")

    def identity(self) -> dict[str, Any]:
        """Return all that the bytes of the result depend on, for the journal."""
        return {
            "the slide": self.source.sha256,
            "the mask": self.mask_sha256,
            "the method": self.options.method,
            "the model": None if self.model is None else self.model.get("sha256"),
            "the seed": self.options.seed,
            "the kind of output": self.container,
            "the name of the output": self.writing.target.name,
            "images left out": list(self.writing.drop),
            "JPEG allowed": self.writing.lossy,
            **{f"the option {name}": value for name, value in self.repeats.items()},
            "the device": str(self.device),
            "the number of threads": given_threads(),
            "the version of Histomend": histomend.__version__,
            "the version of PyTorch": torch.__version__,
            "the version of imagecodecs": imagecodecs.__version__,
        }

    def disk_bytes(self) -> int:
        """Return about how much disk is needed in all, the source not counted."""
        source, pixels = self.path.stat().st_size, self.size[0] * self.size[1]
        kept = 2 * 3 * self.source.pixels.dtype.itemsize * self.plan.masked_px
        if self.container in (PYRAMID, ZARR):
            return kept + int(1.4 * pixels * 3 * self.source.pixels.dtype.itemsize)
        tiles = sum(_touched_tiles(part) for part in self.plan.parts)
        touched = min(1.0, tiles * _TILE_PX**2 / pixels)
        appended = source * (1 + _EDITED * touched) + (1 << 20)
        return kept + int(appended * (2 if self.container == COMPACT else 1))

    def memory_bytes(self) -> int:
        """Return about how much memory is needed at most."""
        largest = max(part.region[2] * part.region[3] for part in self.plan.parts)
        return _NETWORK_BYTES + _PART_BYTES * largest * self.source.pixels.dtype.itemsize

    def part_seconds(self) -> float:
        """Return how long a part takes on this machine: one is restored in made-up tissue."""
        part = self.plan.parts[len(self.plan.parts) // 2]
        _, _, w, h = part.region
        dtype, side = self.source.pixels.dtype, 256
        grain = np.random.default_rng(0).normal(0, 0.1, (side, side, 1))
        shades = (np.array([0.7, 0.5, 0.65]) + grain).clip(0, 1)
        tissue = (shades * np.iinfo(dtype).max).astype(dtype)
        pixels = np.tile(tissue, (-(-h // side), -(-w // side), 1))[:h, :w]
        own = part.own(self.mask.read(part.region))
        begun = time.perf_counter()
        execute(self.decide(ArraySource(Image(pixels, self.source.mpp)), own, self.options))
        return time.perf_counter() - begun

    def describe(self) -> dict[str, Any]:
        """Return what would be done, for `--dry-run`."""
        windows = nfe = 0
        for part in self.plan.parts:
            # Windows depend on the mask alone; which of them show bare glass is seen later.
            decided = self.decide(*self._without_pixels(part))
            windows += decided.units
            nfe += decided.nfe or 0
        return {
            "task": "restore",
            "method": self.options.method,
            "preset": self.options.preset,
            "model": None if self.model is None else self.model.get("name"),
            "width": self.size[0],
            "height": self.size[1],
            "mpp": self.source.mpp,
            "written": self.container,
            **self.settings,
            "artifacts": self.plan.artifacts,
            "parts": len(self.plan.parts),
            "masked_px": self.plan.masked_px,
            "masked_fraction": self.plan.masked_px / (self.size[0] * self.size[1]),
            "units": windows,
            "nfe_at_most": nfe,
            "seconds_about": round(len(self.plan.parts) * self.part_seconds(), 1),
            "disk_bytes": self.disk_bytes(),
            "memory_bytes": self.memory_bytes(),
            "undo": self.container in (APPENDED, DICOM),
            "notices": list(self.notices),
        }

    def _without_pixels(self, part: SlidePart) -> tuple[ArraySource, Mask, RestoreOptions]:
        _, _, w, h = part.region
        own = part.own(self.mask.read(part.region))
        # One value for all pixels takes no memory: dark, so that nothing looks like glass.
        dark = np.broadcast_to(np.zeros((), self.source.pixels.dtype), (h, w, 3))
        return ArraySource(Image(dark, self.source.mpp)), own, self.options


def found_beside(output: Path) -> Path:
    """Return where it is written what was found on a slide before it was restored."""
    return output.with_name(f"{name_beside(output)}.{FOUND}")


def _touched_tiles(part: SlidePart) -> int:
    tiles = (part.cells * part.cell) // _TILE_PX
    return len({(int(row), int(column)) for row, column in tiles})
