"""Training of RSCD's step calibrator, on clean images that are noised to t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.device import torch_device
from histomend.diffusion.recalibration import Calibrates
from histomend.diffusion.schedule import Schedule, named
from histomend.errors import SettingError
from histomend.models import CalibratorConfig, calibrator_folder, load_weights, save_calibrator
from histomend.networks.calibrator import build_calibrator
from histomend.train.loop import Run
from histomend.train.settings import CALIBRATOR, MixedOptions
from histomend.train.signals import crops, open_signals

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Errors count relative to t plus this: five steps too many ruin an image at t = 5, and are
# nothing at t = 200. The paper takes the squared error of t, which says little about small t.
EASE = 10.0
# Sides of the second region, as shares of the field's; the authors' are 30 to 180 of 256 px.
SIDES = (30 / 256, 180 / 256)
# How often the second region is the one with less noise; else its surroundings are.
LESS_INSIDE = 0.6
LEVELS = (0, 5, 10, 20, 50, 100, 200)
HELD_OUT = 32


@dataclass(frozen=True)
class CalibratorSubject:
    """A calibrator as what is trained."""

    config: CalibratorConfig

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        keys = ("arch", "channels", "schedule", "steps", "highest_t", "augmented", "stabilised")
        return {key: getattr(self.config, key) for key in keys}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the calibrator in the folder `init`."""
        return load_weights(calibrator_folder(Path(init)))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a calibrator's folder."""
        # The running variances of batch norms may be too large or too small for fp16.
        half = not any(name.endswith("running_var") for name in average)
        save_calibrator(folder, average, self.config, half=half)


def train_calibrator(
    data: Path,
    out: Path,
    *,
    arch: str = "small",
    channels: int = 3,
    init: str | Path | None = None,
    schedule: str = "cosine",
    highest_t: int = 300,
    augmented: bool = True,
    stabilised: bool = False,
    drawn_share: float = 0.3,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a calibrator and return its folder.

    Parameters
    ----------
    data : Path
        Folder of clean tiles.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`.
    arch : "paper" or "small"
    channels : 1, 2 or 3
        See `open_signals`.
    highest_t : int
        Largest t that images are noised to.
    augmented : bool
        Noise two regions differently (the paper's augmentation); the larger t is to be told.
    stabilised, drawn_share
        As of `histomend.train.rscd.train`.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `CALIBRATOR` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run that does not match, or a loss that diverged.
    SettingError
        An arch, a schedule, a number of channels or a t that does not exist.
    ModelError
        First weights of another kind, or damaged ones.
    """
    settings = replace(CALIBRATOR, **options)
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    config = CalibratorConfig(
        arch, channels, schedule, highest_t=highest_t, augmented=augmented, stabilised=stabilised
    )
    levels = named(schedule, config.steps)
    with torch.device("meta"):
        build_calibrator(arch, channels)
    if not 1 <= highest_t <= levels.steps:
        raise SettingError(f"--highest-t is {highest_t}, but must be from 1 to {levels.steps}.")
    cache = settings.cache_of(out)
    tiles = open_signals(
        data,
        settings.validation,
        settings.extra,
        settings.extra_share,
        cache,
        channels=channels,
        best_share=1.0,
        crop=crop,
        device=where,
        stabilised=stabilised,
        drawn_share=drawn_share,
        most_sigma=float(levels.sigma[highest_t] / levels.alpha[highest_t]),
    )
    run = Run(
        out,
        CalibratorSubject(config),
        settings,
        init=init,
        compiled=settings.compiled,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        key = [settings.seed, step, run.accelerator.process_index]
        rng = np.random.default_rng(key)
        x0 = crops(tiles.every, rng, batch, crop)
        # Small t are drawn more often than large ones: they are harder to tell apart, and
        # clean images must be known as such.
        t = torch.from_numpy((highest_t * rng.random(batch) ** 2).round().astype(np.int64))
        where_t = uneven(t, crop, rng) if augmented else even(t, crop)
        number = int(np.random.default_rng([*key, 1]).integers(2**62))
        x = noised_to(x0, where_t, levels, torch.Generator().manual_seed(number))
        found = network(x.to(where)).float()
        label = t.to(found)
        return ((found - label).abs() / (label + EASE)).mean(), batch

    x0 = crops(tiles.held_out, np.random.default_rng([20, 1]), HELD_OUT, crop)

    def validate(run: Run) -> dict[str, float]:
        network, known = run.averaged(), [t for t in LEVELS if t <= highest_t]

        def calibrate(x: Tensor) -> Tensor:
            return network(x.to(where)).float().cpu()

        return {
            f"{prefix}t_error_{t}": round(error, 2)
            for prefix, mixed in (("", False), ("uneven_", True))
            for t, (_, error) in calibration_errors(calibrate, x0, levels, known, mixed).items()
        }

    return run.train(loss_at, validate)


def even(t: Tensor, size: int) -> Tensor:
    """Return t (B,) as maps (B, 1, size, size)."""
    return t[:, None, None, None].expand(-1, 1, size, size).clone()


def uneven(t: Tensor, size: int, rng: np.random.Generator) -> Tensor:
    """Return maps of t (B, 1, size, size) in which a rectangle or what is around it has less.

    How much is evenly distributed in 0..t (RSCD, "Step Calibrator").
    """
    maps = even(t, size)
    for row, most in enumerate(t.tolist()):
        height, width = (round(size * rng.uniform(*SIDES)) for _ in range(2))
        y, x = int(rng.integers(size - height + 1)), int(rng.integers(size - width + 1))
        inside = torch.zeros(size, size, dtype=torch.bool)
        inside[y : y + height, x : x + width] = True
        less = int(rng.integers(most + 1))
        maps[row, 0, inside if rng.random() < LESS_INSIDE else ~inside] = less
    return maps


def noised_to(x0: Tensor, t_map: Tensor, schedule: Schedule, draws: torch.Generator) -> Tensor:
    """Return x0 (B, C, H, W) with each place noised to its own t (B, 1, H, W)."""
    alpha, sigma = (level[t_map].to(x0) for level in (schedule.alpha, schedule.sigma))
    return alpha * x0 + sigma * torch.randn(x0.shape, generator=draws)


@torch.no_grad()
def calibration_errors(
    calibrate: Calibrates,
    x0: Tensor,
    schedule: Schedule,
    levels: Sequence[int],
    mixed: bool,
    seed: int = 0,
) -> dict[int, tuple[float, float]]:
    """Return (mean error, mean absolute error) of the predicted t for each true t, in steps.

    Parameters
    ----------
    calibrate : Calibrates
    x0 : (B, C, S, S) in [-1, 1]
        Clean images.
    levels : sequence of int
        The true t.
    mixed : bool
        Noise two regions differently; the true t is the larger one.
    """
    errors = {}
    for t in levels:
        wanted = torch.full((len(x0),), t)
        rng = np.random.default_rng([seed, t])
        where_t = uneven(wanted, x0.shape[-1], rng) if mixed else even(wanted, x0.shape[-1])
        x = noised_to(x0, where_t, schedule, torch.Generator().manual_seed(seed))
        off = torch.cat([calibrate(part) for part in x.split(8)]) - t
        errors[t] = float(off.mean()), float(off.abs().mean())
    return errors
