"""The sizes of the denoisers, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from histomend.errors import SettingError
from histomend.networks.conv_unet import ConvUNet
from histomend.networks.swin_unet import SwinUNet


@dataclass(frozen=True)
class Arch:
    """A network and its size.

    Parameters
    ----------
    make : SwinUNet or ConvUNet
    settings : keyword arguments of `make`, without channels in and out
    use : str
        What it is for, in a few words.
    learned_variance : bool
        Whether the paper's network of this name also predicts a variance.
    """

    make: Callable[..., nn.Module]
    settings: dict[str, Any]
    use: str
    learned_variance: bool = False

    def build(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return the network with fresh weights."""
        return self.make(in_channels, out_channels, **self.settings)


SMALL_SWIN: dict[str, Any] = {"channels": 64, "depths": (2, 2, 2), "heads": (2, 4, 8)}

ARCHS: dict[str, Arch] = {
    "full": Arch(SwinUNet, {}, "the paper's network, Swin with a time token", True),
    "add": Arch(SwinUNet, {"time": "add"}, "the paper's ablation: time is added", True),
    "unet": Arch(ConvUNet, {}, "the paper's ablation: conventional U-Net"),
    "small": Arch(SwinUNet, SMALL_SWIN, "Swin with a time token, for CPU"),
    "small-add": Arch(SwinUNet, {**SMALL_SWIN, "time": "add"}, "small Swin, time is added"),
    "small-unet": Arch(
        ConvUNet,
        {"channels": 32, "multipliers": (2, 3, 4), "patch": 4},
        "U-Net on 4×4 patches, for CPU",
    ),
    "base-unet": Arch(
        ConvUNet,
        {"channels": 32, "multipliers": (3, 5, 6), "patch": 4},
        "U-Net on 4×4 patches, wider",
    ),
}


def arch_named(name: str) -> Arch:
    """Return the arch `name`.

    Raises
    ------
    SettingError
        If there is no such arch.
    """
    if name not in ARCHS:
        raise SettingError(f"No arch is called {name!r}. There are {', '.join(ARCHS)}.")
    return ARCHS[name]
