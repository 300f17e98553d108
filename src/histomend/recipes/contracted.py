"""Baselines that start from the image, and keep what is sure of it: CCDF and RRD.

Of a noisy image the low frequencies are sure, as noise averages out in them. Both methods hold on
to these after each step; neither asks again how far it has to go.
"""

from __future__ import annotations

import torch
from torch import Tensor

from histomend.diffusion.loop import Recipe
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.path import Step
from histomend.diffusion.schedule import Schedule

# Where CCDF starts, in a schedule of 1,000 steps; our choice, for weak degradations.
CCDF_T = 100
# Half-width of the low frequencies in cycles per px: structures wider than about 16 px.
CUTOFF = 1 / 32
# How far RRD draws the low frequencies to the image's after each step; our choice, as what suits
# depends on the noise.
RRD_WEIGHT = 0.5


class Contracted(Recipe):
    """Come-Closer-Diffuse-Faster (Chung et al. 2022): noise the image to t, and go back.

    After each step the low frequencies are exchanged for those of the image, noised to the same
    t: the paper's data consistency, a map that does not stretch (section 3.2).

    Parameters
    ----------
    image : (B, C, H, W) in [-1, 1]
    t : (B,)
    schedule : Schedule
    """

    def __init__(self, image: Tensor, t: Tensor, schedule: Schedule):
        self.image = image
        self.t = t.round().long()
        self.schedule = schedule

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the image, noised to t."""
        self._noise = noise
        return self.schedule.noised(self.image, self.t, noise.draw(self.image))

    def after(self, x: Tensor, step: Step) -> Tensor:
        """Exchange the low frequencies."""
        eps = self._noise.draw(x, step.down & (step.t_next > 0))
        wanted = self.schedule.noised(self.image, step.t_next, eps)
        return _walking(step, x + low_frequencies(wanted - x), x)


class Regularised(Recipe):
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
        As `NoiseEstimator` tells it for a dimmed image.
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
        return _walking(step, drawn, x)


def low_frequencies(x: Tensor, cutoff: float = CUTOFF) -> Tensor:
    """Return x (B, C, H, W) without its fine structure, by a Gaussian mask in Fourier space."""
    height, width = x.shape[-2:]
    down = torch.fft.fftfreq(height, device=x.device)[:, None]
    across = torch.fft.rfftfreq(width, device=x.device)[None, :]
    mask = torch.exp(-(down**2 + across**2) / (2 * cutoff**2))
    return torch.fft.irfft2(torch.fft.rfft2(x) * mask, s=(height, width))


def _walking(step: Step, changed: Tensor, x: Tensor) -> Tensor:
    """Return `changed` for the samples that walk in this step; the others rest."""
    return torch.where(step.down.to(x.device).reshape(-1, 1, 1, 1), changed, x)
