"""What moves the weights: AdamW, or Muon for matrices and kernels and AdamW for the rest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Coefficients of the quintic iteration that brings all singular values near 1, its number of
# rounds, and the momentum: Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural
# networks" (kellerjordan.github.io/posts/muon).
QUINTIC = (3.4445, -4.7750, 2.0315)
ROUNDS = 5
MOMENTUM = 0.95
# Root mean square of AdamW's usual update, which Muon's is brought to, so that one learning rate
# serves both: Liu et al. 2025, "Muon is scalable for LLM training", section 2.2.
UPDATE_RMS = 0.2
EPS = 1e-8


@dataclass(frozen=True)
class AdamW:
    """What a training sets of its optimiser beside the learning rate.

    Parameters
    ----------
    weight_decay : float
    warmup : int
        Steps after which the learning rate is reached.
    clip : float
        Largest norm of the gradient.
    betas : two floats in [0, 1)
        How much of its averages of the gradient and of its square AdamW keeps.
    """

    weight_decay: float = 0.0
    warmup: int = 200
    clip: float = 1.0
    betas: tuple[float, float] = (0.9, 0.999)


ADAMW = AdamW()


def make_optimiser(
    name: str, network: nn.Module, lr: float, settings: AdamW
) -> torch.optim.Optimizer:
    """Return the optimiser "adamw" or "muon" of a network's parameters."""
    make: Callable[..., torch.optim.Optimizer] = Muon if name == "muon" else torch.optim.AdamW
    return make(network.parameters(), lr, betas=settings.betas, weight_decay=settings.weight_decay)


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more dimensions, AdamW for all others.

    A convolution's kernel counts as a matrix: output channels × all else. `torch.optim.Muon` is
    newer than the oldest PyTorch that Histomend runs with, and takes matrices only.

    Parameters
    ----------
    parameters : iterable of Tensor
    lr : float
        Of both parts.
    betas : two floats in [0, 1)
        Of AdamW.
    weight_decay : float
        Decoupled, of both parts.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if parameter.ndim >= 2:
                    update = _muon(parameter.grad, state)
                else:
                    update = _adam(parameter.grad, state, *group["betas"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(update, alpha=-group["lr"])


def _muon(gradient: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Return the orthogonalised momentum, with Nesterov's look ahead."""
    if not state:
        state["momentum"] = torch.zeros_like(gradient)
    momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
    update = orthogonalised(gradient.lerp(momentum, MOMENTUM).flatten(1))
    return (UPDATE_RMS * math.sqrt(max(update.shape)) * update).view_as(gradient)


def _adam(gradient: Tensor, state: dict[str, Tensor], first: float, second: float) -> Tensor:
    """Return Adam's update (Kingma and Ba 2015, algorithm 1)."""
    if not state:
        state["step"] = torch.zeros(())
        state["mean"], state["square"] = (torch.zeros_like(gradient) for _ in range(2))
    state["step"] += 1
    mean = state["mean"].lerp_(gradient, 1 - first)
    square = state["square"].lerp_(gradient.square(), 1 - second)
    number = float(state["step"])
    root = (square / (1 - second**number)).sqrt_()
    return mean / (1 - first**number) / root.add_(EPS)


def orthogonalised(matrix: Tensor) -> Tensor:
    """Return a matrix of the same singular vectors, whose singular values are all near 1.

    Parameters
    ----------
    matrix : (rows, columns)
    """
    a, b, c = QUINTIC
    x = matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    # The Frobenius norm bounds the largest singular value, and the iteration needs it under 1.
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
