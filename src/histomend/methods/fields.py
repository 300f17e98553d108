"""Whole fields in overlapping tiles: what methods that restore them have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoises
from histomend.diffusion.device import torch_device
from histomend.diffusion.loop import Recipe, sample
from histomend.diffusion.noise import NoiseField, NoiseStream, further_seed
from histomend.diffusion.poses import PosedDenoiser
from histomend.diffusion.recalibration import Calibrates
from histomend.diffusion.samplers import Sampler
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import Trajectory
from histomend.errors import SettingError
from histomend.image.model_range import camera_range, plain_range
from histomend.image.stacks import Stack
from histomend.jobs.job import (
    DenoiseOptions,
    Geometry,
    Job,
    Options,
    Outcome,
    Pixels,
    Tick,
    Unit,
)
from histomend.methods.pixel_size import differs
from histomend.models import Model
from histomend.slides.sink import Sink
from histomend.slides.source import ArraySource, Source
from histomend.tiles.overlap import GROUP, Tile, blended, grouped, make_tiles, smoothed, t_map

Array = npt.NDArray[np.float32]
WINDOW = 256
"""Side of the tiles of methods without a model."""


class ValueMap(Protocol):
    """An invertible map from file values to what the model sees, one per image or stack."""

    def encode(self, values: Pixels) -> Array:
        """Return values of any shape as float32, in [-1, 1] as the model was trained on them."""

    def decode(self, x: Pixels, dtype: npt.DTypeLike) -> Pixels:
        """Return file values of a type."""

    def record(self) -> dict[str, Any]:
        """Return what the record says of the map."""


def value_maps(
    source: ArraySource, model: Model | None, options: Options
) -> tuple[tuple[ValueMap, ...], tuple[str, ...]]:
    """Return how the model sees an image, and what is to be said of it.

    Returns
    -------
    maps : tuple of ValueMap
        One; or one for each channel, where channels are planes of their own.
    notices : tuple of str

    Raises
    ------
    SettingError
        A camera was named for a model that was not trained on stabilised values.
    """
    if not isinstance(source.about, Stack):
        raise TypeError("methods of whole fields take stacks")
    given = options if isinstance(options, DenoiseOptions) else DenoiseOptions(options.method)
    stabilised = model is not None and model.config.stabilised and given.stabilise == "auto"
    if given.camera is not None and not stabilised:
        raise SettingError(
            "--gain, --offset and --read-noise say how values are stabilised, and here they are "
            "not: the model was not trained on such values, or --stabilise is none. Leave them "
            "away."
        )
    maps: list[ValueMap] = []
    said: list[str] = []
    channels = source.about.by_channel()
    for number, channel in enumerate(channels, 1):
        found: ValueMap
        if model is None or not stabilised:
            found, notices = plain_range(channel)
        else:
            schedule, highest = model.config.noise_schedule(), model.config.trained_t
            most = float(schedule.sigma[highest] / schedule.alpha[highest])
            found, notices = camera_range(channel, most, given.camera)
        maps.append(found)
        said += [f"Channel {number}: {n}" if len(channels) > 1 else n for n in notices]
    return tuple(maps), tuple(said)


class RestoresTiles(Protocol):
    """A method, ready to restore."""

    @property
    def calibrate(self) -> Calibrates | None:
        """Tells t (B,) for tiles x (B, C, h, w); None where the method has no such thing.

        Tiles of t = 0 are clean, and are left as they are.
        """

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Return the restored tiles (B, C, h, w) and the network calls of each (B,).

        Parameters
        ----------
        x : (B, C, h, w) in [-1, 1]
        t : (B,) float or None
            Where each is taken to be.
        noise : NoiseStream
        """


@dataclass(frozen=True)
class DiffusionRestorer:
    """A method on the loop.

    Parameters
    ----------
    denoiser, schedule, sampler
    recipe : function of (x, t) -> Recipe
    trajectory : function of t -> Trajectory
    calibrate : Calibrates, optional
    poses : int
        Network calls for each prediction (`PosedDenoiser`).
    """

    denoiser: Denoises
    schedule: Schedule
    sampler: Sampler
    recipe: Callable[[Tensor, Tensor], Recipe]
    trajectory: Callable[[Tensor], Trajectory]
    calibrate: Calibrates | None = None
    poses: int = 1

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Walk the loop."""
        t = torch.zeros(len(x)) if t is None else t
        found = sample(
            PosedDenoiser(self.denoiser, self.poses),
            self.recipe(x, t),
            self.trajectory(t),
            self.sampler,
            noise,
            self.schedule,
        )
        return found.x, self.poses * found.nfe


def always(t: int) -> Calibrates:
    """Return what predicts the same t for every tile."""
    return lambda x: torch.full((len(x),), float(t))


@dataclass(frozen=True)
class _Tiles:
    """What the stages of a whole field have in common.

    Parameters
    ----------
    source : Source
    tiles : tuple of Tile
        Of each plane.
    values : tuple of ValueMap
        Of the planes in turn.
    restores : RestoresTiles
    device : torch.device
    """

    source: Source
    tiles: tuple[Tile, ...]
    values: tuple[ValueMap, ...]
    restores: RestoresTiles
    device: torch.device

    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]:
        """Tiles of one plane that go through the network together."""
        units = [_unit(tile, plane) for plane in range(self.source.planes) for tile in self.tiles]
        return [group for plane in _per_plane(units) for group in grouped(plane)]

    @property
    def parallel(self) -> bool:
        """Whether a plane has more than one group."""
        return len(self.tiles) > GROUP

    def values_of(self, plane: int) -> ValueMap:
        """Return how the model sees a plane."""
        return self.values[plane % len(self.values)]

    def seen(self, plane: int, pixels: Sequence[Pixels]) -> Tensor:
        """Return tiles of a plane as the model sees them, (B, C, h, w)."""
        tiles = np.stack([self.values_of(plane).encode(part) for part in pixels])
        x = torch.from_numpy(np.ascontiguousarray(tiles.transpose(0, 3, 1, 2)))
        return x.to(self.device)


@dataclass(frozen=True)
class CalibrateStage(_Tiles):
    """Predicts t of each tile; its carry is where each tile starts, plane by plane.

    Parameters
    ----------
    highest_t : int
        Largest t that the denoiser knows.
    """

    highest_t: int = 0

    @torch.inference_mode()
    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[float]:
        """Return the predicted t of each tile."""
        calibrate = self.restores.calibrate
        x = self.seen(units[0].plane, pixels)
        predicted = [] if calibrate is None else calibrate(x).tolist()
        tick()
        return [float(value) for value in predicted]

    def place(self, found: Iterable[tuple[Unit, float]], sink: Sink) -> list[list[float]]:
        """Smooth t over the overlaps."""
        size = self.source.height, self.source.width
        return [
            smoothed(self.tiles, [t for _, t in plane], self.highest_t, *size)
            for _, plane in groupby(found, key=lambda pair: pair[0].plane)
        ]


@dataclass(frozen=True)
class RestoreStage(_Tiles):
    """Restores tiles and blends them.

    Parameters
    ----------
    seed : int
    starts : list of lists of float, or None
        Where each tile starts, plane by plane.
    """

    seed: int = 0
    starts: list[list[float]] | None = None

    def __post_init__(self) -> None:
        numbers = {_unit(tile, 0).reads[:2]: n for n, tile in enumerate(self.tiles)}
        object.__setattr__(self, "_numbers", numbers)

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[tuple[Array, int]]:
        """Return each restored tile (h, w, C) as the model sees it, and its network calls."""
        plane = units[0].plane
        t = None
        if self.starts is not None:
            numbers = [self._numbers[unit.reads[:2]] for unit in units]  # type: ignore[attr-defined]
            t = torch.tensor([self.starts[plane][n] for n in numbers])
        noise = NoiseStream(
            [NoiseField(further_seed(self.seed, plane))] * len(units),
            [(unit.reads[1], unit.reads[0]) for unit in units],
        )
        found, nfe = self.restores(self.seen(plane, pixels), t, noise)
        tick()
        values = found.permute(0, 2, 3, 1).cpu().numpy()
        return list(zip(values, nfe.tolist(), strict=True))

    def place(self, found: Iterable[tuple[Unit, tuple[Array, int]]], sink: Sink) -> Outcome:
        """Blend the tiles; where t rounds to 0, the pixels stay those of the source."""
        source, dtype = self.source, self.source.dtype
        maps: list[Array] = []
        calls: list[int] = []
        for plane, tiles in groupby(found, key=lambda pair: pair[0].plane):
            field = None
            if self.starts is not None:
                field = t_map(self.tiles, self.starts[plane], source.height, source.width)
                maps.append(field)

            values = _counting(tiles, calls)
            for top, band in blended(self.tiles, values, source.width, source.channels):
                rows = (0, top, source.width, len(band))
                restored = self.values_of(plane).decode(band, dtype)
                if field is not None:
                    clean = np.rint(field[top : top + len(band)]) == 0
                    restored = np.where(clean[..., None], source.read(plane, rows), restored)
                sink.write(plane, rows, restored)
        ranges = [values.record() for values in self.values]
        figures: dict[str, Any] = {
            "intensity": ranges if len(ranges) > 1 else ranges[0],
            "nfe_mean": float(np.mean(calls)),
            "nfe_most": max(calls),
        }
        if not maps:
            return Outcome(sum(calls), figures)
        field = np.stack(maps)
        figures |= {
            "t": {
                "min": float(field.min()),
                "median": float(np.median(field)),
                "mean": float(field.mean(dtype=np.float64)),
                "max": float(field.max()),
            },
            "unchanged_share": float(np.mean(np.rint(field) == 0)),
        }
        return Outcome(sum(calls), figures, t_map=field[0] if len(maps) == 1 else field)


def decide_field(
    source: ArraySource,
    model: Model | None,
    options: Options,
    restores: RestoresTiles,
    settings: dict[str, Any],
) -> Job:
    """Return the job of a method that restores tiles: calibrate if it does, restore, blend."""
    values, notices = value_maps(source, model, options)
    window = WINDOW if model is None else model.config.window
    tiles = make_tiles(source.height, source.width, window)
    device = torch_device(options.device) if model is None else model.device
    if model is not None and source.mpp is not None and differs(source.mpp, model.config.mpp):
        notices = (
            *notices,
            f"The image has {source.mpp:g} um per pixel, and the model was trained on "
            f"{model.config.mpp:g}: what it takes for noise and for structure may have the wrong "
            "size.",
        )
    shared = (source, tiles, values, restores, device)

    def calibrating(_: Any) -> CalibrateStage:
        return CalibrateStage(*shared, highest_t=0 if model is None else model.config.trained_t)

    def restoring(starts: list[list[float]] | None) -> RestoreStage:
        return RestoreStage(*shared, seed=options.seed, starts=starts)

    stages = (restoring,) if restores.calibrate is None else (calibrating, restoring)
    return Job(
        "denoise",
        source,
        Geometry.of(source),
        options,
        stages,
        parts=source.planes * len(stages) * len(grouped(tiles)),
        units=source.planes * len(tiles),
        device=device,
        model=None if model is None else model.record(),
        settings={**settings, "window": window, "group": GROUP},
        notices=notices,
    )


def _counting(tiles: Iterable[tuple[Unit, tuple[Array, int]]], calls: list[int]) -> Iterator[Array]:
    """Yield the tiles, and note the network calls of each."""
    for _, (tile, nfe) in tiles:
        calls.append(nfe)
        yield tile


def _unit(tile: Tile, plane: int) -> Unit:
    place = (tile.x, tile.y, len(tile.across), len(tile.down))
    return Unit(f"p{plane}x{tile.x}y{tile.y}", plane, place, place)


def _per_plane(units: list[Unit]) -> Iterator[list[Unit]]:
    for _, plane in groupby(units, key=lambda unit: unit.plane):
        yield list(plane)
