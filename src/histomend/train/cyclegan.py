"""Training of CycleGAN (Zhu et al. 2017) between damaged and clean images, without pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.errors import SettingError
from histomend.methods.cyclegan import CycleGanRestorer
from histomend.models import ModelConfig, load_weights, locate, save_model
from histomend.networks.build import arch_named
from histomend.networks.critic import Verdict
from histomend.networks.cyclegan import POOL, CycleGan, Pass
from histomend.train.comparison_options import CycleGanOptions
from histomend.train.denoiser import starting_config
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.optimisers import AdamW
from histomend.train.paired import HELD_OUT, compared
from histomend.train.unpaired import Unpaired, open_unpaired
from histomend.train.validation import device_of

# Of the cycles and of the identity beside the adversarial loss (sections 4 and 5.2).
CYCLE_WEIGHT, IDENTITY_WEIGHT = 10.0, 5.0
# Of the critics' loss, so that they learn more slowly than the generators (appendix 7.1). Adam
# takes out most of what a factor does; it is here because the published method has it.
CRITIC_WEIGHT = 0.5
# Those of the authors' code; the paper names none.
BETAS = (0.5, 0.999)
SMALLEST_CROP = 64
RESTORING = "restoring."


@dataclass(frozen=True)
class CycleGanTrainee:
    """Both generators and both critics as what is trained.

    Parameters
    ----------
    config : ModelConfig
        Of the generator that restores, which alone is written as a model.
    crop : int
        Side of the crops in px, and of the images in the pools.
    data : dict
        What it learns from: the damage, and the share of the tiles.
    """

    config: ModelConfig
    crop: int
    data: dict[str, Any]

    def network(self) -> nn.Module:
        """Return the networks with fresh weights and empty pools."""
        size = arch_named(self.config.arch, "cyclegan").settings
        return CycleGan(self.config.channels, self.crop, **size)

    def identity(self) -> dict[str, Any]:
        """Return the settings without which weights and pools mean something else."""
        own = {"arch": self.config.arch, "channels": self.config.channels, "crop": self.crop}
        return own | self.data

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return fresh weights, but those of the model `init` for the generator that restores."""
        given = {RESTORING + k: v for k, v in load_weights(locate(init)).items()}
        fresh = self.network().state_dict()
        return {k: v for k, v in fresh.items() if not k.startswith(RESTORING)} | given

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights of the generator that restores as a model, in fp16."""
        kept = {k.removeprefix(RESTORING): v for k, v in average.items() if k.startswith(RESTORING)}
        save_model(folder, kept, self.config, half=True)


@dataclass
class CycleGanLesson(Lesson[tuple[Tensor, Tensor]]):
    """Translate damaged crops into clean ones and back; see `CycleGanOptions`."""

    trainee: CycleGanTrainee
    source: Unpaired
    batch: int
    known: tuple[Tensor, Tensor]
    # As published: no warming up, no bound on the gradient.
    optimiser = AdamW(warmup=1, clip=float("inf"), betas=BETAS)

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw damaged and clean crops of different tiles."""
        damaged, clean = self.source.batch(step.rng, self.batch, self.trainee.crop)
        return damaged.to(step.device), clean.to(step.device)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return the losses of generators and critics together."""
        damaged, clean = crops
        slots = torch.from_numpy(drawn_slots(step.rng, self.batch))
        made: Pass = network(damaged, clean, slots)
        return generator_loss(made, damaged, clean) + critic_loss(made)

    def figures(self, network: nn.Module) -> Figures:
        """Return the PSNRs of restored and of damaged crops."""
        generator = network.get_submodule(RESTORING.rstrip("."))
        return compared(CycleGanRestorer(generator), *self.known, device_of(network))


def lesson(options: CycleGanOptions) -> CycleGanLesson:
    """Return the lesson of both generators and both critics."""
    crop = options.crop
    arch_named(options.arch, "cyclegan")
    if crop < SMALLEST_CROP:
        raise SettingError(f"--crop is {crop}, but must be {SMALLEST_CROP} or more.")
    made_of = {"damage": options.damage, "share": options.share}
    config = ModelConfig(
        "cyclegan", options.arch, mpp=options.mpp, channels=options.channels, context=False
    )
    config = starting_config(config, options)
    config = replace(config, card=made_of | config.card)
    source = open_unpaired(options)
    trainee = CycleGanTrainee(config, crop, made_of)
    return CycleGanLesson(trainee, source, options.batch, source.known(HELD_OUT, crop))


def drawn_slots(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw places in both pools, (2, count) int64; half of them -1, for a fresh image."""
    return np.where(rng.random((2, count)) < 0.5, rng.integers(POOL, size=(2, count)), -1)


def generator_loss(made: Pass, damaged: Tensor, clean: Tensor) -> Tensor:
    """Return what both generators are to make small, a scalar (equations 1 to 3, section 5.2).

    Parameters
    ----------
    made : Pass
    damaged, clean : (B, C, H, W) in [-1, 1]
        What it was made of.
    """
    cycles = F.l1_loss(made.cycled_damaged, damaged) + F.l1_loss(made.cycled_clean, clean)
    identity = F.l1_loss(made.kept_damaged, damaged) + F.l1_loss(made.kept_clean, clean)
    fooled = sum((v.judged - 1).square().mean() for v in (made.on_clean, made.on_damaged))
    return fooled + CYCLE_WEIGHT * cycles + IDENTITY_WEIGHT * identity


def critic_loss(made: Pass) -> Tensor:
    """Return what both critics are to make small, a scalar (least squares, section 4)."""

    def one(verdict: Verdict) -> Tensor:
        return (verdict.real - 1).square().mean() + verdict.shown.square().mean()

    return CRITIC_WEIGHT * (one(made.on_clean) + one(made.on_damaged))
