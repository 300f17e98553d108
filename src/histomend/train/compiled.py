"""Compiling a network, and checking that it still learns the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from histomend.errors import TrainingError

# How far a compiled network's gradient may be off, over its norm (bf16 alone gives 0.1), and
# over the norm of all gradients: one that is nothing beside the others is rounding itself.
GRADIENT_TOLERANCE = 0.3
NEGLIGIBLE = 1e-3


def compile_checked(network: nn.Module, gradients: Callable[[], dict[str, Tensor]]) -> None:
    """Compile a network in place, which then is in training mode.

    Torch 2.13 compiled wrong gradients on a CPU, without a word: most of `small-unet`'s in bf16,
    zeros among them, and the autoencoder's even in fp32.

    Parameters
    ----------
    gradients : function
        Returns those of some loss by parameter, always of the same.

    Raises
    ------
    TrainingError
        If a gradient has become another.
    """
    # Without stochastic depth, for which a compiled network draws other numbers.
    network.eval()
    right = gradients()
    network.compile()
    wrong = first_difference(right, gradients())
    network.train()
    if wrong:
        raise TrainingError(
            f"Compiled by torch {torch.__version__} for this machine, the network has wrong "
            f"gradients, first of {wrong}. Train without --compiled."
        )


def first_difference(right: dict[str, Tensor], other: dict[str, Tensor]) -> str | None:
    """Return the first tensor whose gradients differ by more than rounding, if there is one."""
    whole = torch.stack([g.norm() for g in right.values()]).norm()
    for name, gradient in right.items():
        off = (other[name] - gradient).norm() if name in other else gradient.norm()
        if not off <= GRADIENT_TOLERANCE * gradient.norm() + NEGLIGIBLE * whole:
            return name
    return None
