from __future__ import annotations

import pytest
import torch

from histomend.errors import SettingError
from histomend.networks.build import ARCHS, arch_named


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


def test_an_unknown_arch_is_named() -> None:
    with pytest.raises(SettingError, match=r"'huge'.*full, add, unet, small"):
        arch_named("huge")
