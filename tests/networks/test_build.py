from __future__ import annotations

import pytest
import torch

from histomend.errors import SettingError
from histomend.networks.build import ARCHS, LATENT_ARCHS, arch_named


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [("full", 6, 29_671_620), ("add", 6, 27_742_740), ("unet", 3, 108_414_979)],
)
def test_the_papers_networks_have_exactly_its_parameters(
    name: str, channels: int, parameters: int
) -> None:
    with torch.device("meta"):
        network = arch_named(name).build(3, channels)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("name", ARCHS)
def test_every_arch_takes_context_and_gives_what_is_asked(name: str) -> None:
    arch = arch_named(name)
    assert arch.use
    with torch.device("meta"):
        network = arch.build(7, 3)
        output = network(torch.zeros(1, 7, 70, 93), torch.zeros(1, dtype=torch.int64))
    assert output.shape == (1, 3, 70, 93)


def test_the_latent_network_of_the_paper_has_exactly_its_parameters() -> None:
    with torch.device("meta"):
        network = arch_named("paper", "latent-artifusion").build(4, 4)
    assert sum(p.numel() for p in network.parameters()) == 113_675_524


def test_the_small_latent_network_leaves_room_for_an_autoencoder_in_30_mb() -> None:
    with torch.device("meta"):
        network = arch_named("small", "latent-artifusion").build(33, 16)
    assert 2 * sum(p.numel() for p in network.parameters()) < 24e6


@pytest.mark.parametrize("name", LATENT_ARCHS)
@pytest.mark.parametrize("size", [(8, 8), (1, 3), (32, 37)])
def test_every_latent_arch_takes_any_field(name: str, size: tuple[int, int]) -> None:
    with torch.device("meta"):
        network = arch_named(name, "latent-artifusion").build(9, 4)
        output = network(torch.zeros(1, 9, *size), torch.ones(1, dtype=torch.int64))
    assert output.shape == (1, 4, *size)


def test_a_latent_network_has_the_tensors_of_diffusers() -> None:
    with torch.device("meta"):
        names = arch_named("small", "latent-artifusion").build(4, 4).state_dict()
    assert "conv_in.weight" in names
    assert "mid_block.attentions.0.to_q.weight" in names


def test_an_unknown_arch_is_named() -> None:
    with pytest.raises(SettingError, match=r"'huge'.*full, add, unet, small"):
        arch_named("huge")
    with pytest.raises(SettingError, match=r"'huge'.*paper, small, swin"):
        arch_named("huge", "latent-artifusion")
    with pytest.raises(SettingError, match=r"'alchemy'.*artifusion, latent-artifusion"):
        arch_named("small", "alchemy")
