from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from histomend.networks.build import LATENT_ARCHS
from histomend.networks.control import ControlBranch, ControlledUNet
from histomend.networks.latent_unet import latent_unet

T = torch.tensor([5, 900])


def prior(context: bool = True) -> Any:
    torch.manual_seed(0)
    entry = 9 if context else 4
    network = latent_unet(entry, 4, (32, 64), (False, True), head_channels=8).eval()
    return network.requires_grad_(False)


def seeded(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("context", [True, False])
@pytest.mark.parametrize("size", [(8, 8), (11, 13)])
def test_a_fresh_branch_changes_nothing(context: bool, size: tuple[int, int]) -> None:
    network = prior(context)
    both = ControlledUNet(network, ControlBranch(network, 4), 4, context=context)
    x, control = seeded(2, 4, *size), 5 * seeded(2, 4, *size)
    told = torch.cat([x, 0 * x, torch.ones_like(x[:, :1])], 1) if context else x
    with torch.no_grad():
        alone = network(told, T)
        steered = both(torch.cat([x, control], 1), T)
    torch.testing.assert_close(steered, alone)


def test_a_trained_branch_steers_and_the_prior_stays() -> None:
    network = prior()
    branch = ControlBranch(network, 4)
    for conv in (*branch.zero_convs, branch.zero_middle):
        nn.init.normal_(conv.weight, std=0.1)
    nn.init.normal_(branch.conv_in.weight[:, 9:], std=0.1)
    both = ControlledUNet(network, branch, 4, context=True)
    x = seeded(2, 4, 8, 8)
    one, other = (both(torch.cat([x, c], 1), T) for c in (seeded(2, 4, 8, 8), -x))
    assert float((one - other).detach().abs().mean()) > 1e-3
    one.square().sum().backward()
    assert all(p.grad is None for p in network.parameters())
    missing = [n for n, p in branch.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_the_branch_that_is_bundled_is_small() -> None:
    """Stage 1 and the branch together may have 15 MB in fp16."""
    with torch.device("meta"):
        branch = ControlBranch(LATENT_ARCHS["small"].build(33, 16), 16)
    assert 2 * sum(p.numel() for p in branch.parameters()) < 13e6
