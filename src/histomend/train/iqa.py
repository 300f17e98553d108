"""Training of quality models, on clean tiles that are blurred as the training goes.

The data sets are those of Histo-Diffusion (section 3.3): each crop at one of eleven levels of box
or Gaussian blur, with the level's score to be told. Levels are drawn anew for every crop, so that
no tissue goes with a score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from histomend.evaluate.encoder import SMALLEST_PX, in_parts
from histomend.evaluate.iqa import IqaConfig, read_iqa, save_iqa
from histomend.models import load_weights
from histomend.train.data import Crops, Mixed, open_sources
from histomend.train.loop import Run
from histomend.train.settings import IQA, RunOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack

HELD_OUT = 24

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class IqaSubject:
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
        found = read_iqa(Path(init)).features
        if found != self.config.features:
            raise TrainingError(
                f"{init} is {f'a head on features of {found}' if found else 'a network of our own'}"
                ": name the same --features, or start without --init."
            )
        return load_weights(Path(init))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a quality model's folder."""
        save_iqa(folder, average, self.config)


def train_iqa(
    data: Path,
    out: Path,
    *,
    blur: str = "both",
    features: str = "",
    weights: str = "",
    extra: Path | None = None,
    extra_share: float = 0.08,
    init: Path | None = None,
    **options: Unpack[RunOptions],
) -> Path:
    """Train a quality model and return its folder.

    The loss is the mean squared error of the score from 10 to 0.

    Parameters
    ----------
    data : Path
        Folder of clean, sharp RGB tiles.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`.
    blur : "box", "gaussian" or "both"
        The paper has a model for each.
    features : str
        Frozen network under a head, of `histomend.evaluate.pretrained.features`: "clip" for
        CLIP-IQA. Empty for our own network, which is trained as a whole.
    weights : str
        Of the frozen network: a folder, a file, or a name on the hub.
    crop : int
        Side of a crop in px. Images are judged by parts of this size: give the side that the
        frozen network sees (224 for most CLIPs), and nothing is resized.

    The options are those of `histomend.train.settings.RunSettings`; what is not given is as in
    `IQA` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        A blur or features that do not exist, features without weights, or too small a crop.
    MissingDependencyError, ModelError
        The frozen network cannot be loaded.
    """
    settings = replace(IQA, **options)
    batch, crop = settings.batch, settings.crop
    blurs = blurs_in(blur)
    if crop < SMALLEST_PX:
        raise SettingError(f"--crop is {crop}, but must be at least {SMALLEST_PX}.")
    if bool(features) != bool(weights):
        raise SettingError(
            "--features and --weights go together: the first names a network, clip for instance, "
            "the second its folder or its name on the hub. Without both our own is trained."
        )
    where = torch_device(settings.device)
    config = IqaConfig(blur, features, weights, part_px=crop)
    sight = config.sight(device=where)
    if features:
        blank = np.zeros((1, crop, crop, 3), np.uint8)
        config = IqaConfig(blur, features, weights, int(sight(blank).shape[1]), crop)
    cache = settings.cache_of(out)
    # Blurred with what lies around them, so that no mirrored border tells the level.
    tiles = open_sources(
        data, settings.validation, extra, cache, crop=crop + 2 * REACH_PX, device=where
    )
    source = Mixed(tiles.main, tiles.further, extra_share)
    run = Run(
        out,
        IqaSubject(config),
        settings,
        init=init,
        # The finest detail of an image is what bf16 rounds away.
        mixed_precision=False,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([settings.seed, step, run.accelerator.process_index])
        seen, scores = blurred_crops(source, rng, blurs, batch, crop)
        found = network(sight(seen).to(where))
        return F.mse_loss(BEST_SCORE * found, scores.to(where)), batch

    rng = np.random.default_rng([41, 0])
    held_out = {one: all_levels(tiles.held_out, rng, one, HELD_OUT, crop) for one in blurs}

    def validate(run: Run) -> dict[str, float]:
        network = run.averaged()
        figures: dict[str, float] = {}
        for one, images in held_out.items():
            found = in_parts(lambda some: network(sight(some))[:, None], images, 1)
            figures |= {f"{one}_{name}": value for name, value in judged(found[:, 0]).items()}
        return figures

    return run.train(loss_at, validate)


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
