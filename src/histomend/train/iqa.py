"""Training of quality models, on clean tiles that are blurred as the training goes.

The data sets are those of Histo-Diffusion (section 3.3): each crop at one of eleven levels of box
or Gaussian blur, with the level's score to be told. Levels are drawn anew for every crop, so that
no tissue goes with a score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from histomend.damage.blur_levels import (
    BEST_SCORE,
    LEVELS,
    REACH_PX,
    blurred,
    blurs_in,
    score_of,
)
from histomend.diffusion.device import torch_device
from histomend.errors import SettingError, TrainingError
from histomend.evaluate.agreement import agreement, monotony
from histomend.evaluate.encoder import in_parts
from histomend.evaluate.iqa import IqaConfig, read_iqa, save_iqa
from histomend.models import load_weights, locate
from histomend.train.comparison_options import IqaOptions
from histomend.train.data import Crops, open_sources
from histomend.train.lesson import Figures, Lesson, Step

HELD_OUT = 24

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IqaTrainee:
    """A quality model as what is trained; the network behind a head is not."""

    config: IqaConfig

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        keys = ("blur", "features", "weights", "dimensions", "part_px")
        return {key: getattr(self.config, key) for key in keys}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the quality model in the folder `init`."""
        folder = locate(init)
        found = read_iqa(folder).features
        if found != self.config.features:
            raise TrainingError(
                f"{init} is {f'a head on features of {found}' if found else 'a network of our own'}"
                ": name the same --features, or start without --init."
            )
        return load_weights(folder)

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a quality model's folder."""
        save_iqa(folder, average, self.config)


@dataclass
class IqaLesson(Lesson[tuple[Tensor, Tensor]]):
    """Predict how blurred crops are; see `IqaOptions`.

    Parameters
    ----------
    trainee : IqaTrainee
    source : Crops
    blurs : tuple of str
    sight : callable
        From images to what the network sees (`IqaConfig.sight`).
    batch : int
    held_out : images of `all_levels` by blur
    """

    trainee: IqaTrainee
    source: Crops
    blurs: tuple[str, ...]
    sight: Callable[[Pixels], Tensor]
    batch: int
    held_out: dict[str, Pixels]
    # The finest detail of an image is what bf16 rounds away.
    mixed_precision = False

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw blurred crops and their scores."""
        size = self.trainee.config.part_px
        seen, scores = blurred_crops(self.source, step.rng, self.blurs, self.batch, size)
        return self.sight(seen).to(step.device), scores.to(step.device)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return the squared error of the score."""
        seen, scores = crops
        return F.mse_loss(BEST_SCORE * network(seen), scores)

    def figures(self, network: nn.Module) -> Figures:
        """Return how well scores follow the levels of blur."""
        figures: dict[str, float] = {}
        for blur, images in self.held_out.items():
            found = in_parts(lambda some: network(self.sight(some))[:, None], images, 1)
            figures |= {f"{blur}_{name}": value for name, value in judged(found[:, 0]).items()}
        return Figures(figures)


def lesson(options: IqaOptions) -> IqaLesson:
    """Return the lesson of a quality model."""
    crop, blurs = options.crop, blurs_in(options.blur)
    if bool(options.features) != bool(options.weights):
        raise SettingError(
            "--features and --weights go together: the first names a network, clip for instance, "
            "the second its folder or its name on the hub. Without both our own is trained."
        )
    config = IqaConfig(options.blur, options.features, options.weights, part_px=crop)
    sight = config.sight(device=torch_device(options.device))
    if options.features:
        blank = np.zeros((1, crop, crop, 3), np.uint8)
        config = replace(config, dimensions=int(sight(blank).shape[1]))
    # Blurred with what lies around them, so that no mirrored border tells the level.
    tiles = open_sources(options, crop=crop + 2 * REACH_PX)
    rng = np.random.default_rng([41, 0])
    held_out = {blur: all_levels(tiles.held_out, rng, blur, HELD_OUT, crop) for blur in blurs}
    trainee = IqaTrainee(config)
    return IqaLesson(trainee, tiles.mixed, blurs, sight, options.batch, held_out)


def blurred_crops(
    source: Crops, rng: np.random.Generator, blurs: tuple[str, ...], count: int, size: int
) -> tuple[Pixels, Tensor]:
    """Return crops (count, size, size, 3), each at a blur and level of its own, and their scores.

    The scores (count,) are from 10, as it was, to 0.
    """
    images, scores = [], []
    for _ in range(count):
        level = int(rng.integers(len(LEVELS)))
        blur = blurs[int(rng.integers(len(blurs)))]
        field = source.crop(rng, size + 2 * REACH_PX)
        images.append(_middle(blurred(field, blur, level), size))
        scores.append(score_of(level))
    return np.stack(images), torch.tensor(scores)


def all_levels(source: Crops, rng: np.random.Generator, blur: str, count: int, size: int) -> Pixels:
    """Return `count` crops at each of the 11 levels, (count * 11, size, size, 3), crop by crop."""
    fields = [source.crop(rng, size + 2 * REACH_PX) for _ in range(count)]
    return np.stack(
        [_middle(blurred(field, blur, level), size) for field in fields for level in LEVELS]
    )


def judged(scores: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return the log's figures for scores of `all_levels`."""
    true = np.tile([score_of(level) for level in LEVELS], len(scores) // len(LEVELS))
    told, by_image = agreement(scores, true), monotony(scores.reshape(-1, len(LEVELS)))
    return {
        "spearman": round(told.spearman, 4),
        "kendall": round(told.kendall, 4),
        "pearson": round(told.pearson, 4),
        "in_order": round(by_image.in_order, 4),
    }


def _middle(field: Pixels, size: int) -> Pixels:
    return field[REACH_PX : REACH_PX + size, REACH_PX : REACH_PX + size]
