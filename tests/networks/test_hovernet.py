from __future__ import annotations

import pytest
import torch

from histomend.networks.hovernet import HoVerNet, hovernet_names, hovernet_settings


@pytest.mark.parametrize(("types", "parameters"), [(None, 45_028_676), (5, 54_744_457)])
def test_the_published_network_has_exactly_its_parameters(
    types: int | None, parameters: int
) -> None:
    with torch.device("meta"):
        network = HoVerNet(types).eval()
        maps = network(torch.zeros(1, 3, 270, 270))
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert {name: m.shape[1:] for name, m in maps.items()} == {
        **({"tp": (types, 80, 80)} if types else {}),
        "np": (2, 80, 80),
        "hv": (2, 80, 80),
    }
    assert hovernet_settings(network.state_dict()) == {"types": types, "width": 64}


def test_tensors_have_the_names_of_the_published_files() -> None:
    with torch.device("meta"):
        own = HoVerNet(5).state_dict()
    for name, shape in {
        "conv0./.weight": (64, 3, 7, 7),
        "d0.units.0.conv1/bn.running_mean": (64,),
        "d1.units.3.preact/bn.weight": (512,),
        "d3.units.2.conv3.weight": (2048, 512, 1, 1),
        "d2.shortcut.weight": (1024, 512, 1, 1),
        "d3.blk_bna.bn.bias": (2048,),
        "conv_bot.weight": (1024, 2048, 1, 1),
        "decoder.hv.u3.dense.units.7.preact_bna/bn.weight": (480,),
        "decoder.hv.u2.dense.units.0.conv2.weight": (32, 32, 5, 5),
        "decoder.np.u2.dense.blk_bna.bn.weight": (256,),
        "decoder.np.u3.convf.weight": (512, 512, 1, 1),
        "decoder.np.u1.conva.weight": (64, 256, 5, 5),
        "decoder.tp.u0.conv.bias": (5,),
    }.items():
        assert own[name].shape == shape, name
    assert not any(name.startswith("d0.units.0.preact") for name in own)
    parallel = {f"module.{name}": value for name, value in own.items()}
    parallel["module.upsample2x.unpool_mat"] = torch.ones(2, 2)
    assert hovernet_names(parallel).keys() == own.keys()
