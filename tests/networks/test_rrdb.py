from __future__ import annotations

from typing import Any

import pytest
import torch

from histomend.errors import SettingError
from histomend.networks.rrdb import RRDB_ARCHS, RRDBNet, rrdb_names, rrdb_settings

TINY: dict[str, Any] = {"channels": 8, "blocks": 2, "growth": 4}


def test_the_published_network_has_exactly_its_parameters() -> None:
    with torch.device("meta"):
        network = RRDBNet()
        assert network(torch.zeros(1, 3, 15, 22)).shape == (1, 3, 60, 88)
    assert sum(p.numel() for p in network.parameters()) == 16_697_987


@pytest.mark.parametrize(("unshuffle", "scale"), [(1, 4), (2, 2), (4, 1)])
def test_joined_pixels_make_the_scale_smaller(unshuffle: int, scale: int) -> None:
    network = RRDBNet(**TINY, unshuffle=unshuffle)
    assert network(torch.rand(2, 3, 9, 14)).shape == (2, 3, 9 * scale, 14 * scale)
    assert rrdb_settings(network.state_dict()) == {**TINY, "unshuffle": unshuffle}


@pytest.mark.parametrize("arch", RRDB_ARCHS)
def test_a_network_that_restores_starts_as_the_identity(arch: str) -> None:
    settings = RRDB_ARCHS[arch] | {"blocks": 1}
    x = torch.rand(1, 3, 9, 14)
    torch.testing.assert_close(RRDBNet(**settings)(x), x)


def test_a_larger_image_is_not_a_change_of_the_input() -> None:
    with pytest.raises(SettingError, match="4 times larger"):
        RRDBNet(**TINY, skip=True)


def test_tensors_of_bsrgan_get_our_names() -> None:
    network = RRDBNet(**TINY)
    theirs = {
        "conv_body.": "trunk_conv.",
        "body.": "RRDB_trunk.",
        "rdb": "RDB",
        "conv_up": "upconv",
        "conv_hr.": "HRconv.",
    }
    tensors = {}
    for name, value in network.state_dict().items():
        for ours, other in theirs.items():
            name = name.replace(ours, other)
        tensors[name] = value
    assert rrdb_names(tensors).keys() == network.state_dict().keys()
    assert rrdb_names(network.state_dict()).keys() == network.state_dict().keys()
