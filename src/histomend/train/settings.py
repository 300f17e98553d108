"""What every training takes beside its data and what is its own, and the defaults of each.

The command line and the training functions both read this file, and so agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

# (step, loss, images per second, share of the budget that is spent).
Report = Callable[[int, float, float, float], None]


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a training runs.

    Parameters
    ----------
    batch, crop : int
        Crops per step and process, and their side in px.
    lr : float
        Learning rate: reached after a few steps, and kept until the cooldown.
    ema : float in [0, 1)
        How much of the running average of the weights each step keeps, once it is long enough.
    cooldown : float in [0, 1]
        Last share of the budget, over which the rate falls in a straight line to zero. A run that
        is to be continued at full rate does without.
    validation : Path, optional
        Folder of tiles from other slides; figures and sample grids are made on it.
    resume : bool
        Go on with the run in the output folder.
    minutes : float, optional
        Stop after so much time in this call.
    steps : int, optional
        Stop when the run has made so many steps in all. Without both it runs until stopped.
    save_minutes, validate_minutes : float
        How often the state is saved, and figures are made.
    seed : int
    device : str
        Of `histomend.diffusion.device.torch_device`.
    cache : Path, optional
        Folder for packed tiles and latents; beside the run's folder unless it is given.
    report : function, optional
        Called after each step with the step, the loss, images per second, and the share of the
        budget that is spent.
    """

    batch: int
    crop: int
    lr: float
    ema: float
    cooldown: float = 0.0
    validation: Path | None = None
    resume: bool = False
    minutes: float | None = None
    steps: int | None = None
    save_minutes: float = 5
    validate_minutes: float = 10
    seed: int = 0
    device: str = "auto"
    cache: Path | None = None
    report: Report | None = None

    def cache_of(self, out: Path) -> Path:
        """Return the cache of a run in the folder `out`."""
        return out.parent / "cache" if self.cache is None else self.cache


@dataclass(frozen=True, kw_only=True)
class MixedSettings(RunSettings):
    """The same for trainings that may mix in further tiles and compile their network.

    Parameters
    ----------
    extra : Path, optional
        Folder of further tiles.
    extra_share : float in [0, 1]
        Share of the crops that are taken from `extra`.
    compiled : bool
        Compile the network first, which takes a minute or two and a C++ compiler.
    """

    extra: Path | None = None
    extra_share: float = 0.08
    compiled: bool = False


class RunOptions(TypedDict, total=False):
    """What a caller may give of `RunSettings`; the rest is as the training has it."""

    batch: int
    crop: int
    lr: float
    ema: float
    cooldown: float
    validation: Path | None
    resume: bool
    minutes: float | None
    steps: int | None
    save_minutes: float
    validate_minutes: float
    seed: int
    device: str
    cache: Path | None
    report: Report | None


class MixedOptions(RunOptions, total=False):
    """What a caller may give of `MixedSettings`."""

    extra: Path | None
    extra_share: float
    compiled: bool


ARTIFUSION = MixedSettings(batch=8, crop=128, lr=1e-4, ema=0.9999)
VAE = MixedSettings(batch=8, crop=128, lr=5e-4, ema=0.999)
LATENT_ARTIFUSION = MixedSettings(batch=8, crop=256, lr=2e-4, ema=0.9999)
CALIBRATOR = MixedSettings(batch=16, crop=128, lr=3e-4, ema=0.999)
RSCD = MixedSettings(batch=8, crop=128, lr=3e-4, ema=0.9995)
CONDITIONAL = RSCD
NOISE2NOISE = RSCD
CYCLEGAN = RunSettings(batch=1, crop=128, lr=2e-4, ema=0.999, cooldown=0.5)
SWINIR = MixedSettings(batch=8, crop=128, lr=5e-4, ema=0.999)
RESTORING_GAN = MixedSettings(batch=8, crop=128, lr=2e-4, ema=0.999)
CONTROL_BRANCH = MixedSettings(batch=8, crop=256, lr=1e-4, ema=0.999)
ENCODER = RunSettings(batch=32, crop=64, lr=1e-3, ema=0.99, cooldown=0.3)
IQA = RunSettings(batch=32, crop=128, lr=1e-3, ema=0.99, cooldown=0.3)
