"""Figures that trainings log, made on held-out crops whose truth is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.denoiser import NO_CONDITION, Condition, Denoiser
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import Schedule

# Shares of the way to noise at which the clean image is guessed.
LEVELS = (0.2, 0.4, 0.6, 0.8)


def held_out_rng(stream: int = 1) -> np.random.Generator:
    """Return a generator that draws always the same crops."""
    return np.random.default_rng([20, stream])


def device_of(network: nn.Module) -> torch.device:
    """Return where a network is."""
    return next(network.parameters()).device


def noise_streams(count: int, first: int = 0) -> NoiseStream:
    """Return noise that is always the same, each sample's its own; `first` is the first's seed."""
    fields = [NoiseField(first + k) for k in range(count)]
    return NoiseStream(fields, [(0, 0)] * count)


def x0_errors(
    denoiser: Denoiser,
    schedule: Schedule,
    x0: Tensor,
    mask: Tensor,
    condition: Condition = NO_CONDITION,
) -> dict[str, float]:
    """Return the squared error of the predicted x0 at four noise levels, and its mean.

    Parameters
    ----------
    x0 : (B, C, h, w)
    mask : (B, 1, h, w)
        1 where the error counts.
    condition : Condition
        What the denoiser sees beside x.
    """
    eps = noise_streams(len(x0)).draw(x0)
    figures: dict[str, float] = {}
    for level in LEVELS:
        t = torch.full((len(x0),), max(1, int(level * schedule.steps)))
        guess = denoiser(schedule.noised(x0, t, eps), t, condition).x0
        error = ((guess - x0).square() * mask).sum() / (x0.shape[1] * mask.sum())
        figures[f"x0_error_{level}"] = round(float(error), 5)
    figures["mean_x0_error"] = round(sum(figures.values()) / len(LEVELS), 5)
    return figures


def psnr(images: Tensor, truth: Tensor) -> float:
    """Return the PSNR in dB, mean over images.

    Parameters
    ----------
    images, truth : (B, C, H, W)
        Images are clipped to [-1, 1], in which the truth lies.
    """
    error = (images.clamp(-1, 1) - truth).square().mean((1, 2, 3)).clamp(min=1e-10)
    return round(float((10 * torch.log10(4 / error)).mean()), 3)


def laplacian_ratio(images: Tensor, truth: Tensor) -> float:
    """Return how sharp images are over how sharp they should be, geometric mean over images.

    Sharpness is the variance of the Laplacian; 1 is right, and less is smoother.

    Parameters
    ----------
    images, truth : (B, 3, H, W)
    """
    kernel = truth.new_tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).expand(3, 1, 3, 3)
    edges = [F.conv2d(v, kernel, groups=3).var((1, 2, 3)) for v in (images, truth)]
    return round(float((edges[0] / edges[1]).log().mean().exp()), 3)
