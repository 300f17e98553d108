"""How blurred does a histology image look, without its truth: 1 is sharp, 0 most blurred?

Histo-Diffusion (section 3.3) trains CLIP-IQA (Wang et al. 2023) on clean tiles that were blurred on
purpose, one model for box blur and one for Gaussian blur (`histomend.damage.blur_levels`); its
Table 3 gives their scores over 10. Two kinds of model are trained here (`histomend.train.iqa`):
a head on frozen features, such as CLIP's, and a small network of our own that needs no other
weights. A figure is named after what made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.damage.blur_levels import BLUR_SETS
from histomend.evaluate.encoder import (
    SMALLEST_PX,
    PooledScales,
    as_input,
    checked_rgb,
    in_parts,
    parts_of,
)
from histomend.evaluate.pretrained import features
from histomend.models.part import Part

_HIDDEN = 64
_MOST_FEATURES = 65536


class QualityNetwork(PooledScales):
    """Our own network: pooled scales, compared with each other, and two layers.

    Blur takes strength from fine scales and leaves coarse ones: what tells it is how strong one
    scale is beside another, which stain and contrast change little.
    """

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(
            nn.LayerNorm(self.POOLED), nn.Linear(self.POOLED, _HIDDEN), nn.GELU(),
            nn.Linear(_HIDDEN, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B,) in (0, 1) for x (B, 3, H, W) in [-1, 1]."""
        return torch.sigmoid(self.head(self.pooled(x)))[:, 0]


class AntonymHead(nn.Module):
    """CLIP-IQA's score with learned prompts, on features that another network made.

    CLIP-IQA asks whether an image's features are nearer to the text "Good photo." or to "Bad
    photo.", by a softmax over two cosines. The texts enter through the difference of their two
    embeddings alone, so that difference is learned here, and an offset, without the text encoder.
    CLIP-IQA's own CLIP is a ResNet-50 without positions; here it is whichever is named.

    Parameters
    ----------
    dimensions : int
        Of the features.
    """

    def __init__(self, dimensions: int):
        super().__init__()
        self.difference = nn.Linear(dimensions, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (B,) in (0, 1) for features x (B, dimensions)."""
        # Of length √D, so that the layer's usual first weights and learning rate fit.
        x = F.normalize(x, dim=1) * x.shape[1] ** 0.5
        return torch.sigmoid(self.difference(x))[:, 0]


@dataclass(frozen=True)
class IqaConfig:
    """What a quality model was trained for.

    Parameters
    ----------
    blur : "box", "gaussian" or "both"
        The data set that it learned.
    features : str
        Network behind an `AntonymHead`, of `histomend.evaluate.pretrained.features`; empty for
        `QualityNetwork`.
    weights : str
        That network's weights in the training: a folder, a file, or a name on the hub.
    dimensions : int
        Of its features; 0 for `QualityNetwork`.
    part_px : int
        Side of the parts that an image is judged by.
    sha256 : str
        Of the weights here, without those behind the head; empty until saved.
    card : dict
        Data, licence, command and time.
    """

    blur: str
    features: str = ""
    weights: str = ""
    dimensions: int = 0
    part_px: int = 128
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """Return the network, or the head alone, with fresh weights."""
        return AntonymHead(self.dimensions) if self.features else QualityNetwork()

    def wrong(self) -> list[str]:
        """Return the fields whose values no quality model can have."""
        few = 0 < self.dimensions <= _MOST_FEATURES if self.features else not self.dimensions
        possible = {
            "blur": self.blur in BLUR_SETS,
            "dimensions": few,
            "part_px": self.part_px >= SMALLEST_PX,
        }
        return [key for key, fine in possible.items() if not fine]

    def sight(
        self, weights: str | Path | None = None, device: str | torch.device = "cpu"
    ) -> Callable[[npt.NDArray[np.uint8]], Tensor]:
        """Return what turns images (N, H, W, 3) uint8 into what the network sees.

        Parameters
        ----------
        weights : str or Path, optional
            Of the network behind a head, if they are elsewhere than in the training.

        Raises
        ------
        SettingError, MissingDependencyError, ModelError
            See `features`.
        """
        if not self.features:
            return lambda images: as_input(images).to(device)
        describes = features(self.features, self.weights if weights is None else weights, device)
        return lambda images: torch.from_numpy(describes(images)).float().to(device)


QUALITY = Part(IqaConfig, "a quality model", "`histomend train iqa`")


@dataclass(frozen=True)
class Iqa:
    """A loaded quality model.

    Parameters
    ----------
    config : IqaConfig
    network : nn.Module
    sight : callable
        From images to what the network sees, see `IqaConfig.sight`.
    """

    config: IqaConfig
    network: nn.Module
    sight: Callable[[npt.NDArray[np.uint8]], Tensor]

    @property
    def name(self) -> str:
        """What tables call it."""
        names = {"": "own IQA", "clip": "CLIP-IQA"}
        kind = names.get(self.config.features, f"{self.config.features} IQA")
        return f"{kind} ({self.config.blur})"

    def score(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Score images: 1 for sharp ones, 0 for those blurred like level 10 of the data set.

        Parameters
        ----------
        images : (N, H, W, 3) uint8, at least 32 px a side
            At the pixel size of the training. Larger ones than `part_px` are judged by parts, and
            get the parts' mean: resized as a whole they would be of another blur.

        Returns
        -------
        (N,) float64 in [0, 1]

        Raises
        ------
        UnsupportedImageError, ImageSizeError
        """
        parts = parts_of(checked_rgb(images, SMALLEST_PX), self.config.part_px)
        found = in_parts(lambda some: self.network(self.sight(some))[:, None], parts, 1)
        return found.reshape(len(images), -1).mean(1) if len(images) else found[:, 0]


def save_iqa(folder: Path, state: dict[str, Tensor], config: IqaConfig) -> IqaConfig:
    """Write weights and config to `folder`, and return the config with its hash."""
    return QUALITY.save(folder, state, config)


def read_iqa(folder: Path) -> IqaConfig:
    """Return the config of the quality model in `folder`; see `Part.read`."""
    return QUALITY.read(folder)


def load_iqa(
    folder: Path, weights: str | Path | None = None, device: str | torch.device = "cpu"
) -> Iqa:
    """Load a quality model.

    Parameters
    ----------
    folder : Path
    weights : str or Path, optional
        Of the network behind a head, if they are elsewhere than in the training.
    device : "cpu", "cuda", ...

    Raises
    ------
    ModelError
        See `read_iqa`; for a head also what `histomend.evaluate.pretrained.features` raises.
    MissingDependencyError
        The network behind a head needs a package that is not installed.
    """
    config, network = QUALITY.load(folder, device)
    return Iqa(config, network, config.sight(weights, device))
