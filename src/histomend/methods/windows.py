"""Windows around masked regions as a stage: each is sampled, and pasted under the mask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoises, TiledDenoiser
from histomend.diffusion.loop import State, sample
from histomend.diffusion.noise import NoiseField, NoiseStream, further_seed
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.image import Intensity
from histomend.image.pixels import Region
from histomend.jobs.job import Mask, Outcome, Pixels, Tick, Trace, Unit
from histomend.methods.artifusion import ArtiFusion
from histomend.methods.joined import Joined
from histomend.methods.sampling import Sampling
from histomend.models import Model
from histomend.slides.sink import Sink
from histomend.slides.source import Source
from histomend.tiles.plan import Plan, Window
from histomend.tiles.seams import fill_smoothly, is_glass, meet_surround

Array = npt.NDArray[np.float32]
# Windows of one shape in a network call of a device that is no CPU.
GROUP = 8


@dataclass(frozen=True)
class Drawn:
    """What came of a window.

    Parameters
    ----------
    samples : (K, h, w, 3) float32 in [-1, 1]
        Its core, at the image's pixel size.
    nfe : int
    """

    samples: Array
    nfe: int


@dataclass(frozen=True)
class Shown:
    """What of a window the model sees: values (h, w, 3) and what is hidden of them (h, w)."""

    values: Array
    hidden: Mask


@dataclass(frozen=True)
class WindowStage:
    """Restores windows.

    Parameters
    ----------
    source : Source
    mask : (H, W) bool
    model : Model
    sampling : Sampling
    plan : Plan
    groups : windows of one shape that go through the network together
    seed, samples : int
    trace : Trace or None
    """

    source: Source
    mask: Mask
    model: Model
    sampling: Sampling
    plan: Plan
    groups: Sequence[tuple[Unit, ...]]
    seed: int
    samples: int
    trace: Trace | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "_windows", {w.key: w for w in self.plan.windows})

    @property
    def parallel(self) -> bool:
        """Whether there is more than one artifact."""
        return len(self.plan.chains) > 1

    def window(self, key: str) -> Window:
        """Return the window of a unit."""
        found: Window = self._windows[key]  # type: ignore[attr-defined]
        return found

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Drawn],
        tick: Tick,
    ) -> list[Drawn]:
        """Draw the samples of windows of one shape."""
        windows = [self.window(unit.key) for unit in units]
        shown = [
            self._shown(window, part, done) for window, part in zip(windows, pixels, strict=True)
        ]
        if windows[0].bare:
            # A mask may be drawn too tight: the artifact's rim must not stain the filling.
            return [
                self._core(window, [fill_smoothly(s.values, s.hidden | ~is_glass(s.values))], 0)
                for window, s in zip(windows, shown, strict=True)
            ]
        drawn = [
            self._sample(windows, shown, further_seed(self.seed, k), k == 0, tick)
            for k in range(self.samples)
        ]
        return [
            self._core(window, [fields[n] for fields, _ in drawn], sum(nfe for _, nfe in drawn))
            for n, window in enumerate(windows)
        ]

    def place(self, found: Iterable[tuple[Unit, Drawn]], sink: Sink) -> Outcome:
        """Paste the first samples under the mask; what deviates is the uncertainty."""
        spread = np.zeros(self.mask.shape, np.float32) if self.samples > 1 else None
        nfe = 0
        for unit, drawn in found:
            x, y, w, h = unit.writes
            mask = self.mask[y : y + h, x : x + w]
            pixels = self.source.read(unit.plane, unit.writes).copy()
            pixels[mask] = self._stored(drawn.samples[0])[mask]
            sink.write(unit.plane, unit.writes, pixels)
            nfe += drawn.nfe
            if spread is not None:
                # Half, as [-1, 1] is twice as wide as the file's range taken as 1.
                deviation = np.std(drawn.samples, axis=0, ddof=1).mean(-1) / 2
                spread[y : y + h, x : x + w][mask] = deviation[mask]
        return Outcome(nfe, uncertainty=spread)

    def _stored(self, values: Array) -> Pixels:
        return Intensity.for_dtype(self.source.dtype).decode(values, self.source.dtype)

    def _shown(self, window: Window, pixels: Pixels, done: Mapping[str, Drawn]) -> Shown:
        """Return a window as the model sees it, with what was restored there before."""
        x, y, w, h = window.field
        mask = self.mask[y : y + h, x : x + w]
        hidden = mask.copy()
        if window.after:
            pixels = pixels.copy()
        for key in window.after:
            # Pieces of the same artifact that are finished already are tissue, not artifact.
            other = self.window(key)
            here, there = _inside(other.core, window.field), _inside(window.field, other.core)
            pixels[here][mask[here]] = self._stored(done[key].samples[0][there])[mask[here]]
            hidden[here] = False
        values = Intensity.for_dtype(self.source.dtype).encode(pixels)
        joins = self.sampling.joins
        if window.work != (w, h) and not window.bare:
            # What is masked is nothing to go by, unless it has been filled.
            seen = values if joins else np.where(hidden[..., None], 0, values)
            values = _resized(seen, window.work)
            coverage = _resized(hidden.astype(np.float32), window.work)
            # A partly masked pixel holds some artifact: it is masked.
            hidden = coverage > 1e-3
        if self.model.space.factor > 1 and not window.bare and not joins:
            # A cell sees beyond its own pixels: what is masked must not leak into others.
            values = fill_smoothly(values, hidden)
        return Shown(values, hidden)

    def _sample(
        self, windows: list[Window], shown: list[Shown], seed: int, first: bool, tick: Tick
    ) -> tuple[list[Array], int]:
        """Return one sample of each field (h, w, 3) in [-1, 1], and the network calls of one."""
        model, config, space = self.model, self.model.config, self.model.space
        high, wide = shown[0].hidden.shape
        # Stacked as it is, the array keeps the image's layout, and convolutions round differently.
        known = np.ascontiguousarray(np.stack([s.values.transpose(2, 0, 1) for s in shown]))
        covered = np.stack([s.hidden[None] for s in shown]).astype(np.float32)
        with torch.inference_mode():
            x0 = space.encode(torch.from_numpy(known).to(model.device))
            mask = space.mask(torch.from_numpy(covered).to(model.device))
        schedule = config.noise_schedule()
        times = self.sampling.times(schedule)
        context = {"context": config.context, "shown": self.sampling.context}
        recipe = (
            Joined(x0, mask, schedule, times[0], **context)
            if self.sampling.joins
            else ArtiFusion(x0, mask, schedule, **context)
        )
        side = config.window // space.factor
        needed = mask[:, 0].bool().any(0).cpu()
        denoiser: Denoises = TiledDenoiser(model.denoiser, side, side // 4, needed=needed)

        @torch.inference_mode()
        def pictured(x: Tensor) -> Tensor:
            return space.decode(x)[..., :high, :wide]

        def watch(state: State) -> None:
            if state.x0 is not None:
                for _ in windows:
                    tick()
            if first and self.trace is not None:
                pictures = pictured(state.x)
                for number, window in enumerate(windows):
                    t = int(state.step.t_next[number])
                    self.trace(window, t, to_uint8(pictures[number : number + 1]))

        found = sample(
            denoiser,
            recipe,
            FixedTrajectory(times),
            self.sampling.make_sampler(schedule, config.learned_variance),
            NoiseStream([NoiseField(seed)] * len(windows), [w.origin for w in windows]),
            schedule,
            callback=watch,
        )
        fields = pictured(found.x).clamp(-1, 1).permute(0, 2, 3, 1).cpu().numpy()
        restored = []
        for window, field, s in zip(windows, fields, shown, strict=True):
            if space.factor > 1:
                field = meet_surround(field, s.values, s.hidden)
            if window.work != window.field[2:]:
                field = _resized(field, window.field[2:])
            restored.append(field)
        return restored, int(found.nfe[0])

    def _core(self, window: Window, fields: list[Array], nfe: int) -> Drawn:
        samples = [field[_inside(window.core, window.field)] for field in fields]
        return Drawn(np.stack(samples * (self.samples if window.bare else 1)), nfe)


def unit_of(window: Window) -> Unit:
    """Return the unit that a window is worked on as."""
    return Unit(window.key, 0, window.field, window.core, window.after)


def grouped_by_shape(plan: Plan, window: int, size: int) -> list[tuple[Unit, ...]]:
    """Return windows of one shape together that need nothing of each other.

    Parameters
    ----------
    window : int
        Side of the largest field that the network takes at once; larger ones go alone.
    size : int
        Most windows of a group.
    """
    groups: list[list[Window]] = []
    filling: dict[tuple[int, int, bool], list[Window]] = {}
    for one in plan.windows:
        shape = (*one.work, one.bare)
        if one.after or max(one.work) > window or len(filling.get(shape, ())) in (0, size):
            groups.append([one])
            if not one.after and max(one.work) <= window:
                filling[shape] = groups[-1]
        else:
            filling[shape].append(one)
    return [tuple(map(unit_of, group)) for group in groups]


def _inside(inner: Region, outer: Region) -> tuple[slice, slice]:
    """Return the place of one rectangle within another, cut to it, as (rows, columns)."""
    left, top = max(inner[0] - outer[0], 0), max(inner[1] - outer[1], 0)
    right = min(inner[0] + inner[2] - outer[0], outer[2])
    bottom = min(inner[1] + inner[3] - outer[1], outer[3])
    return slice(top, max(bottom, 0)), slice(left, max(right, 0))


def _resized(values: npt.NDArray[Any], size: tuple[int, int]) -> Array:
    """Return a float field resampled to (w, h): area average down, cubic up."""
    shrinks = size[0] < values.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(values, size, interpolation=how), np.float32)


def to_uint8(x: Tensor) -> npt.NDArray[np.uint8]:
    """Return the first image of a batch in [-1, 1] as (H, W, 3) uint8."""
    values = x[0].float().clamp(-1, 1).permute(1, 2, 0).cpu().numpy()
    return np.asarray(Intensity(0, 255).decode(values, np.uint8))
