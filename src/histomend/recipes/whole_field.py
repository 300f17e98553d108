"""How each method restores a batch of tiles: what the front door of denoising asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Denoises
from histomend.diffusion.loop import Recipe, sample
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.path import Path
from histomend.diffusion.recalibration import Calibrates, RecalibratingPath
from histomend.diffusion.samplers import Sampler
from histomend.diffusion.schedule import Schedule
from histomend.errors import ModelMismatchError
from histomend.models import Model
from histomend.recipes.calibrated import Calibrated, CalibratedSampling


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
class ByDiffusion:
    """A method on the loop.

    Parameters
    ----------
    denoiser, schedule, sampler
    recipe : function of (x, t) -> Recipe
    path : function of t -> Path
    calibrate : Calibrates
    """

    denoiser: Denoises
    schedule: Schedule
    sampler: Sampler
    recipe: Callable[[Tensor, Tensor], Recipe]
    path: Callable[[Tensor], Path]
    calibrate: Calibrates

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Walk the loop."""
        t = torch.zeros(len(x)) if t is None else t
        found = sample(
            self.denoiser, self.recipe(x, t), self.path(t), self.sampler, noise, self.schedule
        )
        return found.x, found.nfe


def by_calibration(model: Model, sampling: CalibratedSampling) -> ByDiffusion:
    """Return RSCD with a model.

    Raises
    ------
    ModelMismatchError
        If the model has no calibrator.
    """
    if model.calibrator is None:
        raise ModelMismatchError(
            f"The model {model.name} has no calibrator, which says how noisy an image is. Put one "
            "into it: histomend train rscd ... --resume --calibrator FOLDER."
        )
    calibrator = model.calibrator
    schedule = model.config.noise_schedule()
    return ByDiffusion(
        model.denoiser,
        schedule,
        sampling.make_sampler(schedule),
        recipe=lambda x, _: Calibrated(x),
        path=lambda t: RecalibratingPath(calibrator, sampling.plan, first=t),
        calibrate=calibrator,
    )
