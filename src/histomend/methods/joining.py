"""The preset `exemplar`: fill with the image's own tissue, then let the model join the seams.

Three stages for each sample: the holes are filled with copies; where no tissue was found, the model
draws everything, as the preset `generate` does; then it draws a band along the seams that do not
fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from histomend.diffusion.noise import further_seed
from histomend.exemplar.fill import Filling, fill
from histomend.exemplar.sheet import Field
from histomend.image import Intensity
from histomend.jobs.job import Mask, Outcome, Pixels, RestoreOptions, Stage, Tick, Unit
from histomend.methods.joined import BAND_PX, band
from histomend.methods.sampling import GENERATE, Sampling, sampling
from histomend.methods.sound import artifacts_elsewhere
from histomend.methods.windows import Drawn, WindowStage, grouped_by_shape
from histomend.models import Model
from histomend.slides.sink import ArraySink, Sink
from histomend.slides.source import ArraySource
from histomend.tiles.plan import Plan, make_plan
from histomend.tiles.seams import mark_bare

COPIED_NOTICE = (
    "The restored parts are copies of tissue from elsewhere in this image, joined by the model. "
    "They are no evidence of what lay there: nuclei in them are copies, and must not be counted."
)


def _no_tick() -> None:
    """Count nothing: how many calls these are is not known beforehand."""


@dataclass(frozen=True)
class Joining:
    """What all stages of a job know.

    Parameters
    ----------
    source : ArraySource
    mask : (H, W) bool
    model : Model
    sampling : Sampling
    plan : Plan
    group : int
        Windows in one network call.
    options : RestoreOptions
    """

    source: ArraySource
    mask: Mask
    model: Model
    sampling: Sampling
    plan: Plan
    group: int
    options: RestoreOptions

    def stages(self) -> tuple[Callable[[Any], Stage], ...]:
        """Return the stages of all samples."""
        found: list[Callable[[Any], Stage]] = []
        for k in range(self.options.samples):
            seed = further_seed(self.options.seed, k)
            found += [partial(part, seed) for part in (self._filling, self._drawing, self._joining)]
        return tuple(found)

    @cached_property
    def sound(self) -> tuple[Mask | None, tuple[str, ...]]:
        """Where tissue may be copied from, everywhere if None, and what is to be said of it."""
        source, avoid = self.source, self.options.avoid
        mpp = source.mpp or self.model.config.mpp
        found, notices = artifacts_elsewhere(source.values[0], self.mask, mpp)
        if avoid is not None:
            found = avoid if found is None else found | avoid
        return (None if found is None else ~found), notices

    def elsewhere(self) -> tuple[Field, ...]:
        """Return further tissue of the slide, if the image is a part of one."""
        mpp = self.source.mpp or self.model.config.mpp
        found = []
        for each in self.options.elsewhere() if self.options.elsewhere is not None else ():
            artifacts, _ = artifacts_elsewhere(each.pixels, ~each.clean, mpp)
            clean = each.clean if artifacts is None else each.clean & ~artifacts
            found.append(replace(each, clean=clean))
        return tuple(found)

    def _filling(self, seed: int, carry: tuple[Painted, ...] | None) -> FillStage:
        return FillStage(self, seed, carry or ())

    def _drawing(self, seed: int, carry: tuple[Painted, ...]) -> DrawStage:
        """Return the stage in which the model draws what could not be filled."""
        now, config = carry[-1], self.model.config
        missing = now.filling.missing
        plan = make_plan(missing, config.window, self.plan.scale, config.factor)
        plan = mark_bare(plan, now.source(self.source), missing)
        chosen = sampling(GENERATE, config)
        return DrawStage(
            *self._windows(now, missing, chosen, plan, seed), shared=self, done=carry, ticks=False
        )

    def _joining(self, seed: int, carry: tuple[Painted, ...]) -> DrawStage:
        """Return the stage in which the model draws a band along the seams."""
        now = carry[-1]
        width = BAND_PX / self.plan.scale
        seams = band(now.filling.misfits, self.mask & ~now.filling.missing, width)
        # Another seed, so that the band does not repeat the noise of what was drawn beside it.
        return DrawStage(
            *self._windows(now, seams, self.sampling, self.plan, further_seed(seed, 1)),
            shared=self,
            done=carry,
            ticks=True,
            last=len(carry) == self.options.samples,
        )

    def _windows(
        self, now: Painted, mask: Mask, chosen: Sampling, plan: Plan, seed: int
    ) -> tuple[Any, ...]:
        groups = grouped_by_shape(plan, self.model.config.window, self.group)
        trace = self.options.trace
        return now.source(self.source), mask, self.model, chosen, plan, groups, seed, 1, trace


@dataclass(frozen=True)
class Painted:
    """A sample on its way: its filling, the pixels so far, what was drawn, and network calls."""

    filling: Filling
    pixels: Pixels
    drawn: Mask
    nfe: int = 0

    def source(self, like: ArraySource) -> ArraySource:
        """Return the pixels as a source."""
        return ArraySource(like.like(self.pixels[None], like.mpp))


@dataclass(frozen=True)
class FillStage:
    """Fills the mask with copies; its carry is the samples so far.

    Parameters
    ----------
    shared : Joining
    seed : int
    done : tuple of Painted
        Earlier samples.
    """

    shared: Joining
    seed: int
    done: tuple[Painted, ...]
    parallel: bool = False

    @property
    def source(self) -> ArraySource:
        """What is filled."""
        return self.shared.source

    @property
    def groups(self) -> Sequence[tuple[Unit, ...]]:
        """The image as one: copies come from anywhere in it."""
        whole = (0, 0, self.source.width, self.source.height)
        return [(Unit("fill", 0, whole, whole),)]

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Any],
        tick: Tick,
    ) -> list[Filling]:
        """Return the filling."""
        mpp = self.source.mpp or self.shared.model.config.mpp
        clean, _ = self.shared.sound
        found = fill(
            pixels[0],
            self.shared.mask,
            clean=clean,
            mpp=mpp,
            seed=self.seed,
            elsewhere=self.shared.elsewhere,
        )
        tick()
        return [found]

    def place(self, found: Iterable[tuple[Unit, Filling]], sink: Sink) -> tuple[Painted, ...]:
        """Keep the filling for the stages that follow."""
        (_, filling) = next(iter(found))
        nothing = np.zeros_like(self.shared.mask)
        return (*self.done, Painted(filling, filling.pixels, nothing))


@dataclass(frozen=True)
class DrawStage(WindowStage):
    """Draws a part of the mask into the newest sample.

    Parameters
    ----------
    shared : Joining
    done : tuple of Painted
    ticks : bool
        Whether its calls are counted as parts of the job.
    last : bool
        Whether nothing follows.
    """

    shared: Joining = field(kw_only=True)
    done: tuple[Painted, ...] = field(kw_only=True)
    ticks: bool = field(kw_only=True)
    last: bool = field(default=False, kw_only=True)

    def run(
        self,
        units: tuple[Unit, ...],
        pixels: Sequence[Pixels],
        done: Mapping[str, Drawn],
        tick: Tick,
    ) -> list[Drawn]:
        """Draw windows of which something is masked; the others stay as they are filled."""
        tick = tick if self.ticks else _no_tick
        windows = [self.window(unit.key) for unit in units]
        bare = windows[0].bare
        if any(self._masked(unit).any() for unit in units) and not (bare and self.sampling.joins):
            return super().run(units, pixels, done, tick)
        encode = Intensity.for_dtype(self.source.dtype).encode
        if not bare:
            for _ in range(len(units) * self.sampling.nfe(self.model.config.noise_schedule())):
                tick()
        return [Drawn(encode(self.source.read(0, unit.writes))[None], 0) for unit in units]

    def place(self, found: Iterable[tuple[Unit, Drawn]], sink: Sink) -> Any:
        """Paste what was drawn into the sample; at the end the first sample goes into the sink."""
        now = self.done[-1]
        canvas = ArraySink(now.pixels[None].copy())
        drawn, nfe = now.drawn.copy(), now.nfe
        for unit, one in found:
            mask = self._masked(unit)
            pixels = self.source.read(0, unit.writes).copy()
            pixels[mask] = self._stored(one.samples[0])[mask]
            canvas.write(0, unit.writes, pixels)
            nfe += one.nfe
            if one.nfe or not self.sampling.joins:
                x, y, w, h = unit.writes
                drawn[y : y + h, x : x + w] |= mask
        samples = (*self.done[:-1], replace(now, pixels=canvas.values[0], drawn=drawn, nfe=nfe))
        return self._outcome(samples, sink) if self.last else samples

    def _masked(self, unit: Unit) -> Mask:
        x, y, w, h = unit.writes
        return self.mask[y : y + h, x : x + w]

    def _outcome(self, samples: tuple[Painted, ...], sink: Sink) -> Outcome:
        first, shared = samples[0], self.shared
        for window in shared.plan.windows:
            x, y, w, h = window.core
            sink.write(0, window.core, first.pixels[y : y + h, x : x + w])
        return Outcome(
            sum(sample.nfe for sample in samples),
            uncertainty=deviation(shared.mask, [sample.pixels for sample in samples]),
            figures={"not_copied_from": _share_of(shared.sound[0], shared.mask)},
            provenance=first.filling.provenance.drawn(first.drawn).record(),
            notices=(COPIED_NOTICE, *shared.sound[1], *first.filling.notices),
        )


def _share_of(sound: Mask | None, mask: Mask) -> float:
    """Return the share of what is not masked that nothing was copied from."""
    return 0.0 if sound is None else float(np.mean(~sound[~mask]))


def deviation(mask: Mask, samples: Sequence[Pixels]) -> npt.NDArray[np.float32] | None:
    """Return the samples' standard deviation, as a fraction of the range; None for a single one."""
    if len(samples) < 2:
        return None
    spread = np.zeros(mask.shape, np.float32)
    values = np.stack([pixels[mask] for pixels in samples]).astype(np.float32)
    highest = np.iinfo(samples[0].dtype).max
    spread[mask] = np.std(values, axis=0, ddof=1).mean(-1) / highest
    return spread
