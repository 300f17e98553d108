"""RRD: the image is taken as an x_t, and drawn to its own low frequencies on the way back."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from histomend.baselines.noise_estimate import NoiseEstimator
from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import Step
from histomend.jobs.job import Job, Mask, Options
from histomend.methods.ccdf import decide_reverse, low_frequencies, walking
from histomend.slides.source import ArraySource

# How far the low frequencies are drawn to the image's after each step; our choice, as what suits
# depends on the noise.
RRD_WEIGHT = 0.5


class RRD(Recipe):
    """Regularized Reverse Diffusion (Chung, Lee and Ye 2023): the image is an x_t, as in RSCD.

    Its t comes from an estimate of the noise. The paper's x_t keeps the signal's full strength and
    only grows noisier, so that the image is one as it is; here x_t holds alpha_t times the signal,
    and the same state is alpha_t times the image, at the t where sigma_t / alpha_t is the image's
    noise. After each step the low frequencies are drawn towards the image's, so that a wrong t does
    not shift colours and large structures.

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    t : (B,)
        As `NoiseEstimator` predicts it for a dimmed image.
    schedule : Schedule
    """

    def __init__(self, image: Tensor, t: Tensor, schedule: Schedule):
        self.image = image
        self.t = t.round().long()
        self.schedule = schedule

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the image, as faint as an x_t is: its noise was added to a full signal."""
        alpha, _ = self.schedule.at(self.t, self.image)
        return alpha * self.image

    def after(self, x: Tensor, step: Step) -> Tensor:
        """Draw the low frequencies towards the image's."""
        alpha, _ = self.schedule.at(step.t_next, x)
        drawn = x + RRD_WEIGHT * low_frequencies(alpha * self.image - x)
        return walking(step, drawn, x)


def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None = None) -> Job:
    """Estimate the noise of each tile, and walk back from there.

    Raises
    ------
    SettingError
    """
    calibrate = NoiseEstimator(model.config.noise_schedule(), dimmed=True)
    return decide_reverse(source, model, options, RRD, calibrate)
