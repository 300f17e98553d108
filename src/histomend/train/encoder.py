"""Training of the histology encoder, without labels: views of one field against other fields.

The loss is that of VICReg (Bardes, Ponce and LeCun 2022), on the features themselves: two views
of a field agree, each feature varies over the batch, and no two features say the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.damage.optical import degrade
from histomend.evaluate.encoder import EncoderConfig, as_input, load_encoder, save_encoder
from histomend.models import locate
from histomend.train.comparison_options import EncoderOptions
from histomend.train.data import Crops, Tiles, open_sources, turned, vary_stain
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.optimisers import AdamW
from histomend.train.validation import device_of

# Weights of the three terms, as in the paper.
INVARIANCE, VARIANCE, COVARIANCE = 25.0, 25.0, 1.0
# How a field is seen: as it is, under tissue, or blurred; both of its views alike, so that the
# features keep what restoration is to change.
AS_IT_IS, UNDER_TISSUE = 0.4, 0.4
DEEPEST_UM = 80.0
WIDEST_BLUR_PX = 2.5
HELD_OUT = 64

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EncoderTrainee:
    """An encoder as what is trained."""

    config: EncoderConfig

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        return {"features": self.config.features}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the encoder in the folder `init`."""
        return dict(load_encoder(locate(init)).network.state_dict())

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as an encoder's folder."""
        save_encoder(folder, average, self.config)


@dataclass
class EncoderLesson(Lesson[tuple[Tensor, Tensor]]):
    """Describe two views of one field alike; see `EncoderOptions`."""

    trainee: EncoderTrainee
    main: Tiles
    held_out: Tiles
    batch: int
    crop: int
    optimiser = AdamW(weight_decay=1e-4)
    # Covariances of features are small differences, which bf16 would lose.
    mixed_precision = False

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw two views of each of some fields."""
        one, other = views(self.main, step.rng, self.batch, self.crop)
        return as_input(one).to(step.device), as_input(other).to(step.device)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return VICReg's loss."""
        first, second = network(torch.cat(crops)).chunk(2)
        return vicreg(first, second)

    def figures(self, network: nn.Module) -> Figures:
        """Return how often a field is recognised."""
        return Figures({"recognised": recognised(network, self.held_out, self.crop)})


def lesson(options: EncoderOptions) -> EncoderLesson:
    """Return the lesson of an encoder."""
    tiles = open_sources(options, crop=2 * options.crop)
    trainee = EncoderTrainee(EncoderConfig(options.features))
    return EncoderLesson(trainee, tiles.main, tiles.held_out, options.batch, options.crop)


def views(source: Crops, rng: np.random.Generator, count: int, size: int) -> tuple[Pixels, Pixels]:
    """Return two views of each of `count` fields, (count, size, size, 3) each.

    The views of a field are crops of its own, turned and stained anew, and degraded alike.
    """
    pairs = []
    for _ in range(count):
        field = source.crop(rng, 2 * size)
        kind, strength = rng.random(), rng.random()
        pairs.append([_seen(_view(field, rng, size), kind, strength, rng) for _ in range(2)])
    one, other = zip(*pairs, strict=True)
    return np.stack(one), np.stack(other)


def _view(field: Pixels, rng: np.random.Generator, size: int) -> Pixels:
    y, x = (int(rng.integers(size + 1)) for _ in range(2))
    part = turned(field[y : y + size, x : x + size], rng)
    # Of the scanner's colours only a little is let go: they tell a restoration's cast.
    return vary_stain(part, rng) if rng.random() < 0.3 else part


def _seen(view: Pixels, kind: float, strength: float, rng: np.random.Generator) -> Pixels:
    if kind < AS_IT_IS:
        return view
    if kind < AS_IT_IS + UNDER_TISSUE:
        seen = degrade(view, seed=int(rng.integers(2**31)), depth_um=DEEPEST_UM * strength)
        return seen.pixels.astype(np.uint8, copy=False)
    sigma = 0.4 + (WIDEST_BLUR_PX - 0.4) * strength
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(view), (0, 0), sigma))


def vicreg(one: Tensor, other: Tensor) -> Tensor:
    """Return VICReg's loss of the features (B, D) of two views."""
    loss = INVARIANCE * F.mse_loss(one, other)
    for view in (one, other):
        centred = view - view.mean(0)
        spread = (centred.var(0) + 1e-4).sqrt()
        loss = loss + VARIANCE / 2 * F.relu(1 - spread).mean()
        covariance = centred.T @ centred / (len(view) - 1)
        crossed = covariance - torch.diag(covariance.diagonal())
        loss = loss + COVARIANCE * crossed.square().sum() / view.shape[1]
    return loss


@torch.no_grad()
def recognised(network: nn.Module, tiles: Tiles, crop: int) -> float:
    """Return how often a view's nearest among all fields' other views is of its own field."""
    one, other = views(tiles, np.random.default_rng([31, 0]), HELD_OUT, crop)
    device = device_of(network)
    a, b = (network(as_input(v).to(device)) for v in (one, other))
    nearest = torch.cdist(a, b).argmin(1).cpu()
    return float((nearest == torch.arange(len(nearest))).float().mean())
