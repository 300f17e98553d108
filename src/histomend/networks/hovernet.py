"""HoVer-Net (Graham et al. 2019) in its original mode, under the names of the published files.

A pre-activated ResNet-50 that keeps full resolution in its first stage, and one decoder per map:
what is nuclear (`np`), how far each pixel lies from its nucleus' centre (`hv`), and in files that
also tell types of nuclei, the type (`tp`).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Pixels that the output is smaller than the input; half of them at either side.
MARGIN_PX = 190
# Sizes that the network takes are this many pixels more than a multiple of 8.
EXCESS_PX = 6
# The stages' features reach further than the decoders do, which pad nothing.
_CROPS = (184, 72)

# Units of the four stages; each stage is twice as wide as the one before.
_STAGES = (3, 4, 6, 3)


class ResidualStage(nn.Module):
    """Pre-activated residual units (1×1, 3×3, 1×1), the first of which may halve the size."""

    def __init__(self, channels: int, width: int, units: int, stride: int):
        super().__init__()
        out = 4 * width
        self.units = nn.ModuleList()
        for number in range(units):
            step, before = (1, out) if number else (stride, channels)
            layers = OrderedDict[str, nn.Module]()
            if number:  # the stage before ends with an activation of its own
                layers["preact/bn"], layers["preact/relu"] = nn.BatchNorm2d(out), nn.ReLU()
            layers["conv1"] = nn.Conv2d(before, width, 1, bias=False)
            layers["conv1/bn"], layers["conv1/relu"] = nn.BatchNorm2d(width), nn.ReLU()
            # As TensorFlow pads: on even sizes a stride of 2 needs one row more, below.
            layers["conv2/pad"] = nn.ZeroPad2d((0, 1, 0, 1) if step == 2 else 1)
            layers["conv2"] = nn.Conv2d(width, width, 3, stride=step, bias=False)
            layers["conv2/bn"], layers["conv2/relu"] = nn.BatchNorm2d(width), nn.ReLU()
            layers["conv3"] = nn.Conv2d(width, out, 1, bias=False)
            self.units.append(nn.Sequential(layers))
        self.shortcut = nn.Conv2d(channels, out, 1, stride=stride, bias=False)
        self.blk_bna = _activation(out)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 width, H / stride, W / stride) for x (B, channels, H, W)."""
        kept = self.shortcut(x)
        for unit in self.units:
            x = kept = unit(x) + kept
        return self.blk_bna(x)


class DenseUnits(nn.Module):
    """Units of 1×1 and 5×5 convolutions, each of which sees what all before it have made."""

    def __init__(self, channels: int, growth: int, units: int):
        super().__init__()
        self.units = nn.ModuleList()
        for _ in range(units):
            layers: list[tuple[str, nn.Module]] = [
                ("preact_bna/bn", nn.BatchNorm2d(channels)),
                ("preact_bna/relu", nn.ReLU()),
                ("conv1", nn.Conv2d(channels, 4 * growth, 1, bias=False)),
                ("conv1/bn", nn.BatchNorm2d(4 * growth)),
                ("conv1/relu", nn.ReLU()),
                ("conv2", nn.Conv2d(4 * growth, growth, 5, groups=4, bias=False)),
            ]
            self.units.append(nn.Sequential(OrderedDict(layers)))
            channels += growth
        self.blk_bna = _activation(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, channels + growth · units, H - 4 units, W - 4 units)."""
        for unit in self.units:
            x = torch.cat([x[..., 2:-2, 2:-2], unit(x)], 1)
        return self.blk_bna(x)


class HoVerNet(nn.Module):
    """Tells nuclear pixels, and where within their nucleus they lie.

    It has 45,028,676 parameters where it segments alone (published for CoNSeP, Kumar and CPM17),
    54,744,457 where it also tells the five types of CoNSeP.

    Parameters
    ----------
    types : int, optional
        Types of nuclei, the background among them.
    width : int
        Channels of the first convolution, from which all others follow; a multiple of 8.
    """

    def __init__(self, types: int | None = None, width: int = 64):
        super().__init__()
        # The stem's convolution is called "/" in the published files.
        stem: list[tuple[str, nn.Module]] = [
            ("/", nn.Conv2d(3, width, 7, bias=False)),
            ("bn", nn.BatchNorm2d(width)),
            ("relu", nn.ReLU()),
        ]
        self.conv0 = nn.Sequential(OrderedDict(stem))
        channels = width
        for number, units in enumerate(_STAGES):
            stage = ResidualStage(channels, width << number, units, stride=2 if number else 1)
            self.add_module(f"d{number}", stage)
            channels = 4 * width << number
        self.conv_bot = nn.Conv2d(channels, 16 * width, 1, bias=False)
        outputs = {"np": 2, "hv": 2} if types is None else {"tp": types, "np": 2, "hv": 2}
        self.decoder = nn.ModuleDict({name: _decoder(width, out) for name, out in outputs.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of x.

        Parameters
        ----------
        x : (B, 3, H, W) in [0, 1]
            RGB at 40x, about 0.25 micrometres per pixel; H and W are 6 more than a multiple of 8,
            and more than 190; the authors use 270.

        Returns
        -------
        dict
            ``np`` and ``tp`` as logits and ``hv`` (right, down; -1 to 1 within a nucleus), each
            (B, C, H - 190, W - 190), the middle of x.
        """
        features = [self.conv0(x)]
        for number in range(len(_STAGES)):
            features.append(self.get_submodule(f"d{number}")(features[-1]))
        _, fine, middle, coarse, bottom = features
        bottom = self.conv_bot(bottom)
        fine, middle = _cropped(fine, _CROPS[0]), _cropped(middle, _CROPS[1])
        maps = {}
        for name, decoder in self.decoder.items():
            h = bottom
            for step, skip in zip(("u3", "u2", "u1"), (coarse, middle, fine), strict=True):
                doubled = F.interpolate(h, scale_factor=2.0, mode="nearest")
                h = decoder.get_submodule(step)(doubled + skip)
            maps[name] = decoder.get_submodule("u0")(h)
        return maps


def hovernet_names(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return published tensors by our names: without a wrapper's prefix and constant buffers."""
    named = {name.removeprefix("module."): value for name, value in published.items()}
    return {name: value for name, value in named.items() if not name.startswith("upsample2x.")}


def hovernet_settings(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return the settings of the network that tensors (by our names) belong to.

    Raises
    ------
    KeyError
        A tensor is missing without which the size cannot be told.
    """
    last = tensors.get("decoder.tp.u0.conv.bias")
    return {
        "types": None if last is None else last.shape[0],
        "width": tensors["conv0.bn.bias"].shape[0],
    }


def _activation(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU()))


def _decoder(width: int, out: int) -> nn.Sequential:
    steps = OrderedDict[str, nn.Module]()
    for name, channels, units in (("u3", 16 * width, 8), ("u2", 8 * width, 4)):
        # Half of what leaves a step was made by its first convolution, half by its units.
        half = width * units // 2
        steps[name] = nn.Sequential(
            OrderedDict[str, nn.Module](
                conva=nn.Conv2d(channels, half, 5, bias=False),
                dense=DenseUnits(half, width // 2, units),
                convf=nn.Conv2d(2 * half, 2 * half, 1, bias=False),
            )
        )
    last = nn.Conv2d(4 * width, width, 5, padding=2, bias=False)
    steps["u1"] = nn.Sequential(OrderedDict(conva=last))
    steps["u0"] = nn.Sequential(
        OrderedDict[str, nn.Module](
            bn=nn.BatchNorm2d(width), relu=nn.ReLU(), conv=nn.Conv2d(width, out, 1)
        )
    )
    return nn.Sequential(steps)


def _cropped(x: Tensor, pixels: int) -> Tensor:
    """Return x (B, C, H, W) without `pixels` rows and columns, half at either side."""
    half = pixels // 2
    return x[..., half : x.shape[-2] - half, half : x.shape[-1] - half]
