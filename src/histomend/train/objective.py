"""What a denoiser is trained to minimise."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from histomend.diffusion.denoiser import PredictionType, prediction_from
from histomend.diffusion.schedule import Schedule
from histomend.errors import SettingError

# Weight of the likelihood term beside the plain error, for the learned variance alone
# (Nichol and Dhariwal 2021, eq. 16, with their lambda of 0.001 and bits summed over T steps).
VLB_WEIGHT = 1e-3
# x0 networks are trained on the error of v, which is the error of x0 over sigma². Near the clean
# end this would outweigh everything, so it is bounded.
MAX_X0_WEIGHT = 30.0
VISIBLE_WEIGHT = 0.1


def loss(
    output: Tensor,
    x0: Tensor,
    x: Tensor,
    eps: Tensor,
    t: Tensor,
    mask: Tensor,
    schedule: Schedule,
    kind: PredictionType,
) -> Tensor:
    """Return the loss of a network output, a scalar.

    Parameters
    ----------
    output : (B, C or 2C, H, W)
        With 2C channels the second half is a learned variance, trained by its likelihood.
    x0, x, eps : (B, C, H, W)
        Clean image, x_t, and the noise in it.
    t : (B,) int64
    mask : (B, 1, H, W)
        1 where the network must invent; what it is shown already counts for a tenth.
    kind : "epsilon", "x0" or "v"
    """
    channels = x0.shape[1]
    mean, variance = output[:, :channels], output[:, channels:]
    alpha, sigma = schedule.at(t, x)
    if kind == "x0":
        error = (mean - x0).square() * (1 / sigma**2).clamp(max=MAX_X0_WEIGHT)
    elif kind == "epsilon":
        error = (mean - eps).square()
    elif kind == "v":
        error = (mean - (alpha * eps - sigma * x0)).square()
    else:
        raise SettingError(f"No prediction type is called {kind!r}. There are epsilon, x0 and v.")
    weight = (mask + VISIBLE_WEIGHT * (1 - mask)).expand_as(error)
    total = (error * weight).sum() / weight.sum()
    if variance.shape[1]:
        bits = likelihood_term(mean.detach(), variance, x0, x, t, schedule, kind)
        total = total + VLB_WEIGHT * schedule.steps * bits.mean()
    return total


def drawn_noise(
    x0: Tensor, schedule: Schedule, draws: torch.Generator, highest_t: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return a time for each sample, all equally likely, and noise.

    Parameters
    ----------
    x0 : (B, C, H, W)
        What is to be noised.
    draws : torch.Generator
        On the CPU, so that all devices see the same.
    highest_t : int, optional
        Largest t; that of the schedule unless given.

    Returns
    -------
    t : (B,) int64, from 1
        On the CPU.
    eps : (B, C, H, W)
    """
    t = torch.randint(1, (highest_t or schedule.steps) + 1, (len(x0),), generator=draws)
    return t, torch.randn(x0.shape, generator=draws).to(x0)


def likelihood_term(
    mean: Tensor,
    variance: Tensor,
    x0: Tensor,
    x: Tensor,
    t: Tensor,
    schedule: Schedule,
    kind: PredictionType,
) -> Tensor:
    """Return the variational bound's term of step t in bits per dimension, (B, C, H, W).

    For t > 1 it is the divergence of the model's q(x_{t-1} | x_t) from the true posterior; at
    t = 1 the likelihood of the 8-bit pixel (Ho et al. 2020, eq. 5 and 13).
    """
    alpha_t, sigma_t = schedule.at(t, x)
    alpha_s, _ = schedule.at(t - 1, x)
    beta, _ = _variances(t, schedule, x)
    # At t = 1 the posterior has no spread; its log-variance is that of t = 2, as in the source.
    _, spread = _variances(t.clamp(min=2), schedule, x)
    first = (t == 1).to(x.device).reshape(-1, 1, 1, 1)
    mix = (variance + 1) / 2
    log_variance = mix * beta.log() + (1 - mix) * spread.log()
    guess, _ = prediction_from(mean, x, alpha_t, sigma_t, kind)
    shift = alpha_s * beta / sigma_t**2 * (guess - x0)
    divergence = 0.5 * (
        log_variance
        - spread.log()
        - 1
        + (spread.log() - log_variance).exp()
        + shift.square() * (-log_variance).exp()
    )
    width = (0.5 * log_variance).exp()
    centre = guess.clamp(-1, 1)
    high = torch.where(x0 > 0.999, 1.0, _normal_cdf((x0 - centre + 1 / 255) / width))
    low = torch.where(x0 < -0.999, 0.0, _normal_cdf((x0 - centre - 1 / 255) / width))
    pixel = -(high - low).clamp(min=1e-12).log()
    return torch.where(first, pixel, divergence) / math.log(2)


def _variances(t: Tensor, schedule: Schedule, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return beta_t and the posterior's variance for steps from t to t - 1."""
    alpha_t, sigma_t = schedule.at(t, like)
    alpha_s, sigma_s = schedule.at(t - 1, like)
    beta = sigma_t**2 - (alpha_t / alpha_s) ** 2 * sigma_s**2
    return beta, beta * sigma_s**2 / sigma_t**2


def _normal_cdf(z: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
