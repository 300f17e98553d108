"""Training of RSCD's step calibrator, on clean images that are noised to t."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.recalibration import Calibrates
from histomend.diffusion.schedule import Schedule, named
from histomend.errors import SettingError
from histomend.models import CalibratorConfig, calibrator_folder, load_weights, save_calibrator
from histomend.train.channels import crops, open_fields
from histomend.train.data import Crops
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.options import CalibratorOptions
from histomend.train.validation import device_of, held_out_rng

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
class CalibratorTrainee:
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
        return load_weights(calibrator_folder(init))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a calibrator's folder."""
        # The running variances of batch norms may be too large or too small for fp16.
        half = not any(name.endswith("running_var") for name in average)
        save_calibrator(folder, average, self.config, half=half)


@dataclass
class CalibratorLesson(Lesson[tuple[Tensor, Tensor, Tensor]]):
    """Predict at which t noised crops are; see `CalibratorOptions`.

    Parameters
    ----------
    trainee : CalibratorTrainee
    source : Crops
    options : CalibratorOptions
    held_out : (B, C, h, w) in [-1, 1]
    """

    trainee: CalibratorTrainee
    source: Crops
    options: CalibratorOptions
    held_out: Tensor

    @property
    def schedule(self) -> Schedule:
        """The schedule whose t is predicted."""
        return named(self.trainee.config.schedule, self.trainee.config.steps)

    def crops(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Draw clean crops, the t to be predicted of each, and maps of t."""
        rng, batch, crop = step.rng, self.options.batch, self.options.crop
        x0 = crops(self.source, rng, batch, crop)
        # Small t are drawn more often than large ones: they are harder to tell apart, and
        # clean images must be known as such.
        draws = self.options.highest_t * rng.random(batch) ** 2
        t = torch.from_numpy(draws.round().astype(np.int64))
        return x0, t, uneven(t, crop, rng) if self.options.augmented else even(t, crop)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor, Tensor], step: Step) -> Tensor:
        """Return the error of t, relative to t."""
        x0, t, where_t = crops
        x = noised_to(x0, where_t, self.schedule, step.noise)
        found = network(x.to(step.device)).float()
        label = t.to(found)
        return ((found - label).abs() / (label + EASE)).mean()

    def figures(self, network: nn.Module) -> Figures:
        """Return the mean errors of t by true t, on even and on uneven noise."""
        known = [t for t in LEVELS if t <= self.options.highest_t]
        device = device_of(network)

        def calibrate(x: Tensor) -> Tensor:
            return network(x.to(device)).float().cpu()

        errors = {
            prefix: calibration_errors(calibrate, self.held_out, self.schedule, known, mixed)
            for prefix, mixed in (("", False), ("uneven_", True))
        }
        return Figures(
            {
                f"{prefix}t_error_{t}": round(error, 2)
                for prefix, by_t in errors.items()
                for t, (_, error) in by_t.items()
            }
        )


def lesson(options: CalibratorOptions) -> CalibratorLesson:
    """Return the lesson of a calibrator."""
    config = CalibratorConfig(
        options.arch,
        options.channels,
        options.schedule,
        highest_t=options.highest_t,
        augmented=options.augmented,
        stabilised=options.stabilised,
    )
    with torch.device("meta"):
        config.network()
    if options.highest_t > config.steps:
        raise SettingError(
            f"--highest-t is {options.highest_t}, but must be from 1 to {config.steps}."
        )
    schedule = named(config.schedule, config.steps)
    tiles = open_fields(options, schedule)
    held_out = crops(tiles.held_out, held_out_rng(), HELD_OUT, options.crop)
    return CalibratorLesson(CalibratorTrainee(config), tiles.every, options, held_out)


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
