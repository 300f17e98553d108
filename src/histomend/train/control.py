"""Training of Histo-Diffusion's second stage: the branch that steers a frozen prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.damage.degradations import degrade_batch, pipeline_named
from histomend.damage.pipelines import Pipeline
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.samplers import dpmpp_2m
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.errors import SettingError, TrainingError
from histomend.methods.histo_diffusion import HistoDiffusion
from histomend.models import VaeFacts, fill, locate
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.names import bundled_sampling
from histomend.models.priors import Prior, load_prior
from histomend.models.restoration import RestorationModule, load_restoration
from histomend.models.upscaler import (
    CONTROL,
    UpscalerConfig,
    read_upscaler_config,
    save_upscaler,
)
from histomend.train.channels import crops
from histomend.train.data import Crops, Mixed, Tiles, open_sources
from histomend.train.denoiser import chosen_sampling
from histomend.train.latents import open_latents
from histomend.train.lesson import Figures, Lesson, Step, drawn_seed
from histomend.train.objective import drawn_noise
from histomend.train.objective import loss as denoising_loss
from histomend.train.options import ControlOptions
from histomend.train.validation import held_out_rng, noise_streams, psnr, x0_errors

HELD_OUT, SHOWN = 16, 6
# Crops are whole numbers of what fields are padded to when they are enlarged.
UNIT = 64
STEPS = 8


@dataclass(frozen=True)
class Cleaned:
    """What stage 1 makes of degraded images: a `Partner` of the clean ones.

    Parameters
    ----------
    module : RestorationModule
    pipeline : Pipeline
    name : str
        Of the pipeline.
    device : torch.device
    """

    module: RestorationModule
    pipeline: Pipeline
    name: str
    device: torch.device

    @property
    def key(self) -> str:
        """Names what the images depend on."""
        return f"{self.name}-{self.module.config.sha256[:12]}"

    def __call__(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """Degrade clean images (B, 3, H, W) in [-1, 1], and clean them again."""
        return self.both(pixels, seeds)[1]

    def both(self, pixels: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return the degraded and the cleaned images, in [-1, 1]."""
        degraded = degrade_batch((pixels + 1) / 2, seeds, self.pipeline).images
        # Most of the time that an image takes goes here.
        bf16 = has_fast_bf16(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            cleaned = self.module(degraded.to(self.device)).cpu()
        return 2 * degraded - 1, 2 * cleaned - 1


@dataclass(frozen=True)
class ControlTrainee:
    """A control branch as what is trained.

    Parameters
    ----------
    prior : Prior
    prior_source : str or Path
        From where it was loaded.
    restoration : Path
        Folder of stage 1.
    config : UpscalerConfig
    degradation : str
    """

    prior: Prior
    prior_source: str | Path
    restoration: Path
    config: UpscalerConfig
    degradation: str

    def network(self) -> nn.Module:
        """Return the branch with fresh weights: the prior's, and zeros."""
        return self.prior.branch()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        keys = ("prior_sha256", "vae_sha256", "restoration_sha256")
        return {key: getattr(self.config, key) for key in keys} | {"degradation": self.degradation}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the branch of another upscaler of the same prior."""
        folder = locate(init)
        theirs = read_upscaler_config(folder)
        if theirs.prior_sha256 != self.config.prior_sha256:
            raise TrainingError(
                f"The control branch of {init} was trained with another prior (sha256 "
                f"{theirs.prior_sha256[:12]}…). Name that with --prior, or start without --init."
            )
        return dict(self.prior.load_branch(folder / CONTROL).state_dict())

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write an upscaler's folder with the averaged weights."""
        branch = self.prior.branch()
        fill(branch, average, "the running average")
        save_upscaler(folder, branch, self.prior, self.prior_source, self.restoration, self.config)


@dataclass(frozen=True)
class HeldOut:
    """Crops that only figures are made on, always the same: (N, 3, H, W) in [-1, 1].

    Parameters
    ----------
    clean, degraded, cleaned : Tensor
    x0, control : (N, C, h, w)
        Latents of the clean and of the cleaned ones.
    """

    clean: Tensor
    degraded: Tensor
    cleaned: Tensor
    x0: Tensor
    control: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, tiles: Tiles, crop: int, cleaned: Cleaned, prior: Prior) -> HeldOut:
        """Return crops of tiles, degraded as the training degrades them."""
        clean = crops(tiles, held_out_rng(), HELD_OUT, crop)
        # Seeds that no tile of a training has.
        seen, better = cleaned.both(clean, range(2**40, 2**40 + HELD_OUT))
        x0, control = (
            torch.cat([prior.space.encode(part.to(cleaned.device)) for part in images.split(4)])
            for images in (clean, better)
        )
        return cls(clean, seen, better, x0, control)


@dataclass
class ControlLesson(Lesson[tuple[Tensor, Tensor]]):
    """Steer a frozen prior by what stage 1 made of an image; see `ControlOptions`."""

    trainee: ControlTrainee
    latents: Crops
    held_out: HeldOut
    batch: int
    cells: int

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw latents of clean crops, and of what stage 1 made of them degraded."""
        pairs = np.stack([self.latents.crop(step.rng, self.cells) for _ in range(self.batch)])
        x0, control = torch.from_numpy(pairs).to(step.device).split(self.trainee.prior.channels, 1)
        return x0, control

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return the error of what prior and branch predict at random t."""
        (x0, control), prior = crops, self.trainee.prior
        draws = torch.Generator().manual_seed(drawn_seed(step.rng))
        t, eps = drawn_noise(x0, prior.schedule, draws)
        x = prior.schedule.noised(x0, t, eps)
        output = prior.controlled(network)(torch.cat([x, control], 1), t.to(x.device)).float()
        everywhere = torch.ones_like(x0[:, :1])
        return denoising_loss(output, x0, x, eps, t, everywhere, prior.schedule, prior.prediction)

    def figures(self, network: nn.Module) -> Figures:
        """Return the error of x0 at four noise levels, and PSNRs in dB of the first crops.

        `psnr` is that of what is sampled in a few steps and decoded, `psnr_cleaned` that of stage
        1, from which it is steered. Shown are degraded, cleaned, sampled and clean crops.
        """
        prior, held_out = self.trainee.prior, self.held_out
        schedule, x0 = prior.schedule, held_out.x0
        denoiser = Denoiser(prior.controlled(network).eval(), schedule, prior.prediction)
        recipe = HistoDiffusion(held_out.control, schedule.steps, schedule)
        everywhere = torch.ones_like(x0[:, :1])
        errors = x0_errors(denoiser, schedule, x0, everywhere, recipe.condition)
        few = slice(0, min(SHOWN, len(x0)))
        recipe = HistoDiffusion(held_out.control[few], schedule.steps, schedule)
        path, noise = (
            FixedTrajectory(schedule.spaced(min(STEPS, schedule.steps))),
            noise_streams(few.stop),
        )
        found = sample(denoiser, recipe, path, dpmpp_2m(schedule), noise, schedule).x
        made = prior.space.decode(found).cpu().float().clamp(-1, 1)
        clean, cleaned = held_out.clean[few], held_out.cleaned[few]
        psnrs = {"psnr": psnr(made, clean), "psnr_cleaned": psnr(cleaned, clean)}
        return Figures(errors | psnrs, [held_out.degraded[few], cleaned, made, clean])


def lesson(options: ControlOptions) -> ControlLesson:
    """Return the lesson of a control branch; all tiles are degraded, cleaned and encoded first."""
    where, crop = torch_device(options.device), options.crop
    pipeline = pipeline_named(options.degradation)
    if crop % UNIT:
        raise SettingError(f"--crop is {crop}, but must be a multiple of {UNIT}.")
    restoration = locate(options.restoration)
    frozen = load_prior(options.prior, where)
    stage_1 = load_restoration(restoration, where)
    cleaned = Cleaned(stage_1, pipeline, options.degradation, where)
    tiles = open_sources(options)
    space, channels = frozen.space, frozen.channels
    facts = VaeFacts(channels, space.factor, space.scaling, space.shift, frozen.vae_sha256)
    main, further = (
        open_latents(t, space, facts, options, cleaned) for t in (tiles.main, tiles.further)
    )
    sampling = bundled_sampling(UPSCALER_METHOD) | chosen_sampling(options)
    config = UpscalerConfig.of(frozen, restoration, mpp=options.mpp, **sampling)
    return ControlLesson(
        ControlTrainee(frozen, options.prior, restoration, config, options.degradation),
        Mixed(main, further, tiles.share),
        HeldOut.of(tiles.held_out, crop, cleaned, frozen),
        options.batch,
        crop // space.factor,
    )
