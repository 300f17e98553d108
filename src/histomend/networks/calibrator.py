"""Step calibrators: networks that see an image and tell which t it looks like."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.errors import SettingError


def in_full(layer: nn.Module, x: Tensor) -> Tensor:
    """Return the layer's output for the image x in fp32, whatever autocast says.

    bf16 rounds an image by about as much as the smallest t changes it.
    """
    if x.is_meta:  # Which knows no autocast.
        return layer(x)
    with torch.autocast(x.device.type, enabled=False):
        return layer(x)


class Bottleneck(nn.Module):
    """1×1, 3×3 (which may halve the map) and 1×1 to four times the width, with a residual."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if stride > 1 or channels != out
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, H / stride, W / stride) for x (B, channels, H, W)."""
        h = F.relu(self.bn1(self.conv1(x)))
        h = F.relu(self.bn2(self.conv2(h)))
        return F.relu(self.bn3(self.conv3(h)) + self.downsample(x))


class ResNetCalibrator(nn.Module):
    """ResNet-50 (He et al. 2016), pooled, and an MLP of 100 units (RSCD, "Step Calibrator").

    The tensors of the ResNet have torchvision's names. An image of one or two channels is
    preceded by empty ones, as the authors feed (0, CH2, CH3).

    Parameters
    ----------
    in_channels : int
        Of the image.
    """

    def __init__(self, in_channels: int):
        super().__init__()
        self.entry = max(3, in_channels)
        self.conv1 = nn.Conv2d(self.entry, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        here = 64
        for number, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), 1):
            stage = nn.Sequential()
            for block in range(blocks):
                stride = 2 if number > 1 and block == 0 else 1
                stage.append(Bottleneck(here, width, stride))
                here = 4 * width
            self.add_module(f"layer{number}", stage)
        self.head = nn.Sequential(nn.Linear(here, 100), nn.ReLU(), nn.Linear(100, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return t (B,), any real number, for x (B, in_channels, H, W) in [-1, 1]."""
        x = F.pad(x, (0, 0, 0, 0, self.entry - x.shape[1], 0))
        h = F.max_pool2d(F.relu(self.bn1(in_full(self.conv1, x))), 3, 2, 1)
        for number in range(1, 5):
            h = self.get_submodule(f"layer{number}")(h)
        return self.head(h.mean((2, 3)))[:, 0] + 1


class SmallCalibrator(nn.Module):
    """A few strided convolutions without norms, for CPU.

    Noise is told by how strong fine detail is, so the network stays at fine scales, and nothing
    takes the strength away as norms would. Features are pooled by their mean and by their largest
    local mean: a part of the field that is noisier than the rest must not be averaged away.

    Parameters
    ----------
    in_channels : int
    widths : of the convolutions, each of which but the last halves the map
    """

    # So that weights of the usual size give steps of the usual number.
    SCALE = 100.0

    def __init__(self, in_channels: int, widths: tuple[int, ...] = (32, 64, 128, 128)):
        super().__init__()
        first, *others, last = widths
        self.entry = nn.Conv2d(in_channels, first, 6, 2, 2)
        layers: list[nn.Module] = [nn.ReLU()]
        here = first
        for width in others:
            layers += [nn.Conv2d(here, width, 3, 2, 1), nn.ReLU()]
            here = width
        layers += [nn.Conv2d(here, last, 3, 1, 1), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(2 * last, 100), nn.ReLU(), nn.Linear(100, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Return t (B,), any real number, for x (B, in_channels, H, W) in [-1, 1]."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        h = self.features(in_full(self.entry, x))
        local = F.avg_pool2d(h, 4, 2, ceil_mode=True)
        pooled = torch.cat([h.mean((2, 3)), local.amax((2, 3))], 1)
        return self.SCALE * self.head(pooled)[:, 0]


CALIBRATOR_ARCHS: dict[str, Callable[[int], nn.Module]] = {
    "paper": ResNetCalibrator,
    "small": SmallCalibrator,
}


def build_calibrator(arch: str, channels: int) -> nn.Module:
    """Return a calibrator with fresh weights for images of `channels` channels.

    Raises
    ------
    SettingError
        If there is no such arch.
    """
    if arch not in CALIBRATOR_ARCHS:
        names = ", ".join(CALIBRATOR_ARCHS)
        raise SettingError(f"No arch of the calibrator is called {arch!r}. There are {names}.")
    return CALIBRATOR_ARCHS[arch](channels)
