"""The one sampling loop of all systems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from histomend.diffusion.denoiser import NO_CONDITION, Condition, Denoises, Prediction
from histomend.diffusion.noise import NoiseStream
from histomend.diffusion.samplers import Memory, Sampler
from histomend.diffusion.schedule import Schedule
from histomend.diffusion.trajectory import Step, Trajectory


class Recipe:
    """What makes a method its own: where x starts and three hooks. Override what differs.

    Attributes
    ----------
    condition : Condition
        Handed to the denoiser at every call.
    """

    condition: Condition = NO_CONDITION

    def start(self, noise: NoiseStream) -> Tensor:
        """Return the first x (B, C, H, W)."""
        raise NotImplementedError

    def before(self, x: Tensor, step: Step, noise: NoiseStream) -> Tensor:
        """Change x before the network sees it at step.t (ArtiFusion, eq. 2)."""
        return x

    def on_x0(self, prediction: Prediction, step: Step) -> Prediction:
        """Change what the network predicted (clipping, the fidelity dial)."""
        return prediction

    def after(self, x: Tensor, step: Step) -> Tensor:
        """Change x once the sampler has moved it to step.t_next."""
        return x

    def finish(self, x: Tensor) -> Tensor:
        """Turn the last x into the answer (decode, composite)."""
        return x


@dataclass(frozen=True)
class State:
    """What the callback sees after each step.

    Parameters
    ----------
    step : Step
    x : (B, C, H, W)
        After the step.
    x0 : (B, C, H, W) or None
        What the network took for the clean signal; None after re-noising alone.
    nfe : (B,) int64
        Network calls so far, per sample.
    """

    step: Step
    x: Tensor
    x0: Tensor | None
    nfe: Tensor


@dataclass(frozen=True)
class Sampled:
    """The end of the loop.

    Parameters
    ----------
    x : (B, C, H, W)
        What the recipe made of the last x.
    nfe : (B,) int64
        Network calls per sample.
    """

    x: Tensor
    nfe: Tensor


@torch.inference_mode()
def sample(
    denoiser: Denoises,
    recipe: Recipe,
    trajectory: Trajectory,
    sampler: Sampler,
    noise: NoiseStream,
    schedule: Schedule,
    callback: Callable[[State], None] | None = None,
) -> Sampled:
    """Walk a batch along its trajectory, from the recipe's start to its finish.

    Samples may be at different times; those that rest in a step cost no network call.

    Parameters
    ----------
    denoiser : Denoises
    recipe : Recipe
    trajectory : Trajectory
    sampler : Sampler
    noise : NoiseStream
        Gives the same draws to a sample whatever batch it is in.
    schedule : Schedule
        Used where the trajectory re-noises.
    callback : function of State, optional
        Called after each step.
    """
    x = recipe.start(noise)
    nfe = torch.zeros(len(x), dtype=torch.int64)
    memory: Memory | None = None
    while (step := trajectory.next(x)) is not None:
        x0 = None
        if step.down.any():
            ready = recipe.before(x, step, noise)
            prediction = recipe.on_x0(_predict(denoiser, ready, step, recipe.condition), step)
            # As when it is alone, a sample that arrives at the clean image draws nothing.
            drawing = partial(noise.draw, x, step.down & (step.t_next > 0))
            moved, memory = sampler(ready, prediction, step, drawing, memory)
            x, x0 = _where(step.down, moved, x), prediction.x0
            nfe += step.down
        if step.up.any():
            x = _where(step.up, _renoised(x, step, noise, schedule), x)
        x = recipe.after(x, step)
        if callback is not None:
            callback(State(step, x, x0, nfe.clone()))
    return Sampled(recipe.finish(x), nfe)


def _where(rows: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    if rows.all():
        return yes
    return torch.where(rows.to(no.device).reshape(-1, *[1] * (no.ndim - 1)), yes, no)


def _predict(denoiser: Denoises, x: Tensor, step: Step, condition: Condition) -> Prediction:
    """Call the network for the samples that move down; the others get zeros, which nobody reads."""
    if step.down.all():
        return denoiser(x, step.t, condition)
    index = step.down.nonzero().flatten()
    part = denoiser(x[index], step.t[index], condition.rows(index))

    def spread(values: Tensor) -> Tensor:
        return torch.zeros_like(x).index_copy(0, index.to(x.device), values)

    mix = None if part.variance_mix is None else spread(part.variance_mix)
    return Prediction(spread(part.x0), spread(part.eps), mix)


def _renoised(x: Tensor, step: Step, noise: NoiseStream, schedule: Schedule) -> Tensor:
    """Return x taken from step.t up to step.t_next by the forward process."""
    alpha_t, sigma_t = schedule.at(step.t, x)
    alpha_s, sigma_s = schedule.at(step.t_next, x)
    ratio = alpha_s / alpha_t
    spread = (sigma_s**2 - ratio**2 * sigma_t**2).clamp(min=0).sqrt()
    return ratio * x + spread * noise.draw(x, step.up)
