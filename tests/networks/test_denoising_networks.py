from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from histomend.networks.conv_unet import ConvUNet
from histomend.networks.swin_unet import SwinUNet, sinusoid


def made(name: str) -> nn.Module:
    """Return a tiny network in evaluation mode, no weight of which is zero.

    Fresh ones end in zeros on purpose, which would hide what a test looks for.
    """
    small: dict[str, Any] = {"channels": 32, "depths": (2, 2), "heads": (1, 2)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        networks = {
            "conv": lambda: ConvUNet(7, 3, 32, (2, 2), 1, patch=4),
            "conv full resolution": lambda: ConvUNet(7, 3, 32, (2, 2), 1),
            "swin": lambda: SwinUNet(7, 6, **small),
            "swin add": lambda: SwinUNet(7, 6, time="add", **small),
        }
        network = networks[name]()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.1)
    return network.eval()


NAMES = ["conv", "conv full resolution", "swin", "swin add"]


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (70, 93), (65, 40), (17, 33)])
def test_any_image_size_goes_in_and_comes_out(name: str, height: int, width: int) -> None:
    network = made(name)
    with torch.no_grad():
        output = network(seeded(1, 7, height, width), torch.tensor([5]))
    assert output.shape == (1, 3 if name.startswith("conv") else 6, height, width)
    assert bool(output.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_has_its_own_time(name: str) -> None:
    network = made(name)
    x = seeded(1, 7, 40, 48).expand(2, -1, -1, -1)
    with torch.no_grad():
        early, late, mixed = (network(x, torch.tensor(t)) for t in ([5, 5], [900, 900], [5, 900]))
    assert float((early - late).abs().mean()) > 1e-3 * float(early.abs().mean())
    torch.testing.assert_close(mixed, torch.stack([early[0], late[1]]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_weight_and_the_image(name: str) -> None:
    network = made(name)  # in training mode stochastic depth would skip a block now and then
    x = seeded(2, 7, 36, 44).requires_grad_()
    network(x, torch.tensor([3, 700])).square().sum().backward()
    missing = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []
    assert x.grad is not None
    assert bool((x.grad.abs().sum((0, 1)) > 0).all()), "a pixel without influence"


@pytest.mark.parametrize("name", ["conv", "swin"])
def test_samples_do_not_see_each_other(name: str) -> None:
    network = made(name)
    x = seeded(2, 7, 40, 40)
    t = torch.tensor([100, 100])
    with torch.no_grad():
        together, alone = network(x, t), network(x[:1], t[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-3, atol=1e-4)


def test_fresh_convolutional_networks_begin_with_zero() -> None:
    network = ConvUNet(3, 3, 32, (1, 1), 1, patch=4)
    assert not network(seeded(1, 3, 32, 32), torch.tensor([1])).any()


def test_times_have_embeddings_that_differ() -> None:
    embeddings = sinusoid(torch.arange(1, 1001), 128)
    assert embeddings.shape == (1000, 128)
    assert float(embeddings.abs().max()) <= 1
    distances = torch.cdist(embeddings, embeddings) + 10 * torch.eye(1000)
    assert float(distances.min()) > 0.1
