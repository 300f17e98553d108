"""Stages that enlarge: tiles that are blended, and an image that is worked on as a whole.

Between the stages an image is kept in the numbers of its file, one byte or two for each value, so
that few floating-point copies of a large result exist at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.image import Image, Intensity
from histomend.image.resampling import deviation, resized_to
from histomend.jobs.job import Geometry, Job, Outcome, Pixels, Tick, Unit, UpscaleOptions
from histomend.methods.pixel_size import differs
from histomend.slides.sink import ArraySink, Sink
from histomend.slides.source import ArraySource
from histomend.tiles.overlap import Tile, blended, make_tiles

Array = npt.NDArray[np.float32]
# Side in px of the tiles that restoration modules see.
CLEANED = 512


@dataclass(frozen=True)
class TileStage:
    """Lets a network see an image in overlapping tiles, and blends what it makes of them.

    Parameters
    ----------
    source : ArraySource
    work : function of (h, w, 3) pixels -> (scale h, scale w, 3) float32 in [-1, 1]
    side : int
        Of the tiles.
    scale : int
        How much larger the result is.
    last : bool
        Whether the result goes into the sink; otherwise it is what the next stage reads.
    """

    source: ArraySource
    work: Callable[[Pixels], Array]
    side: int
    scale: int = 1
    last: bool = True
    parallel: bool = False

    @property
    def tiles(self) -> tuple[Tile, ...]:
        """The tiles, row by row."""
        return make_tiles(self.source.height, self.source.width, self.side)

    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]:
        """One tile at a time."""
        groups = []
        for tile in self.tiles:
            reads = (tile.x, tile.y, len(tile.across), len(tile.down))
            x, y, w, h = (side * self.scale for side in reads)
            groups.append((Unit(f"x{tile.x}y{tile.y}", 0, reads, (x, y, w, h)),))
        return groups

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[Array]:
        """Return what the network makes of a tile."""
        found = [self.work(part) for part in pixels]
        tick()
        return found

    def place(self, found: Iterable[tuple[Unit, Array]], sink: Sink) -> Outcome | ArraySource:
        """Blend the tiles."""
        source, scale = self.source, self.scale
        width, channels = source.width * scale, source.channels
        own = ArraySink.empty(1, source.height * scale, width, channels, source.dtype)
        target = sink if self.last else own
        intensity = Intensity.for_dtype(source.dtype)
        larger = [
            Tile(t.x * scale, t.y * scale, t.down.repeat(scale), t.across.repeat(scale))
            for t in self.tiles
        ]
        for top, band in blended(larger, (values for _, values in found), width, channels):
            target.write(0, (0, top, width, len(band)), intensity.decode(band, source.dtype))
        return Outcome() if self.last else ArraySource(source.like(own.values, source.mpp))


@dataclass(frozen=True)
class WholeStage:
    """Works on an image as one field.

    Parameters
    ----------
    source : ArraySource
    work : function of (pixels, tick) -> pixels of the result, and what was found beside them
    """

    source: ArraySource
    work: Callable[[Pixels, Tick], tuple[Pixels, Outcome]]
    parallel: bool = False

    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]:
        """The one unit."""
        whole = (0, 0, self.source.width, self.source.height)
        return [(Unit("whole", 0, whole, whole),)]

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[tuple[Pixels, Outcome]]:
        """Return the result."""
        return [self.work(part, tick) for part in pixels]

    def place(self, found: Iterable[tuple[Unit, tuple[Pixels, Outcome]]], sink: Sink) -> Outcome:
        """Write it."""
        ((_, (pixels, outcome)),) = found
        sink.write(0, (0, 0, pixels.shape[1], pixels.shape[0]), pixels)
        return outcome


def decide_enlarged(
    source: ArraySource,
    options: UpscaleOptions,
    stages: tuple[Callable[[Any], TileStage | WholeStage], ...],
    *,
    parts: int,
    units: int,
    device: torch.device,
    nfe: int = 0,
    model: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    notices: tuple[str, ...] = (),
) -> Job:
    """Return the job of a method that enlarges."""
    height, width = options.size
    mpp = None if source.mpp is None else source.mpp / options.scale
    scale = options.scale

    def measure(before: Pixels, after: Pixels) -> dict[str, Any]:
        return {"scale": scale, "deviation": deviation(before[0], after[0])}

    return Job(
        "upscale",
        source,
        Geometry(1, height, width, source.channels, source.dtype, mpp),
        options,
        stages,
        parts=parts,
        units=units,
        device=device,
        model=model,
        settings={"scale": scale, **(settings or {})},
        nfe=nfe,
        measure=measure,
        notices=notices,
    )


def enlarged(source: ArraySource, size: tuple[int, int]) -> ArraySource:
    """Return a picture enlarged by bicubic interpolation."""
    if not isinstance(source.about, Image):
        raise TypeError("pictures are enlarged, not stacks")
    return ArraySource(replace(source.about, pixels=resized_to(source.about.pixels, size)))


def cleaning(
    source: ArraySource,
    restoring: Callable[[Tensor], Tensor],
    device: torch.device,
    *,
    last: bool,
) -> TileStage:
    """Return the stage of a restoration module, on an image that was enlarged before.

    Parameters
    ----------
    restoring : function of (1, 3, h, w) in [0, 1] to the same
    """
    intensity = Intensity.for_dtype(source.dtype)

    @torch.inference_mode()
    def work(tile: Pixels) -> Array:
        x = as_tensor(intensity.encode(tile)).to(device)
        return as_array(restoring((x + 1) / 2) * 2 - 1)

    return TileStage(source, work, CLEANED, last=last)


def cleaned_tiles(size: tuple[int, int]) -> int:
    """Return how many tiles a restoration module sees of an enlarged image."""
    return len(make_tiles(*size, CLEANED))


def size_notices(mpp: float | None, model_mpp: float) -> tuple[str, ...]:
    """Return what is to be said where the model was trained on another pixel size."""
    if mpp is None or not differs(mpp, model_mpp):
        return ()
    return (
        f"The enlarged image has {mpp:.3g} um per pixel, and the model was trained on "
        f"{model_mpp:g}: what it draws may have the wrong size. With --target-mpp {model_mpp:g} "
        "the result suits the model.",
    )


def as_tensor(values: Array) -> Tensor:
    """Return (H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))[None]


def as_array(x: Tensor) -> Array:
    """Return (1, 3, H, W) as (H, W, 3)."""
    return x[0].permute(1, 2, 0).float().cpu().numpy()
