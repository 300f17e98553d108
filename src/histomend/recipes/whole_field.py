"""How each method restores a batch of tiles: what the front door of denoising asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from histomend.baselines.deep_image_prior import ENTRY, DeepImagePrior
from histomend.baselines.denoising import median_blur
from histomend.baselines.noise2noise import without_noise
from histomend.baselines.noise_estimate import NoiseEstimator
from histomend.diffusion.denoiser import Denoiser, Denoises
from histomend.diffusion.loop import Recipe, sample
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.path import FixedPath, Path
from histomend.diffusion.recalibration import Calibrates, RecalibratingPath
from histomend.diffusion.samplers import Sampler, sampler_named
from histomend.diffusion.schedule import Schedule
from histomend.errors import ModelMismatchError, SettingError
from histomend.models import Model
from histomend.recipes.calibrated import Calibrated, CalibratedSampling, few_calls
from histomend.recipes.conditional import Conditional
from histomend.recipes.contracted import CCDF_T, Contracted, Regularised
from histomend.recipes.settings import Sampling


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
    calibrate : Calibrates, optional
    """

    denoiser: Denoises
    schedule: Schedule
    sampler: Sampler
    recipe: Callable[[Tensor, Tensor], Recipe]
    path: Callable[[Tensor], Path]
    calibrate: Calibrates | None = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Walk the loop."""
        t = torch.zeros(len(x)) if t is None else t
        found = sample(
            self.denoiser, self.recipe(x, t), self.path(t), self.sampler, noise, self.schedule
        )
        return found.x, found.nfe


@dataclass(frozen=True)
class ByMedian:
    """The median of each neighbourhood."""

    calibrate: None = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Blur, without any network."""
        pixels = ((x + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
        blurred = torch.from_numpy(median_blur(pixels)).permute(0, 3, 1, 2).to(x)
        return 2 * blurred - 1, torch.zeros(len(x), dtype=torch.int64)


@dataclass(frozen=True)
class ByPrior:
    """Deep Image Prior, fitted tile by tile."""

    prior: DeepImagePrior
    seed: int
    calibrate: None = None

    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Fit a network to each tile; a step of the fit counts as a call."""
        entry = noise.draw(x.new_zeros(len(x), ENTRY, *x.shape[2:]))
        fitted = [self.prior(tile, start, self.seed) for tile, start in zip(x, entry, strict=True)]
        return torch.stack(fitted), torch.full((len(x),), self.prior.steps)


@dataclass(frozen=True)
class ByNoise2Noise:
    """Noise2Noise: one call of its network."""

    network: nn.Module
    calibrate: None = None

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Take away what the network tells for noise."""
        return without_noise(self.network, x), torch.ones(len(x), dtype=torch.int64)


@dataclass(frozen=True)
class ByTranslation:
    """CycleGAN: one call of the generator that restores."""

    network: nn.Module
    calibrate: None = None

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor | None, noise: NoiseStream) -> tuple[Tensor, Tensor]:
        """Translate damaged tiles into clean ones."""
        return self.network(x).to(x.dtype), torch.ones(len(x), dtype=torch.int64)


def by_calibration(model: Model, sampling: CalibratedSampling) -> ByDiffusion:
    """Return RSCD with a model.

    Raises
    ------
    ModelMismatchError
        If the model has no calibrator, and the preset asks one.
    """
    schedule = model.config.noise_schedule()
    calibrate: Calibrates
    if sampling.fixed_t is not None:
        calibrate = _always(sampling.fixed_t)
    elif sampling.estimated:
        calibrate = NoiseEstimator(schedule)
    elif model.calibrator is not None:
        calibrate = model.calibrator
    else:
        raise ModelMismatchError(
            f"The model {model.name} has no calibrator, which says how noisy an image is. Put one "
            "into it: histomend train rscd ... --resume --calibrator FOLDER."
        )
    return ByDiffusion(
        model.denoiser,
        schedule,
        sampling.make_sampler(schedule),
        recipe=lambda x, _: Calibrated(x),
        path=lambda t: RecalibratingPath(calibrate, sampling.plan, first=t),
        calibrate=calibrate,
    )


def by_contraction(
    model: Model, method: str, steps: int | None, sampler: str | None
) -> ByDiffusion:
    """Return CCDF or RRD with a model of RSCD, of which they need the denoiser alone.

    Parameters
    ----------
    method : "ccdf" or "rrd"
    steps : int, optional
        Most network calls; by default as many as t.
    sampler : str, optional
        By default ancestral, as in both papers.
    """
    schedule, highest = model.config.noise_schedule(), model.config.trained_t
    if steps is not None and not 1 <= steps <= highest:
        raise SettingError(f"{steps} steps were asked for, but this model makes 1 to {highest}.")
    plan = few_calls(highest, steps or highest, recalibrations=0)
    calibrate: Calibrates = (
        _always(min(CCDF_T, highest)) if method == "ccdf" else NoiseEstimator(schedule, dimmed=True)
    )
    return ByDiffusion(
        model.denoiser,
        schedule,
        sampler_named(sampler or "ddpm", schedule),
        recipe=lambda x, t: (Contracted if method == "ccdf" else Regularised)(x, t, schedule),
        path=lambda t: RecalibratingPath(calibrate, plan, first=t),
        calibrate=calibrate,
    )


def by_condition(denoiser: Denoiser, sampling: Sampling) -> ByDiffusion:
    """Return conditional diffusion, which starts from pure noise whatever the image is.

    Parameters
    ----------
    denoiser : Denoiser
        Of a model of "conditional", which is shown the image beside x.
    """
    schedule = denoiser.schedule
    return ByDiffusion(
        denoiser,
        schedule,
        sampling.make_sampler(schedule, learned_variance=False),
        recipe=lambda x, _: Conditional(x),
        path=lambda _: FixedPath(sampling.times(schedule)),
    )


def _always(t: int) -> Calibrates:
    return lambda x: torch.full((len(x),), float(t))
