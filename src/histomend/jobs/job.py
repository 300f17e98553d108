"""What is to be done to an image, decided before the first network call, as data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from histomend.exemplar.sheet import Elsewhere
from histomend.image.pixels import Region
from histomend.image.stabilise import CameraNoise
from histomend.slides.sink import Sink
from histomend.slides.source import ArraySource, Source
from histomend.tiles.plan import Window

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Tick = Callable[[], None]
"""Called whenever a part of the work is done."""
Trace = Callable[[Window, int, npt.NDArray[np.uint8]], None]
"""Called with (window, t, state as (h, w, 3)) after each step of the first sample."""


@dataclass(frozen=True)
class Options:
    """How a method is to work.

    Parameters
    ----------
    method : str
    preset : str
    steps : int or None
    sampler : str or None
        In place of the preset's.
    seed : int in [0, 2^63)
    device : str
    batch : int
        Units in flight.
    """

    method: str
    preset: str = "fast"
    steps: int | None = None
    sampler: str | None = None
    seed: int = 0
    device: str = "auto"
    batch: int = 8


@dataclass(frozen=True)
class RestoreOptions(Options):
    """The same for restoring regions.

    Parameters
    ----------
    samples : int
        Restorations to draw, whose deviation is the uncertainty.
    detected : bool
        Whether the mask was found by a detector.
    trace : Trace or None
    avoid : (H, W) bool or None
        What is not restored but no clean tissue either, so that nothing is copied from there.
    elsewhere : Elsewhere or None
        Gives further tissue of the slide that the image is a part of.
    """

    samples: int = 1
    detected: bool = False
    trace: Trace | None = None
    avoid: Mask | None = None
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True)
class DenoiseOptions(Options):
    """The same for whole fields.

    Parameters
    ----------
    stabilise : "auto" or "none"
        Whether models of stabilised values see such values.
    camera : CameraNoise or None
        What is known of the noise; None to estimate it.
    """

    stabilise: str = "auto"
    camera: CameraNoise | None = None


@dataclass(frozen=True)
class UpscaleOptions(Options):
    """The same for enlarging.

    Parameters
    ----------
    scale : float
    size : (height, width)
        Of the result.
    generation : float in [0, 1]
        The fidelity dial.
    colour : str or None
    keep_control : bool
    """

    scale: float = 1.0
    size: tuple[int, int] = (0, 0)
    generation: float = 1.0
    colour: str | None = None
    keep_control: bool = False


@dataclass(frozen=True)
class Unit:
    """What is worked on at once; it names itself, so that it can be done elsewhere or later.

    Parameters
    ----------
    key : str
        Unlike that of any other unit of its stage.
    plane : int
    reads, writes : (x, y, w, h)
        In pixels of what the stage reads, and of what it writes.
    after : tuple of str
        Keys of earlier units whose results it must see.
    """

    key: str
    plane: int
    reads: Region
    writes: Region
    after: tuple[str, ...] = ()


class Stage(Protocol):
    """Pixels in, arrays out; knows no file, thread or progress bar.

    Attributes
    ----------
    source : Source
        What its units read.
    groups : sequence of tuples of Unit
        Units that go through the network together. They are constants of the result: the
        arithmetic of a batch may depend on its size in the last bit.
    parallel : bool
        Whether groups may be worked on side by side, each with one thread.
    """

    @property
    def source(self) -> Source: ...
    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]: ...
    @property
    def parallel(self) -> bool: ...

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[Any]:
        """Return what comes of each unit of a group; safe to call from several threads.

        Parameters
        ----------
        pixels : what each unit reads
        done : what came of the units that they come after, by key
        tick : called as parts of the work are done
        """

    def place(self, found: Iterable[tuple[Unit, Any]], sink: Sink) -> Any:
        """Put what was found, in the order of the units, into the sink.

        Returns what the next stage needs; the last stage returns an `Outcome`.
        """


@dataclass
class Outcome:
    """What a job found out beside the pixels.

    Parameters
    ----------
    nfe : int
        Network calls in all.
    figures : dict
        For the record.
    uncertainty, t_map, control : arrays or None
        See `Result`.
    provenance : dict or None
        Where copied pixels came from, for the record.
    notices : tuple of str
    """

    nfe: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    uncertainty: npt.NDArray[np.float32] | None = None
    t_map: npt.NDArray[np.float32] | None = None
    control: Pixels | None = None
    provenance: dict[str, Any] | None = None
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """What a result is: its planes, size, channels, type and pixel size."""

    planes: int
    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    mpp: float | None

    @classmethod
    def of(cls, source: Source) -> Geometry:
        """Return that of a source."""
        sides = (source.planes, source.height, source.width, source.channels)
        return cls(*sides, source.dtype, source.mpp)


@dataclass(frozen=True)
class Job:
    """Everything decided before the first network call.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"
    source : ArraySource
    output : Geometry
    options : Options
    stages : tuple of functions of what the stage before returned (None for the first) -> Stage
    parts : int
        How often they tick in all.
    units : int
        How many units there are.
    device : torch.device
    model : dict or None
        What the record says of it.
    settings : dict
        What came of the options, for the record.
    repeats : dict
        The options that give the same again.
    mask : (H, W) bool or None
        Where pixels may change; everywhere if None.
    windows : tuple of dict
        Of a restoration, for the record.
    nfe : int or None
        Network calls, where they are known beforehand.
    measure : function of all pixels before and after -> figures for the record, optional
    notices : tuple of str
    """

    task: str
    source: ArraySource
    output: Geometry
    options: Options
    stages: tuple[Callable[[Any], Stage], ...]
    parts: int
    units: int
    device: torch.device
    model: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    repeats: dict[str, Any] = field(default_factory=dict)
    mask: Mask | None = None
    windows: tuple[dict[str, Any], ...] = ()
    nfe: int | None = None
    measure: Callable[[Pixels, Pixels], dict[str, Any]] | None = None
    notices: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return what would be done, for `--dry-run`."""
        found: dict[str, Any] = {
            "task": self.task,
            "method": self.options.method,
            "preset": self.options.preset,
            "model": None if self.model is None else self.model.get("name"),
            "planes": self.output.planes,
            "width": self.output.width,
            "height": self.output.height,
            "mpp": self.output.mpp,
            "dtype": self.output.dtype.name,
            **self.settings,
            "units": self.units,
            "nfe": self.nfe,
        }
        if self.mask is not None:
            found |= {
                "masked_px": int(self.mask.sum()),
                "masked_fraction": float(self.mask.mean()),
                "windows": list(self.windows),
            }
        return {**found, "notices": list(self.notices)}
