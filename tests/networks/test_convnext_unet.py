from __future__ import annotations

import pytest
import torch

from histomend.networks.build import CALIBRATED_ARCHS, arch_named
from histomend.networks.convnext_unet import ConvNextUNet


def tiny() -> ConvNextUNet:
    return ConvNextUNet(2, 2, channels=8, initial=4, multipliers=(1, 2))


def test_the_network_of_the_paper_has_exactly_its_parameters() -> None:
    with torch.device("meta"):
        network = arch_named("paper", "rscd").build(2, 2)
    assert sum(p.numel() for p in network.parameters()) == 285_498_370


def test_three_small_networks_leave_room_for_their_calibrators_in_25_mb() -> None:
    with torch.device("meta"):
        network = arch_named("small", "rscd").build(3, 3)
    assert 3 * 2 * sum(p.numel() for p in network.parameters()) < 23e6


@pytest.mark.parametrize("name", CALIBRATED_ARCHS)
@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_arch_takes_any_channels_and_any_field(name: str, channels: int) -> None:
    with torch.device("meta"):
        network = arch_named(name, "rscd").build(channels, channels)
        output = network(torch.zeros(1, channels, 70, 93), torch.ones(1, dtype=torch.int64))
    assert output.shape == (1, channels, 70, 93)


def test_samples_of_a_batch_do_not_mix_and_time_matters() -> None:
    network, x = tiny().eval(), torch.randn(2, 2, 19, 16)
    with torch.no_grad():
        together = network(x, torch.tensor([3, 150]))
        alone = network(x[1:], torch.tensor([150]))
        earlier = network(x[1:], torch.tensor([3]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(alone, earlier, atol=1e-4)


def test_every_weight_learns() -> None:
    network = tiny()
    network(torch.randn(2, 2, 16, 16), torch.tensor([3, 150])).square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name


def test_with_the_small_network_a_place_depends_on_its_surroundings_alone() -> None:
    network = arch_named("small", "rscd").build(1, 1).eval()
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    x, t = torch.randn(1, 1, 32, 256), torch.tensor([40])
    other = x.clone()
    other[..., 224:] = 1
    with torch.no_grad():
        change = (network(x, t) - network(other, t)).abs().amax((0, 1, 2))
    assert float(change[:64].max()) < 1e-6
    assert float(change[224:].max()) > 1e-3
