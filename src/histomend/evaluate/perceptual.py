"""LPIPS (Zhang et al. 2018) and ST-LPIPS (Ghildyal and Liu 2022): how different two images look.

Both with AlexNet, and written out here: the packages of their authors are not kept up, and need
torchvision of the same build as PyTorch for five convolutions. The weights are theirs, and are not
bundled.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.errors import ImageSizeError, ModelNotFoundError
from histomend.evaluate.encoder import as_input, checked_rgb
from histomend.models.checkpoints import tensors_in
from histomend.models.weights import fill

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"
"""torchvision's AlexNet; torch.hub keeps it under this name."""
LINEAR_FILE = "alex.pth"
"""The layers on top, from the folder weights/v0.1 of the package lpips."""
SHIFT_TOLERANT_FILE = "alex_shift_tolerant.pth"
"""All of ST-LPIPS, from the folder weights/vST0.0 of the package stlpips-pytorch."""
SMALLEST_PX = 32
_AT_ONCE = 16
# Mean and spread of ImageNet, for values in [-1, 1].
_SHIFT, _SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Number in torchvision's `features`, channels in and out, kernel, stride, padding.
_CONVOLUTIONS = (
    (0, 3, 64, 11, 4, 2),
    (3, 64, 192, 5, 1, 2),
    (6, 192, 384, 3, 1, 1),
    (8, 384, 256, 3, 1, 1),
    (10, 256, 256, 3, 1, 1),
)
# Before the second and the third convolution the map is halved.
_POOLED_BEFORE = (3, 6)


class AlexNetLpips(nn.Module):
    """AlexNet's five feature maps, and how much each of their channels counts.

    Parameters
    ----------
    shift_tolerant : bool
        ST-LPIPS's changes: nothing is skipped over, neither by the first convolution nor by
        pooling, and a map is halved by `smoothly_halved` instead.
    """

    def __init__(self, shift_tolerant: bool = False) -> None:
        super().__init__()
        self.shift_tolerant = shift_tolerant
        self.features = nn.ModuleDict(
            {
                str(number): nn.Conv2d(
                    here, there, kernel, 1 if shift_tolerant else stride, padding
                )
                for number, here, there, kernel, stride, padding in _CONVOLUTIONS
            }
        )
        for level, (_, _, channels, *_) in enumerate(_CONVOLUTIONS):
            self.register_parameter(f"lin{level}", nn.Parameter(torch.ones(1, channels, 1, 1)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps of x (B, 3, H, W) in [-1, 1], each pixel's channels of length 1."""
        shift, spread = (x.new_tensor(v).view(1, 3, 1, 1) for v in (_SHIFT, _SPREAD))
        x = (x - shift) / spread
        found = []
        for number, *_ in _CONVOLUTIONS:
            if number in _POOLED_BEFORE:
                x = F.max_pool2d(x, 3, 1 if self.shift_tolerant else 2)
                x = smoothly_halved(x) if self.shift_tolerant else x
            x = self.features[str(number)](x)
            if self.shift_tolerant and number == 0:
                x = smoothly_halved(x)
            x = F.relu(x)
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (B,) of a and b, (B, 3, H, W) in [-1, 1]."""
        parts = [
            (getattr(self, f"lin{level}") * (one - other).square()).sum(1).mean((1, 2))
            for level, (one, other) in enumerate(zip(self.maps(a), self.maps(b), strict=True))
        ]
        return torch.stack(parts).sum(0)


def smoothly_halved(x: Tensor) -> Tensor:
    """Return every second cell of x (B, C, H, W), each a mean over 3×3 by 1 2 1, mirrored by 2."""
    weights = x.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (weights[:, None] * weights).expand(x.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), "reflect"), kernel, stride=2, groups=x.shape[1])


class Lpips:
    """LPIPS with loaded weights.

    Parameters
    ----------
    folder : Path
        Holds `BACKBONE_FILE` and `LINEAR_FILE`.
    device : "cpu", "cuda", ...

    Raises
    ------
    ModelNotFoundError
        If a file is missing.
    UnsafeWeightsError, WeightsError
        If one is damaged or of another network.
    """

    def __init__(self, folder: Path, device: str | torch.device = "cpu"):
        tensors: dict[str, Tensor] = {}
        for file, where in ((BACKBONE_FILE, _convolutions), (LINEAR_FILE, _linear)):
            if not (folder / file).is_file():
                raise ModelNotFoundError(
                    f"{folder} holds no {file}. Copy it there: {BACKBONE_FILE} is what torchvision "
                    f"downloads for alexnet (torch.hub keeps it), {LINEAR_FILE} is in the folder "
                    "weights/v0.1 of the package lpips."
                )
            tensors |= where(tensors_in(folder / file))
        self._open(AlexNetLpips(), tensors, folder, device)

    def _open(
        self,
        network: AlexNetLpips,
        tensors: dict[str, Tensor],
        source: Path,
        device: str | torch.device,
    ) -> None:
        fill(network, tensors, str(source))
        self.network = network.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def __call__(
        self, truth: npt.NDArray[np.uint8], images: npt.NDArray[np.uint8]
    ) -> npt.NDArray[np.float64]:
        """Compute the distance of each pair: 0 for equal images, larger for less alike ones.

        Parameters
        ----------
        truth, images : (N, H, W, 3) uint8, at least 32 px a side

        Returns
        -------
        (N,) float64

        Raises
        ------
        UnsupportedImageError, ImageSizeError
        """
        if checked_rgb(truth, SMALLEST_PX).shape != checked_rgb(images, SMALLEST_PX).shape:
            raise ImageSizeError(
                f"The images have the shape {images.shape} and their truth {truth.shape}: LPIPS "
                "compares pairs of one size."
            )
        device = next(self.network.parameters()).device
        parts = [
            self.network(*(as_input(of[k : k + _AT_ONCE]).to(device) for of in (truth, images)))
            for k in range(0, len(truth), _AT_ONCE)
        ]
        return torch.cat(parts).double().cpu().numpy() if parts else np.zeros(0)


class ShiftTolerantLpips(Lpips):
    """ST-LPIPS with loaded weights: a shift by a pixel, which no eye sees, hardly counts.

    Parameters
    ----------
    file : Path, optional
        `SHIFT_TOLERANT_FILE`; by default that of the package stlpips-pytorch, if it is installed.
    device : "cpu", "cuda", ...

    Raises
    ------
    ModelNotFoundError
        If there is no such file.
    UnsafeWeightsError, WeightsError
        If it is damaged or of another network.
    """

    def __init__(self, file: Path | None = None, device: str | torch.device = "cpu"):
        where = _shift_tolerant_file() if file is None else file
        if where is None or not where.is_file():
            raise ModelNotFoundError(
                f"There is no file {where or SHIFT_TOLERANT_FILE}. ST-LPIPS's weights come with "
                "the package stlpips-pytorch, of which nothing else is needed: "
                "pip install --no-deps stlpips-pytorch"
            )
        self._open(AlexNetLpips(shift_tolerant=True), _all_of(tensors_in(where)), where, device)


def _shift_tolerant_file() -> Path | None:
    """Return the file in the installed package, which is not imported."""
    found = find_spec("stlpips_pytorch")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0], "weights", "vST0.0", SHIFT_TOLERANT_FILE)


def _all_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ST-LPIPS's tensors under our names; its convolutions come in the order of ours."""
    numbers = iter(_CONVOLUTIONS)
    ours = _linear({name: value for name, value in tensors.items() if name.startswith("lin")})
    for name, value in tensors.items():
        if name.startswith("net.") and name.endswith(".weight"):
            number = next(numbers, ("other",))[0]
            ours[f"features.{number}.weight"] = value
            bias = name.removesuffix("weight") + "bias"
            if bias in tensors:
                ours[f"features.{number}.bias"] = tensors[bias]
    return ours


def _convolutions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what LPIPS needs of AlexNet, without its classifier."""
    return {name: value for name, value in tensors.items() if name.startswith("features.")}


def _linear(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the layers on top, ``lin0.model.1.weight`` in the file, under our names."""
    return {name.removesuffix(".model.1.weight"): value for name, value in tensors.items()}
