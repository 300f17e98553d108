"""Noise schedules: how much signal and noise x holds at time t."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from histomend.errors import SettingError


@dataclass(frozen=True)
class Schedule:
    """Signal and noise levels of x_t = alpha_t * x0 + sigma_t * eps.

    Times are whole numbers: t = 0 is the clean image, t = `steps` is (almost) pure noise. So
    beta_t of the DDPM paper, t = 1..T, is step t here, and diffusers' timestep k is t = k + 1.

    Parameters
    ----------
    alpha, sigma : (steps + 1,) float64
        Level of the signal and standard deviation of the noise at each t.
    name : str
        How the schedule was made; written to model configs.
    """

    alpha: Tensor
    sigma: Tensor
    name: str = "custom"

    @property
    def steps(self) -> int:
        """The largest t."""
        return len(self.alpha) - 1

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return (alpha_t, sigma_t), each (B, 1, 1, 1), in the dtype and on the device of `like`.

        Parameters
        ----------
        t : (B,) int64 in 0..steps
        """
        shape = (-1,) + (1,) * (like.ndim - 1)
        index = t.cpu()
        alpha = self.alpha[index].to(like.device, like.dtype).reshape(shape)
        sigma = self.sigma[index].to(like.device, like.dtype).reshape(shape)
        return alpha, sigma

    def noised(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return x_t for clean `x0` and standard normal `eps` (DDPM, eq. 4)."""
        alpha, sigma = self.at(t, x0)
        return alpha * x0 + sigma * eps

    def spaced(self, count: int, start: int | None = None) -> list[int]:
        """Return `count` + 1 decreasing times from `start` (default: the last) to 0, evenly spaced.

        Raises
        ------
        SettingError
            If there are fewer than `count` times to choose from.
        """
        start = self.steps if start is None else start
        if not 1 <= count <= start:
            raise SettingError(
                f"{count} steps were asked for, but this model's schedule has {start}. "
                f"Use --steps with a value from 1 to {start}."
            )
        return [round(start * (count - i) / count) for i in range(count + 1)]


def _from_betas(betas: Tensor, name: str) -> Schedule:
    alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])
    return Schedule(alpha_bar.sqrt(), (1 - alpha_bar).sqrt(), name)


def linear(steps: int, beta_start: float | None = None, beta_end: float | None = None) -> Schedule:
    """Return betas linear in t (DDPM, section 4).

    Without explicit ends they are (1000/steps)·[1e-4, 0.02], so that the end of the chain is as
    noisy for 250 steps as for 1000.
    """
    scale = 1000 / steps
    start = scale * 1e-4 if beta_start is None else beta_start
    end = scale * 0.02 if beta_end is None else beta_end
    return _from_betas(torch.linspace(start, end, steps, dtype=torch.float64), "linear")


def scaled_linear(steps: int, beta_start: float = 0.00085, beta_end: float = 0.012) -> Schedule:
    """Return betas whose square roots are linear in t (latent diffusion)."""
    roots = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64)
    return _from_betas(roots**2, "scaled_linear")


def cosine(steps: int, s: float = 0.008, least: float = 0.0, most: float = 0.999) -> Schedule:
    """Return the squared-cosine alpha_bar (Nichol and Dhariwal 2021, eq. 17).

    Parameters
    ----------
    least, most : float
        Betas are kept between these; the paper has no smallest one.
    """
    u = torch.arange(steps + 1, dtype=torch.float64) / steps
    alpha_bar = torch.cos((u + s) / (1 + s) * math.pi / 2) ** 2
    betas = (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(least, most)
    name = "cosine" if (s, least, most) == (0.008, 0.0, 0.999) else "custom"
    return _from_betas(betas, name)


def same_noise(t: Tensor, source: Schedule, target: Schedule) -> Tensor:
    """Return the times of `target` at which x holds as much noise as at `t` of `source`.

    Between whole times the noise's variance, in units of the signal's, is taken as linear in t.

    Parameters
    ----------
    t : (B,) float
        Below 0 it is taken as 0, above the last time as that. NaN stays NaN.

    Returns
    -------
    (B,) float
    """
    theirs, ours = ((s.sigma / s.alpha).square().numpy() for s in (source, target))
    level = np.interp(t.detach().cpu().double().numpy(), np.arange(len(theirs)), theirs)
    found = np.interp(level, ours, np.arange(len(ours)))
    return torch.from_numpy(found).to(t)


SCHEDULES: dict[str, Callable[[int], Schedule]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "cosine": cosine,
}


def named(name: str, steps: int) -> Schedule:
    """Return the schedule `name` with its default settings.

    Raises
    ------
    SettingError
        If there is no such schedule.
    """
    if name not in SCHEDULES:
        raise SettingError(f"No schedule is called {name!r}. There are {', '.join(SCHEDULES)}.")
    return SCHEDULES[name](steps)
