"""Training of CycleGAN (Zhu et al. 2017) between damaged and clean images, without pairs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.errors import SettingError
from histomend.models import ModelConfig, load_weights, locate, save_model
from histomend.networks.build import arch_named
from histomend.networks.cyclegan import POOL, CycleGan, Pass, Verdict
from histomend.recipes.whole_field import ByTranslation
from histomend.train.denoiser import checked
from histomend.train.loop import Budget, Optimiser, Run
from histomend.train.restorer import HELD_OUT, compared
from histomend.train.unpaired import open_unpaired

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
    validation: Path | None = None,
    init: str | Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int = 1,
    crop: int = 128,
    lr: float = 2e-4,
    ema: float = 0.999,
    cooldown: float = 0.5,
    mpp: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    save_minutes: float = 5,
    validate_minutes: float = 10,
    cache: Path | None = None,
    report: Callable[[int, float, float, float], None] | None = None,
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
    batch : int
        Damaged crops per step and process, and as many clean ones.
    cooldown : float in [0, 1]
        Last share of the budget, over which the learning rate falls to zero; the paper's is half.

    The other parameters are those of `histomend.train.artifusion.train`.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch, a damage, a share or a number of channels that does not exist, or too small a
        crop.
    """
    where = torch_device(device)
    arch_named(arch, "cyclegan")
    if crop < SMALLEST_CROP:
        raise SettingError(f"--crop is {crop}, but must be {SMALLEST_CROP} or more.")
    made_of = {"damage": damage, "share": share}
    config = ModelConfig("cyclegan", arch, mpp=mpp, channels=channels, context=False)
    config = checked(config, init)
    config = replace(config, card=made_of | config.card)
    cache = out.parent / "cache" if cache is None else cache
    tiles = open_unpaired(
        data,
        validation,
        cache,
        damage=damage,
        channels=channels,
        share=share,
        mpp=mpp,
        crop=crop,
        seed=seed,
        device=where,
    )
    # Fresh weights depend on the seed too, and are the same in every process.
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(
        out,
        CycleGanSubject(config, crop, made_of),
        # As published: no warming up, no bound on the gradient.
        Optimiser(lr, warmup=1, cooldown=cooldown, clip=float("inf"), ema=ema, betas=BETAS),
        resume=resume,
        init=init,
        mixed_precision=has_fast_bf16(where),
        device=where,
    )

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([seed, step, run.accelerator.process_index])
        damaged, clean = (images.to(where) for images in tiles.batch(rng, batch, crop))
        slots = torch.from_numpy(drawn_slots(rng, batch))
        made: Pass = network(damaged, clean, slots)
        return generator_loss(made, damaged, clean) + critic_loss(made), batch

    damaged, clean = tiles.known(HELD_OUT, crop)

    def validate(run: Run) -> dict[str, float]:
        if not run.accelerator.is_main_process:
            return {}
        generator = run.averaged().get_submodule("restoring")
        return compared(run, ByTranslation(generator), damaged, clean)

    budget = Budget(minutes, steps, save_minutes, validate_minutes)
    run.train(loss_at, budget, validate, report or (lambda *_: None))
    return out / "model"


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
