"""Training of CycleGAN (Zhu et al. 2017) between damaged and clean images, without pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.device import torch_device
from histomend.errors import SettingError
from histomend.methods.cyclegan import CycleGanRestorer
from histomend.models import ModelConfig, load_weights, locate, save_model
from histomend.networks.build import arch_named
from histomend.networks.critic import Verdict
from histomend.networks.cyclegan import POOL, CycleGan, Pass
from histomend.train.denoiser import checked
from histomend.train.loop import Optimiser, Run
from histomend.train.restorer import HELD_OUT, compared
from histomend.train.settings import CYCLEGAN, RunOptions
from histomend.train.unpaired import open_unpaired

if TYPE_CHECKING:
    from typing_extensions import Unpack

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
class CycleGanSubject:
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


def train(
    data: Path,
    out: Path,
    *,
    damage: str = "artifacts",
    share: float = 1.0,
    arch: str = "small",
    channels: int = 3,
    init: str | Path | None = None,
    mpp: float = 0.5,
    **options: Unpack[RunOptions],
) -> Path:
    """Train both generators and both critics, and return the folder of the one that restores.

    All four learn at each step and at the same rate. The critics' loss does not reach the
    generators, nor theirs the critics, so one optimiser moves each by its own loss alone.

    Parameters
    ----------
    data : Path
        Folder of clean tiles, of which the damaged ones are made.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    damage : "artifacts" or "optical"
        What the damaged images have: a simulated artifact each (RGB only), or all of the field
        degraded as under tissue.
    share : float in (0, 1]
        Share of each slide's tiles that is used; 0.5 is configuration #2 of ArtiFusion's
        comparison, 1 is #1.
    arch : "paper" or "small"
    channels : 1, 2 or 3
        See `open_signals`.
    init : str or Path, optional
        Folder of a model of this method for the generator that restores; the other three
        networks begin anew.

    The options are those of `histomend.train.settings.RunSettings`; what is not given is as in
    `CYCLEGAN` there. A batch is so many damaged crops and as many clean ones.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch, a damage, a share or a number of channels that does not exist, or too small a
        crop.
    """
    settings = replace(CYCLEGAN, **options)
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    arch_named(arch, "cyclegan")
    if crop < SMALLEST_CROP:
        raise SettingError(f"--crop is {crop}, but must be {SMALLEST_CROP} or more.")
    made_of = {"damage": damage, "share": share}
    config = ModelConfig("cyclegan", arch, mpp=mpp, channels=channels, context=False)
    config = checked(config, init)
    config = replace(config, card=made_of | config.card)
    cache = settings.cache_of(out)
    tiles = open_unpaired(
        data,
        settings.validation,
        cache,
        damage=damage,
        channels=channels,
        share=share,
        mpp=mpp,
        crop=crop,
        seed=settings.seed,
        device=where,
    )
    run = Run(
        out,
        CycleGanSubject(config, crop, made_of),
        settings,
        # As published: no warming up, no bound on the gradient.
        Optimiser(warmup=1, clip=float("inf"), betas=BETAS),
        init=init,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([settings.seed, step, run.accelerator.process_index])
        damaged, clean = (images.to(where) for images in tiles.batch(rng, batch, crop))
        slots = torch.from_numpy(drawn_slots(rng, batch))
        made: Pass = network(damaged, clean, slots)
        return generator_loss(made, damaged, clean) + critic_loss(made), batch

    damaged, clean = tiles.known(HELD_OUT, crop)

    def validate(run: Run) -> dict[str, float]:
        generator = run.averaged().get_submodule("restoring")
        return compared(run, CycleGanRestorer(generator), damaged, clean)

    return run.train(loss_at, validate)


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
