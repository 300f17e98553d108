from __future__ import annotations

import pytest
import torch

from histomend.errors import SettingError
from histomend.networks.swinir import SWINIR_ARCHS, SwinIR, build_swinir

TINY = {"channels": 12, "depths": (2, 1), "heads": 2, "window": 4, "tail": 8}


def test_the_network_of_the_paper_has_exactly_its_parameters() -> None:
    with torch.device("meta"):
        network = build_swinir("paper")
    assert sum(p.numel() for p in network.parameters()) == 15_792_587


@pytest.mark.parametrize("arch", SWINIR_ARCHS)
def test_every_arch_takes_any_size_and_gives_it_back(arch: str) -> None:
    with torch.device("meta"):
        assert build_swinir(arch)(torch.zeros(1, 3, 70, 93)).shape == (1, 3, 70, 93)


@pytest.mark.parametrize("arch", [arch for arch in SWINIR_ARCHS if arch != "paper"])
def test_a_small_network_has_a_million_parameters_at_most_and_starts_as_the_identity(
    arch: str,
) -> None:
    network = build_swinir(arch)
    assert sum(p.numel() for p in network.parameters()) < 1e6
    x = torch.rand(1, 3, 20, 37)
    torch.testing.assert_close(network(x), x)


def test_samples_of_a_batch_do_not_mix() -> None:
    network = SwinIR(**TINY, unshuffle=2).eval()
    x = torch.rand(2, 3, 19, 16)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[1:], network(x[1:]))


def test_every_weight_learns() -> None:
    network = SwinIR(**TINY, unshuffle=2)
    network(torch.rand(1, 3, 16, 16)).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_impossible_archs_are_refused() -> None:
    with pytest.raises(SettingError, match="small"):
        build_swinir("huge")
    with pytest.raises(SettingError, match="4 times larger"):
        SwinIR(**TINY, scale=4, skip=True)
