"""LPIPS (Zhang et al. 2018) with AlexNet: how different two images look.

Written out here, since the package of the authors is not kept up, and needs torchvision of the
same build as PyTorch for five convolutions. The weights are theirs, and are not bundled.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """AlexNet's five feature maps, and how much each of their channels counts."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.ModuleDict(
            {
                str(number): nn.Conv2d(here, there, kernel, stride, padding)
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
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(self.features[str(number)](x))
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance (B,) of a and b, (B, 3, H, W) in [-1, 1]."""
        parts = [
            (getattr(self, f"lin{level}") * (one - other).square()).sum(1).mean((1, 2))
            for level, (one, other) in enumerate(zip(self.maps(a), self.maps(b), strict=True))
        ]
        return torch.stack(parts).sum(0)


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

    name = "LPIPS, AlexNet"

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
        self.network = AlexNetLpips()
        fill(self.network, tensors, str(folder))
        self.network.eval().requires_grad_(False).to(device)

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


def _convolutions(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what LPIPS needs of AlexNet, without its classifier."""
    return {name: value for name, value in tensors.items() if name.startswith("features.")}


def _linear(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the layers on top, ``lin0.model.1.weight`` in the file, under our names."""
    return {name.removesuffix(".model.1.weight"): value for name, value in tensors.items()}
