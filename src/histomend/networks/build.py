"""The sizes of the denoisers, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from histomend.errors import SettingError
from histomend.networks.conv_unet import ConvUNet
from histomend.networks.convnext_unet import ConvNextUNet
from histomend.networks.cyclegan import Generator
from histomend.networks.latent_unet import latent_unet
from histomend.networks.swin_unet import SwinUNet


@dataclass(frozen=True)
class Arch:
    """A network and its size.

    Parameters
    ----------
    make : SwinUNet, ConvUNet, ConvNextUNet, latent_unet or Generator
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


# On a grid of cells, each of which stands for 8×8 pixels.
LATENT_ARCHS: dict[str, Arch] = {
    "paper": Arch(
        latent_unet,
        {
            "channels": (128, 128, 256, 256, 512, 512),
            "attention": (False, False, False, False, True, False),
        },
        "the paper's network, diffusers' U-Net",
    ),
    "small": Arch(
        latent_unet,
        {"channels": (64, 128, 192), "attention": (False, False, True), "head_channels": 32},
        "diffusers' U-Net with three levels, for CPU",
    ),
    "swin": Arch(SwinUNet, {**SMALL_SWIN, "patch": 1}, "Swin with a time token, on latents"),
}

# Noise of at most a third of the range is to be told from detail: at full resolution, or near it.
CALIBRATED_ARCHS: dict[str, Arch] = {
    "paper": Arch(ConvNextUNet, {}, "the paper's network, U-Net of ConvNeXt blocks"),
    "small": Arch(
        ConvUNet,
        {"channels": 32, "multipliers": (1, 2, 3, 4), "blocks": 1, "patch": 2, "local": True},
        "U-Net on 2×2 patches without norms, for CPU",
    ),
    "fine": Arch(
        ConvUNet,
        {
            "channels": 32,
            "multipliers": (1, 2, 3, 4),
            "blocks": 1,
            "patch": 2,
            "local": True,
            "tail": 16,
        },
        "the same, ending at full resolution: no grid in what comes out",
    ),
}

# The generators of CycleGAN, which are called once.
TRANSLATION_ARCHS: dict[str, Arch] = {
    "paper": Arch(Generator, {"width": 64, "blocks": 9}, "the paper's generator"),
    "small": Arch(Generator, {"width": 16, "blocks": 3}, "narrower and shallower, for CPU"),
}

METHOD_ARCHS: dict[str, dict[str, Arch]] = {
    "artifusion": ARCHS,
    "latent-artifusion": LATENT_ARCHS,
    "rscd": CALIBRATED_ARCHS,
    # Two of the methods that RSCD is compared with have its networks.
    "conditional": CALIBRATED_ARCHS,
    "noise2noise": CALIBRATED_ARCHS,
    "cyclegan": TRANSLATION_ARCHS,
}


def arch_named(name: str, method: str = "artifusion") -> Arch:
    """Return the arch `name` of a method.

    Raises
    ------
    SettingError
        If there is no such method, or no such arch of it.
    """
    if method not in METHOD_ARCHS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHOD_ARCHS)}.")
    archs = METHOD_ARCHS[method]
    if name not in archs:
        raise SettingError(f"No arch of {method} is called {name!r}. There are {', '.join(archs)}.")
    return archs[name]
