from __future__ import annotations

import pytest
import torch

from histomend.networks.rrdb import RRDBNet, rrdb_names, rrdb_settings

TINY = {"channels": 8, "blocks": 2, "growth": 4}


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
