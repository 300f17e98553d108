from __future__ import annotations

import pytest
import torch

from histomend.errors import SettingError
from histomend.networks.calibrator import CALIBRATOR_ARCHS, build_calibrator


def test_the_papers_calibrator_is_a_resnet_50_with_its_head() -> None:
    with torch.device("meta"):
        network = build_calibrator("paper", 2)
    head = 2048 * 100 + 100 + 100 + 1
    # A ResNet-50 without its classifier of 1000 classes has 23,508,032 parameters.
    assert sum(p.numel() for p in network.parameters()) == 23_508_032 + head == 23_713_033


def test_its_tensors_have_the_names_and_shapes_of_torchvisions() -> None:
    with torch.device("meta"):
        tensors = {k: tuple(v.shape) for k, v in build_calibrator("paper", 2).state_dict().items()}
    own = {key for key in tensors if not key.startswith("head.")}
    assert len(own) == 318, "as many as torchvision's, without fc"
    assert tensors["conv1.weight"] == (64, 3, 7, 7)
    assert tensors["bn1.num_batches_tracked"] == ()
    assert tensors["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert tensors["layer3.5.conv2.weight"] == (256, 256, 3, 3)
    assert tensors["layer4.2.bn3.running_var"] == (2048,)


def test_two_channels_are_fed_behind_an_empty_one() -> None:
    torch.manual_seed(0)
    network = build_calibrator("paper", 2).eval()
    x = torch.randn(1, 2, 64, 64)
    with torch.no_grad():
        two = network(x)
        three = network(torch.cat([torch.zeros(1, 1, 64, 64), x], 1))
    torch.testing.assert_close(two, three)


def test_the_small_one_is_small() -> None:
    assert sum(p.numel() for p in build_calibrator("small", 3).parameters()) < 0.3e6


@pytest.mark.parametrize("arch", CALIBRATOR_ARCHS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_every_arch_gives_one_number_per_field_of_any_size(arch: str, channels: int) -> None:
    with torch.device("meta"):
        network = build_calibrator(arch, channels).eval()
        for size in ((64, 64), (71, 250), (256, 256)):
            assert network(torch.zeros(3, channels, *size)).shape == (3,)


def test_an_unknown_arch_is_named() -> None:
    with pytest.raises(SettingError, match=r"'huge'.*paper, small"):
        build_calibrator("huge", 3)
