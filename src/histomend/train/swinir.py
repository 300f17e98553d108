"""Training of restoration modules, from degraded crops to clean ones.

Histo-Diffusion's first stage, SwinIR, learns so; `histomend.train.gan` adds a critic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.damage.capture import scanned
from histomend.damage.degradations import degrade_batch, pipeline_named
from histomend.damage.pipelines import Pipeline
from histomend.errors import TrainingError
from histomend.image.resampling import resized
from histomend.models import locate
from histomend.models.restoration import (
    STAGE_1,
    RestorationConfig,
    load_restoration,
    save_restoration,
)
from histomend.networks.critic import Judged
from histomend.train.channels import crops
from histomend.train.comparison_options import RestoringGanOptions
from histomend.train.data import Crops, open_sources
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.options import SwinirOptions
from histomend.train.validation import device_of, held_out_rng, laplacian_ratio, psnr

# (network in training, degraded crops, clean ones), both (B, 3, h, w) in [0, 1] -> scalar.
Error = Callable[[nn.Module, Tensor, Tensor], Tensor]
# Of the network in `Judged`.
RESTORING = "restoring"
HELD_OUT, SHOWN = 24, 4
# The scale of the paper's tables.
SCALE = 4


@dataclass(frozen=True)
class RestorationTrainee:
    """A restoration module as what is trained.

    Parameters
    ----------
    config : RestorationConfig
    critic : bool
        Whether a critic is trained beside it (`Judged`).
    """

    config: RestorationConfig
    critic: bool = False

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        network = self.config.network()
        return Judged(network) if self.critic else network

    def restoring(self, trained: nn.Module) -> nn.Module:
        """Return the part of a network of `network()` that restores."""
        return trained.get_submodule(RESTORING) if self.critic else trained

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        own: dict[str, Any] = {"arch": self.config.arch, "degradation": self.config.degradation}
        if self.config.method != STAGE_1:
            own |= {"method": self.config.method, "critic": self.critic}
        return own

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the restoration module in the folder `init`; a critic's are fresh.

        It may have been trained with or without a critic.
        """
        module = load_restoration(locate(init))
        first, fresh = module.network, self.network()
        theirs, ours = (
            f"{type(network).__name__} of the arch {arch}"
            for network, arch in (
                (first, module.config.arch),
                (self.restoring(fresh), self.config.arch),
            )
        )
        if theirs != ours:
            raise TrainingError(
                f"{init} holds a {theirs}, and what is to be trained is a {ours}. Name weights of "
                "the same network and --arch, or start without --init."
            )
        self.restoring(fresh).load_state_dict(first.state_dict())
        return fresh.state_dict()

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a restoration module's folder, in fp16."""
        if self.critic:
            start = RESTORING + "."
            average = {k.removeprefix(start): v for k, v in average.items() if k.startswith(start)}
        save_restoration(folder, average, self.config)


@dataclass(frozen=True)
class HeldOut:
    """Crops that only figures are made on, always the same: (N, 3, H, W) in [-1, 1].

    Parameters
    ----------
    clean : Tensor
    degraded : Tensor
        As the training degrades them.
    enlarged : Tensor
        Scanned with pixels four times larger, and enlarged again by bicubic interpolation.
    """

    clean: Tensor
    degraded: Tensor
    enlarged: Tensor

    @classmethod
    def of(cls, seen: Tensor, clean: Tensor) -> HeldOut:
        """Return pairs of the training, which are in [0, 1], and scans of the clean crops."""
        small = (scanned(clean, SCALE) * 255).round() / 255
        size = (clean.shape[-2], clean.shape[-1])
        enlarged = torch.stack([resized(image, size, "bicubic") for image in small])
        return cls(*(2 * part - 1 for part in (clean, seen, enlarged.clamp(0, 1))))


@dataclass
class RestorationLesson(Lesson[tuple[Tensor, Tensor]]):
    """Clean what was degraded and enlarged; see `SwinirOptions`.

    Parameters
    ----------
    trainee : RestorationTrainee
    pipeline : Pipeline
        That degrades.
    source : Crops
    error : function (network, degraded, clean) -> scalar
        The network is one of `trainee.network()`, the crops are (B, 3, h, w) in [0, 1].
    held_out : HeldOut
    batch, crop : int
    """

    trainee: RestorationTrainee
    pipeline: Pipeline
    source: Crops
    error: Error
    held_out: HeldOut
    batch: int
    crop: int

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw degraded crops and the clean ones."""
        seen, clean = _pairs(self.source, step.rng, self.batch, self.crop, self.pipeline)
        return seen.to(step.device), clean.to(step.device)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return the error of what the network makes of the degraded crops."""
        return self.error(network, *crops)

    def figures(self, network: nn.Module) -> Figures:
        """Return PSNRs in dB and a sharpness; show crops degraded, restored and clean.

        `psnr_x4` is that of restored scans with pixels four times larger, beside `bicubic_x4`,
        which is what the network was given; `sharpness_x4` is their `laplacian_ratio`; `psnr` and
        `given` are the PSNRs for the degradation of the training.
        """
        restoring, device = self.trainee.restoring(network), device_of(network)

        def restored(given: Tensor) -> Tensor:
            parts = [restoring((part.to(device) + 1) / 2).cpu().float() for part in given.split(8)]
            return torch.cat(parts).clamp(0, 1) * 2 - 1

        degraded, enlarged = self.held_out.degraded, self.held_out.enlarged
        clean = self.held_out.clean
        blind, found = restored(degraded), restored(enlarged)
        values = {
            "psnr_x4": psnr(found, clean),
            "bicubic_x4": psnr(enlarged, clean),
            "sharpness_x4": laplacian_ratio(found, clean),
            "psnr": psnr(blind, clean),
            "given": psnr(degraded, clean),
        }
        rows = [
            torch.cat([of_scan[:SHOWN], of_training[-SHOWN:]])
            for of_scan, of_training in ((enlarged, degraded), (found, blind), (clean, clean))
        ]
        return Figures(values, rows)


def lesson(options: SwinirOptions) -> RestorationLesson:
    """Return the lesson of Histo-Diffusion's first stage."""
    config = RestorationConfig(options.arch, options.degradation, options.mpp)

    def error(network: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        return F.mse_loss(network(degraded).float(), clean)

    return restoration_lesson(options, RestorationTrainee(config), error)


def restoration_lesson(
    options: SwinirOptions | RestoringGanOptions, trainee: RestorationTrainee, error: Error
) -> RestorationLesson:
    """Return the lesson of a restoration module that learns by `error`."""
    pipeline, crop = pipeline_named(options.degradation), options.crop
    with torch.device("meta"):
        trainee.network()
    tiles = open_sources(options)
    pairs = _pairs(tiles.held_out, held_out_rng(), HELD_OUT, crop, pipeline)
    held_out = HeldOut.of(*pairs)
    return RestorationLesson(trainee, pipeline, tiles.mixed, error, held_out, options.batch, crop)


def _pairs(
    source: Crops, rng: np.random.Generator, count: int, size: int, pipeline: Pipeline
) -> tuple[Tensor, Tensor]:
    """Return degraded crops and the clean ones, in [0, 1]."""
    clean = (crops(source, rng, count, size) + 1) / 2
    seeds = rng.integers(2**62, size=count).tolist()
    return degrade_batch(clean, seeds, pipeline).images, clean
