"""Measure how long an image of 512×512 px takes at ×4: both presets, stage 1, and plain networks.

Fills two tables of docs/results/histo-diffusion.md. Seconds depend on the machine; what counts are
the ratios, all of one run. Run from the repository root::

    python benchmarks/upscale_speed.py --model runs/control/model
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from histomend.api import upscale
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.evaluate.tables import Table, write_section
from histomend.image import Intensity
from histomend.image.resampling import resized_to
from histomend.methods.histo_diffusion import HistoDiffusion, controlled_sampling
from histomend.models.upscaler import Upscaler, load_upscaler
from speed import matmul_rate, median_s
from stopwatch import Around, Stopwatch, TimedSpace

SIZE, SCALE = 512, 4


class Abacus:
    """Adds up the multiply-accumulates of the calls of each part of a model."""

    def __init__(self) -> None:
        self.macs: dict[str, int] = {}

    def around(self, part: str, call: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return `call`, counted under the name of a part."""

        def counted(*arguments: Tensor) -> Tensor:
            with FlopCounterMode(display=False) as counter:
                result = call(*arguments)
            self.macs[part] = self.macs.get(part, 0) + counter.get_total_flops() // 2
            return result

        return counted


@dataclass(frozen=True)
class Way:
    """One way to enlarge the image, a row."""

    name: str
    calls: int
    run: Callable[[Upscaler], object]
    repeats: int


def main() -> None:
    chosen = _options()
    torch.set_num_threads(chosen.threads)
    # On one thread what else the machine does is left out.
    clock = time.process_time if chosen.threads == 1 else time.perf_counter
    model = load_upscaler(chosen.model, "cpu")
    pixels = np.random.default_rng(0).integers(120, 250, (chosen.size // SCALE,) * 2 + (3,))
    small = pixels.astype(np.uint8)
    fast, paper = (
        controlled_sampling(preset, model.config, model.denoiser.schedule).steps
        for preset in ("fast", "paper")
    )
    ways = [
        Way("`fast`", fast, lambda m: enlarged(m, small), chosen.repeats),
        Way("`paper`", paper, lambda m: enlarged(m, small, preset="paper"), 1),
        Way(
            "stage 1 alone (SwinIR)",
            0,
            lambda m: enlarged(m, small, generation=0.0),
            chosen.repeats,
        ),
        Way("plain eager fp32", paper, lambda m: plainly_enlarged(m, small), 1),
    ]
    rate = matmul_rate(clock=clock)
    seconds, macs = {}, {}
    for way in ways:
        count = Abacus()
        way.run(taken_apart(model, count.around))
        macs[way.name] = count.macs
        # What was counted has also warmed up.
        run = way.run
        seconds[way.name] = (
            once(lambda run=run: run(model), clock)
            if way.repeats == 1
            else median_s(lambda run=run: run(model), way.repeats, clock)
        )
        print(way.name, f"{seconds[way.name]:.2f} s", flush=True)
    rows = []
    for way in ways:
        limit = 2 * sum(macs[way.name].values()) / rate
        rows.append(
            (
                way.name,
                str(way.calls),
                f"{sum(macs[way.name].values()) / 1e9:,.0f}",
                f"{seconds[way.name]:.2f}",
                f"{seconds[way.name] / seconds[ways[0].name]:.2f}",
                f"{limit:.2f}",
                f"{seconds[way.name] / limit:.2f}",
            )
        )
    _write(chosen, rows, rate, _parts(model, small, macs[ways[0].name], rate, clock))


def enlarged(model: Upscaler, small: np.ndarray, **settings: Any) -> object:
    """Enlarge as a user does."""
    return upscale(small, scale=SCALE, model=model, device="cpu", **settings)


@torch.inference_mode()
def plainly_enlarged(model: Upscaler, small: np.ndarray) -> Tensor:
    """Enlarge as the paper's Fig. 9 draws it: the whole field in each of the calls of `paper`."""
    size = (small.shape[0] * SCALE, small.shape[1] * SCALE)
    wide = Intensity.for_dtype(small.dtype).encode(resized_to(small, size))
    x = torch.from_numpy(wide).permute(2, 0, 1)[None].contiguous()
    control = model.space.encode(model.restoration((x + 1) / 2) * 2 - 1)
    schedule = model.denoiser.schedule
    chosen = controlled_sampling("paper", model.config, schedule)
    times = chosen.times(schedule)
    found = sample(
        model.denoiser,
        HistoDiffusion(control, times[0], schedule),
        FixedTrajectory(times),
        chosen.make_sampler(schedule, learned_variance=False),
        NoiseStream([NoiseField(0)], [(0, 0)]),
        schedule,
    )
    return model.space.decode(found.x)


def taken_apart(model: Upscaler, around: Around) -> Upscaler:
    """Return a model each part of which goes through `around`."""
    network: Any = around("diffusion", model.denoiser.network)
    denoiser = Denoiser(network, model.denoiser.schedule, model.denoiser.prediction)
    restoration: Any = around("stage 1", model.restoration)
    space: Any = TimedSpace(model.space, around)
    return replace(model, denoiser=denoiser, restoration=restoration, space=space)


def once(call: Callable[[], object], clock: Callable[[], float]) -> float:
    """Return the seconds of one call."""
    began = clock()
    call()
    return clock() - began


def _parts(
    model: Upscaler,
    small: np.ndarray,
    macs: dict[str, int],
    rate: float,
    clock: Callable[[], float],
) -> list[tuple[str, ...]]:
    """Split the time of `fast` among the parts of the model."""
    watch = Stopwatch(model.device, clock)
    timed = taken_apart(model, watch.around)
    total = once(lambda: enlarged(timed, small), clock)
    rows = [
        (
            part,
            str(watch.calls[part]),
            f"{macs[part] / 1e9:,.0f}",
            f"{seconds / total:.0%}",
            f"{seconds / (2 * macs[part] / rate):.2f}",
        )
        for part, seconds in watch.seconds.items()
    ]
    rest = total - sum(watch.seconds.values())
    return [*rows, ("the rest", "–", "–", f"{rest / total:.0%}", "–")]


def _write(
    chosen: argparse.Namespace,
    rows: list[tuple[str, ...]],
    rate: float,
    parts: list[tuple[str, ...]],
) -> None:
    command = shlex.join(["python", "benchmarks/upscale_speed.py", *sys.argv[1:]])
    where = f"{chosen.threads} thread(s), {'processor' if chosen.threads == 1 else 'wall'} time"
    limit = (
        "the time of its multiplications alone at the rate of a large matrix product in the same "
        f"run ({rate / 1e9:.0f} GFLOP/s)"
    )
    speed = Table(
        f"**Speed**, {chosen.size // SCALE}×{chosen.size // SCALE} to {chosen.size}×{chosen.size} "
        f"px on this CPU, {where}, all in one run; medians of {chosen.repeats}, 50 steps once. "
        "Plain: the same networks without windows, the whole field in each call. "
        f"Limit: {limit}.",
        command,
        (
            "",
            "network calls",
            "GMAC",
            "s",
            "times `fast`",
            "arithmetic limit, s",
            "times the limit",
        ),
        tuple(rows),
    )
    split = Table(
        f"**Where the time of `fast` goes**, {where}. Limit: {limit}.",
        command,
        ("part", "calls", "GMAC", "share", "times its limit"),
        tuple(parts),
    )
    for name, table in (("speed", speed), ("speed-parts", split)):
        write_section(chosen.out, name, table.markdown())
        print(table.markdown(), end="\n\n")
    print(f"wrote {chosen.out}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="upscaler (RUN/model of `histomend train control`)")
    add("--size", type=int, default=SIZE, help="side of the enlarged image in px")
    add("--repeats", type=int, default=3)
    add("--threads", type=int, default=1, help="PyTorch's threads")
    add("--out", type=Path, default=Path("docs/results/histo-diffusion.md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
