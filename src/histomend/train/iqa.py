"""Training of quality models, on clean tiles that are blurred as the training goes.

The data sets are those of Histo-Diffusion (section 3.3): each crop at one of eleven levels of box
or Gaussian blur, with the level's score to be told. Levels are drawn anew for every crop, so that
no tissue goes with a score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
from histomend.evaluate.encoder import SMALLEST_PX, in_parts
from histomend.evaluate.iqa import IqaConfig, read_iqa, save_iqa
from histomend.models import load_weights
from histomend.train.data import Crops, Mixed, open_sources
from histomend.train.loop import Budget, Optimiser, Run

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
    validation: Path | None = None,
    extra: Path | None = None,
    extra_share: float = 0.08,
    init: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int = 32,
    crop: int = 128,
    lr: float = 1e-3,
    ema: float = 0.99,
    cooldown: float = 0.3,
    seed: int = 0,
    device: str = "auto",
    save_minutes: float = 5,
    validate_minutes: float = 10,
    cache: Path | None = None,
    report: Callable[[int, float, float, float], None] | None = None,
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

    The other parameters are those of `histomend.train.artifusion.train`.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        A blur or features that do not exist, features without weights, or too small a crop.
    MissingDependencyError, ModelError
        The frozen network cannot be loaded.
    """
    blurs = blurs_in(blur)
    if crop < SMALLEST_PX:
        raise SettingError(f"--crop is {crop}, but must be at least {SMALLEST_PX}.")
    if bool(features) != bool(weights):
        raise SettingError(
            "--features and --weights go together: the first names a network, clip for instance, "
            "the second its folder or its name on the hub. Without both our own is trained."
        )
    where = torch_device(device)
    config = IqaConfig(blur, features, weights, part_px=crop)
    sight = config.sight(device=where)
    if features:
        blank = np.zeros((1, crop, crop, 3), np.uint8)
        config = IqaConfig(blur, features, weights, int(sight(blank).shape[1]), crop)
    cache = out.parent / "cache" if cache is None else cache
    # Blurred with what lies around them, so that no mirrored border tells the level.
    tiles = open_sources(data, validation, extra, cache, crop=crop + 2 * REACH_PX, device=where)
    source = Mixed(tiles.main, tiles.further, extra_share)
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(
        out,
        IqaSubject(config),
        Optimiser(lr=lr, ema=ema, cooldown=cooldown),
        resume=resume,
        init=init,
        # The finest detail of an image is what bf16 rounds away.
        mixed_precision=False,
        device=where,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([seed, step, run.accelerator.process_index])
        seen, scores = blurred_crops(source, rng, blurs, batch, crop)
        found = network(sight(seen).to(where))
        return F.mse_loss(BEST_SCORE * found, scores.to(where)), batch

    rng = np.random.default_rng([41, 0])
    held_out = {one: all_levels(tiles.held_out, rng, one, HELD_OUT, crop) for one in blurs}

    def validate(run: Run) -> dict[str, float]:
        if not run.accelerator.is_main_process:
            return {}
        network = run.averaged()
        figures: dict[str, float] = {}
        for one, images in held_out.items():
            found = in_parts(lambda some: network(sight(some))[:, None], images, 1)
            figures |= {f"{one}_{name}": value for name, value in judged(found[:, 0]).items()}
        return figures

    budget = Budget(minutes, steps, save_minutes, validate_minutes)
    run.train(loss_at, budget, validate, report or (lambda *_: None))
    return out / "model"


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
