"""Muon by values, against a few lines of reference."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from histomend.train.optimisers import AdamW, Muon, make_optimiser, orthogonalised


def moved(
    optimiser: type, parameter: Tensor, gradients: list[Tensor], **settings: object
) -> Tensor:
    """Return a parameter after steps with given gradients."""
    own = nn.Parameter(parameter.clone())
    made = optimiser([own], lr=0.01, **settings)
    for gradient in gradients:
        own.grad = gradient.clone()
        made.step()
    return own.detach()


def drawn(*shape: int, count: int = 4) -> list[Tensor]:
    draws = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draws) for _ in range(count)]


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6)])
def test_all_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, int]) -> None:
    (matrix,) = drawn(*shape, count=1)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalised(matrix) @ right.T
    values = found.diagonal()
    assert torch.allclose(found, torch.diag(values), atol=1e-4)
    # What Jordan et al. show of five rounds with these coefficients.
    assert 0.65 < float(values.min()) <= float(values.max()) < 1.25


def test_a_matrix_moves_as_by_hand() -> None:
    first, *gradients = drawn(4, 7)
    weight, momentum = first.clone(), torch.zeros(4, 7)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        x = 0.05 * gradient + 0.95 * momentum
        x = x / x.norm()
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * 0.2 * math.sqrt(7) * x
    assert torch.allclose(moved(Muon, first, gradients, weight_decay=0.1), weight, atol=1e-5)


def test_a_kernel_moves_as_the_matrix_of_its_output_channels() -> None:
    first, *gradients = drawn(4, 3, 2, 2)
    flat = moved(Muon, first.flatten(1), [g.flatten(1) for g in gradients])
    assert torch.allclose(moved(Muon, first, gradients), flat.view_as(first), atol=1e-6)


def test_a_vector_moves_as_pytorchs_adamw_moves_it() -> None:
    first, *gradients = drawn(11)
    settings = {"betas": (0.8, 0.99), "weight_decay": 0.1}
    theirs = moved(torch.optim.AdamW, first, gradients, **settings)
    assert torch.allclose(moved(Muon, first, gradients, **settings), theirs, atol=1e-6)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon")
def test_a_matrix_moves_as_pytorchs_muon_moves_it() -> None:
    """Theirs computes in bf16."""
    first, *gradients = drawn(8, 6)
    settings = {"weight_decay": 0.0, "adjust_lr_fn": "match_rms_adamw"}
    theirs = moved(torch.optim.Muon, first, gradients, **settings)
    ours = moved(Muon, first, gradients)
    assert float((ours - theirs).norm() / (first - theirs).norm()) < 0.02


def test_it_is_made_by_name() -> None:
    network = nn.Linear(2, 3)
    settings = AdamW(weight_decay=0.2, betas=(0.5, 0.9))
    for name, kind in (("adamw", torch.optim.AdamW), ("muon", Muon)):
        made = make_optimiser(name, network, 0.3, settings)
        assert type(made) is kind
        (group,) = made.param_groups
        assert (group["lr"], group["betas"], group["weight_decay"]) == (0.3, (0.5, 0.9), 0.2)
