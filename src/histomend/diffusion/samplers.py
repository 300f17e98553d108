"""Samplers: one step from x at t to x at t_next, given what the denoiser predicts.

Each maker takes a schedule and its settings and returns a plain function
``(x, prediction, step, noise, memory) -> (x, memory)``. `noise()` gives standard normal noise of
x's shape and is called only where the step is random. All formulas hold for any (alpha, sigma).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from histomend.diffusion.denoiser import Prediction
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import Step
from histomend.errors import SettingError

Variance = Literal["posterior", "beta", "learned"]


class Memory(NamedTuple):
    """What a multistep sampler keeps of the last step.

    Parameters
    ----------
    x0 : (B, C, H, W)
        Last prediction.
    t, t_next : (B,) int64
        Times of the step it was made for; a sample whose t is not the last t_next starts anew.
        A sample that rested ever since has t_next = -1.
    """

    x0: Tensor
    t: Tensor
    t_next: Tensor


class Sampler(Protocol):
    """One step of any sampler."""

    def __call__(
        self,
        x: Tensor,
        prediction: Prediction,
        step: Step,
        noise: Callable[[], Tensor],
        memory: Memory | None,
    ) -> tuple[Tensor, Memory | None]:
        """Return x at step.t_next and what to remember."""


def ddpm(schedule: Schedule, variance: Variance = "posterior") -> Sampler:
    """Return ancestral sampling (Ho et al. 2020, eq. 6 and 7), for any spacing of the times.

    Parameters
    ----------
    variance : "posterior", "beta" or "learned"
        Variance of the noise added at each step: that of q(x_s | x_t, x0), that of
        q(x_t | x_s), or the network's own between the two. None is added at the last step.
    """

    def step_ddpm(
        x: Tensor,
        prediction: Prediction,
        step: Step,
        noise: Callable[[], Tensor],
        memory: Memory | None,
    ) -> tuple[Tensor, Memory | None]:
        alpha_t, sigma_t = schedule.at(step.t, x)
        alpha_s, sigma_s = schedule.at(step.t_next, x)
        ratio = alpha_t / alpha_s
        beta = sigma_t**2 - ratio**2 * sigma_s**2
        mean = (ratio * sigma_s**2 * x + alpha_s * beta * prediction.x0) / sigma_t**2
        if variance == "beta":
            spread = beta
        else:
            spread = beta * sigma_s**2 / sigma_t**2
        if variance == "learned":
            if prediction.variance_mix is None:
                raise SettingError(
                    "The variance 'learned' was asked for, but this model does not predict one. "
                    "Use 'posterior' or 'beta'."
                )
            tiny = 1e-20
            mix = prediction.variance_mix
            spread = torch.exp(
                mix * beta.clamp(min=tiny).log() + (1 - mix) * spread.clamp(min=tiny).log()
            )
        moving = (step.t_next > 0).to(x.device).reshape(-1, *[1] * (x.ndim - 1))
        if not moving.any():
            return mean, None
        return mean + torch.where(moving, spread.sqrt(), 0) * noise(), None

    return step_ddpm


def ddim(schedule: Schedule, eta: float = 0.0) -> Sampler:
    """Return the implicit sampler (Song et al. 2021, eq. 12).

    Parameters
    ----------
    eta : float in [0, 1]
        0 is deterministic, 1 adds the posterior's noise.
    """

    def step_ddim(
        x: Tensor,
        prediction: Prediction,
        step: Step,
        noise: Callable[[], Tensor],
        memory: Memory | None,
    ) -> tuple[Tensor, Memory | None]:
        alpha_t, sigma_t = schedule.at(step.t, x)
        alpha_s, sigma_s = schedule.at(step.t_next, x)
        if eta == 0:
            return alpha_s * prediction.x0 + sigma_s * prediction.eps, None
        ratio = alpha_t / alpha_s
        beta = sigma_t**2 - ratio**2 * sigma_s**2
        spread = eta * beta.sqrt() * sigma_s / sigma_t
        towards = (sigma_s**2 - spread**2).clamp(min=0).sqrt()
        x = alpha_s * prediction.x0 + towards * prediction.eps
        return (x + spread * noise() if (step.t_next > 0).any() else x), None

    return step_ddim


def dpmpp_2m(schedule: Schedule) -> Sampler:
    """Return DPM-Solver++(2M) (Lu et al. 2022, algorithm 2), deterministic, second order."""

    def step_dpmpp_2m(
        x: Tensor,
        prediction: Prediction,
        step: Step,
        noise: Callable[[], Tensor],
        memory: Memory | None,
    ) -> tuple[Tensor, Memory | None]:
        alpha_s, sigma_s = schedule.at(step.t_next, x)
        _, sigma_t = schedule.at(step.t, x)
        h, direction, last = _second_order(schedule, prediction.x0, step, memory)
        moved = sigma_s / sigma_t * x - alpha_s * torch.expm1(-h) * direction
        kept = _remembered(prediction.x0, step, memory)
        return torch.where(last, alpha_s * prediction.x0, moved), kept

    return step_dpmpp_2m


def dpmpp_2m_sde(schedule: Schedule, extra_noise: float = 0.0) -> Sampler:
    """Return SDE-DPM-Solver++(2M) (Lu et al. 2022, appendix B): fresh noise at each step.

    The noise corrects what earlier steps got wrong.

    Parameters
    ----------
    extra_noise : float
        Noise at t is made stronger by `extra_noise` * sigma_t². A network that was not trained
        to the end removes more than was added, and what it makes is too smooth; more noise
        gives the missing variance back (S_noise of Karras et al. 2022, algorithm 2, here
        strongest where the large structures are decided).
    """

    def step_dpmpp_2m_sde(
        x: Tensor,
        prediction: Prediction,
        step: Step,
        noise: Callable[[], Tensor],
        memory: Memory | None,
    ) -> tuple[Tensor, Memory | None]:
        alpha_s, sigma_s = schedule.at(step.t_next, x)
        _, sigma_t = schedule.at(step.t, x)
        h, direction, last = _second_order(schedule, prediction.x0, step, memory)
        moved = sigma_s / sigma_t * torch.exp(-h) * x - alpha_s * torch.expm1(-2 * h) * direction
        if not last.all():
            spread = sigma_s * (-torch.expm1(-2 * h)).sqrt()
            moved = moved + (1 + extra_noise * sigma_t**2) * spread * noise()
        kept = _remembered(prediction.x0, step, memory)
        return torch.where(last, alpha_s * prediction.x0, moved), kept

    return step_dpmpp_2m_sde


def _second_order(
    schedule: Schedule, x0: Tensor, step: Step, memory: Memory | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the step's length in half log-SNR, x0 extrapolated to its middle, and where it ends.

    Where it ends at the clean image, the length is infinite and the update is x0 itself.
    """
    alpha_t, sigma_t = schedule.at(step.t, x0)
    alpha_s, sigma_s = schedule.at(step.t_next, x0)
    last = sigma_s == 0
    lam_t = torch.log(alpha_t / sigma_t)
    h = torch.log(alpha_s / sigma_s.clamp(min=1e-12)) - lam_t
    if memory is None:
        return h, x0, last
    alpha_r, sigma_r = schedule.at(memory.t, x0)
    h_last = lam_t - torch.log(alpha_r / sigma_r)
    fresh = (memory.t_next != step.t).to(x0.device).reshape(h.shape) | last
    slope = torch.where(fresh, 0, h / (2 * h_last))
    return h, x0 + slope * (x0 - memory.x0), last


def _remembered(x0: Tensor, step: Step, memory: Memory | None) -> Memory:
    """Return what to keep: of samples that are not denoised in this step, what was kept before."""
    down = step.down
    if memory is None:
        return Memory(x0, step.t, torch.where(down, step.t_next, -1))
    rows = down.to(x0.device).reshape(-1, *[1] * (x0.ndim - 1))
    return Memory(
        torch.where(rows, x0, memory.x0),
        torch.where(down, step.t, memory.t),
        torch.where(down, step.t_next, memory.t_next),
    )


SAMPLERS: dict[str, Callable[..., Sampler]] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
}


def sampler_named(name: str, schedule: Schedule, **settings: object) -> Sampler:
    """Return the sampler `name` for `schedule`.

    Raises
    ------
    SettingError
        If there is no such sampler.
    """
    if name not in SAMPLERS:
        raise SettingError(f"No sampler is called {name!r}. There are {', '.join(SAMPLERS)}.")
    return SAMPLERS[name](schedule, **settings)
