"""RSCD: the damaged image is taken as an x_t, and a calibrator predicts which t it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histomend.baselines.noise_estimate import NoiseEstimator
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.recalibration import Calibrates, Plan, RecalibratingTrajectory, Stretch
from histomend.diffusion.samplers import Sampler, ddpm, sampler_named
from histomend.diffusion.schedule import Schedule
from histomend.errors import ModelMismatchError, SettingError
from histomend.jobs.job import Job, Mask, Options
from histomend.methods import METHODS, check_settings
from histomend.methods.fields import DiffusionRestorer, always, decide_field
from histomend.models import Model, ModelConfig
from histomend.slides.source import ArraySource

# Steps between two questions to the calibrator (the paper's d).
INTERVAL = 10
# As many as the paper's longest path, 200 steps, has stretches. Its Algorithm 1 has no bound.
ROUNDS = 20
# Of the preset `fast` of a new model.
CALLS = 8
# Of the authors' code: largest t, rounds, and steps that it goes further back at the end.
AUTHORS_HIGHEST, AUTHORS_ROUNDS, AUTHORS_MORE = 190, 15, 3


class RSCD(Recipe):
    """Start from the damaged image itself, without adding noise.

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    scale : (B,), optional
        What the image is multiplied with. By default it is taken as it is, as in the paper,
        although x_t holds the signal times alpha_t: what comes out is then 1 / alpha_t times too
        strong, 5 % at t = 200.
    """

    def __init__(self, image: Tensor, scale: Tensor | None = None):
        self.image = image if scale is None else image * scale.to(image)[:, None, None, None]

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the image."""
        return self.image


@dataclass(frozen=True)
class Undimmed:
    """A calibrator's t for images whose signal was not multiplied with alpha_t.

    It measures the strength of the noise, sigma_t. Of an image as it is, which holds signal and
    noise 1 / alpha_t times as strong as x_t does, it so tells a t that is too high.

    Parameters
    ----------
    calibrate : Calibrates
        As trained, on x_t.
    schedule : Schedule
    """

    calibrate: Calibrates
    schedule: Schedule

    def __call__(self, x: Tensor) -> Tensor:
        """Return t (B,) at which sigma_t / alpha_t is the noise of x."""
        told = self.calibrate(x).detach().double().cpu().numpy()
        times = np.arange(len(self.schedule.sigma))
        noise = np.interp(told, times, self.schedule.sigma.numpy())
        # The last sigma / alpha is infinite, or nearly so, and no image is that noisy.
        levels = (self.schedule.sigma / self.schedule.alpha.clamp(min=1e-9)).numpy()
        return torch.from_numpy(np.interp(noise, levels, times)).float()


def recalibrated(highest: int, interval: int = INTERVAL, rounds: int = ROUNDS) -> Plan:
    """Return the paper's rule ("Dynamic Recalibration"): `interval` steps, then ask again.

    Once fewer than `interval` steps remain, and in the last round, what remains is walked
    without asking again. With one round there is no recalibration at all.

    Parameters
    ----------
    highest : int
        Largest t that the denoiser was trained on; larger predictions are taken as this.
    """

    def plan(predicted: float, number: int) -> Stretch:
        t = min(max(round(predicted), 0), highest)
        if t < interval or number >= rounds:
            return Stretch(range(t, -1, -1), last=True)
        return Stretch(range(t, t - interval - 1, -1), last=False)

    return plan


def as_authors(highest: int) -> Plan:
    """Return the rule of the authors' code, whose index t is our time t + 1.

    Predictions are cut off to whole numbers; below 10, and in the last of 15 rounds, t + 3 steps
    finish the image.
    """
    most = min(AUTHORS_HIGHEST, highest - AUTHORS_MORE)

    def plan(predicted: float, number: int) -> Stretch:
        t = min(int(predicted), most)
        if t < INTERVAL or number >= AUTHORS_ROUNDS:
            return Stretch(range(max(t + AUTHORS_MORE, 0), -1, -1), last=True)
        return Stretch(range(t + 1, t - INTERVAL, -1), last=False)

    return plan


def few_calls(highest: int, calls: int, recalibrations: int = 1) -> Plan:
    """Return a rule with a fixed number of network calls, or t if that is smaller.

    In each round the way to 0 is divided evenly among the calls that are left, and the round's
    share of them is walked.

    Parameters
    ----------
    calls : int
        In all, at least one more than `recalibrations`.
    """
    rounds = recalibrations + 1

    def plan(predicted: float, number: int) -> Stretch:
        t = min(max(round(predicted), 0), highest)
        left = min(t, calls - calls * (number - 1) // rounds)
        share = calls * number // rounds - calls * (number - 1) // rounds
        times = [round(t * (left - k) / left) for k in range(left + 1)] if t else []
        if number >= rounds or left <= share:
            return Stretch(times, last=True)
        return Stretch(times[: share + 1], last=False)

    return plan


@dataclass(frozen=True)
class CalibratedSampling:
    """How RSCD samples.

    Parameters
    ----------
    preset : str
    plan : Plan
    sampler : str
    calls : int or None
        Largest number of network calls, where the preset fixes it.
    fixed_t : int or None
        Where every image starts, in place of what a calibrator says.
    estimated : bool
        Ask an estimate of the noise in place of the calibrator.
    poses : int
        Network calls for each prediction (`PosedDenoiser`).
    """

    preset: str
    plan: Plan
    sampler: str
    calls: int | None = None
    fixed_t: int | None = None
    estimated: bool = False
    poses: int = 1

    def make_sampler(self, schedule: Schedule) -> Sampler:
        """Return the sampler; the paper adds noise of variance beta, its code the posterior's."""
        if self.sampler == "ddpm":
            posterior = self.preset in ("fast", "author_code")
            return ddpm(schedule, "posterior" if posterior else "beta")
        return sampler_named(self.sampler, schedule)


_FIXED = {"fixed_10": 10, "fixed_50": 50}


def calibrated_sampling(
    preset: str, config: ModelConfig, steps: int | None = None, sampler: str | None = None
) -> CalibratedSampling:
    """Return the settings of `preset` for a model, with what the user overrides.

    Parameters
    ----------
    steps : int, optional
        Calls of the preset `fast`; with the others the calibrator says how many.

    Raises
    ------
    SettingError
        If there is no such preset or sampler, or steps do not go with the preset.
    """
    highest = config.trained_t
    check_settings(METHODS["rscd"], preset, steps, sampler)
    if preset == "fast":
        calls = config.fast_steps if steps is None else steps
        if not 1 <= calls <= highest:
            raise SettingError(
                f"{calls} steps were asked for, but the preset fast of this model makes 1 to "
                f"{highest}. Use --steps with such a value."
            )
        plan = few_calls(highest, calls, recalibrations=min(1, calls - 1))
        return CalibratedSampling(
            preset, plan, sampler or config.sampler, calls, poses=config.poses
        )
    if steps is not None:
        raise SettingError(
            f"With the preset {preset} the calibrator says how many steps an image takes. Leave "
            "--steps away, or use it with the preset fast."
        )
    fixed = _FIXED.get(preset)
    if preset == "author_code":
        plan = as_authors(highest)
    else:
        once = fixed is not None or preset == "no_recalibration"
        plan = recalibrated(highest, rounds=1) if once else recalibrated(highest)
    return CalibratedSampling(
        preset,
        plan,
        sampler or "ddpm",
        calls=None if fixed is None else min(fixed, highest),
        fixed_t=fixed,
        estimated=preset == "noise_estimate",
    )


def by_calibration(model: Model, sampling: CalibratedSampling) -> DiffusionRestorer:
    """Return RSCD with a model.

    Raises
    ------
    ModelMismatchError
        If the model has no calibrator, and the preset asks one.
    """
    schedule, stabilised = model.config.noise_schedule(), model.config.stabilised
    calibrate: Calibrates
    if sampling.fixed_t is not None:
        calibrate = always(sampling.fixed_t)
    elif sampling.estimated:
        calibrate = NoiseEstimator(schedule, dimmed=stabilised)
    elif model.calibrator is not None:
        calibrate = model.calibrator
    else:
        raise ModelMismatchError(
            f"The model {model.name} has no calibrator, which says how noisy an image is. Put one "
            "into it: histomend train rscd ... --resume --calibrator FOLDER."
        )
    # Only the image itself holds its signal in full; x is multiplied with alpha_t from then on.
    asked_first = calibrate
    if stabilised and not sampling.estimated and sampling.fixed_t is None:
        asked_first = Undimmed(calibrate, schedule)

    def recipe(x: Tensor, t: Tensor) -> RSCD:
        start = t.round().clamp(0, model.config.trained_t).long()
        return RSCD(x, schedule.alpha[start] if stabilised else None)

    return DiffusionRestorer(
        model.denoiser,
        schedule,
        sampling.make_sampler(schedule),
        recipe=recipe,
        trajectory=lambda t: RecalibratingTrajectory(calibrate, sampling.plan, first=t),
        calibrate=asked_first,
        poses=sampling.poses,
    )


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Calibrate all tiles, smooth their t over the overlaps, restore and blend them.

    Raises
    ------
    ModelMismatchError, SettingError
    """
    sampling = calibrated_sampling(options.preset, model.config, options.steps, options.sampler)
    settings = {"sampler": sampling.sampler, "calls": sampling.calls, "poses": sampling.poses}
    return decide_field(source, model, options, by_calibration(model, sampling), settings)
