"""Training of Histo-Diffusion's second stage: the branch that steers a frozen prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.damage.degradations import degrade_batch, pipeline_named
from histomend.damage.pipelines import Pipeline
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.path import FixedPath
from histomend.diffusion.samplers import dpmpp_2m
from histomend.errors import SettingError, TrainingError
from histomend.methods.histo_diffusion import HistoDiffusion
from histomend.models import VaeFacts, fill, locate
from histomend.models.priors import Prior, load_prior
from histomend.models.restoration import RestorationModule, load_restoration
from histomend.models.upscaler import (
    CONTROL,
    UpscalerConfig,
    read_upscaler_config,
    save_upscaler,
)
from histomend.train.data import Mixed, Tiles, open_sources
from histomend.train.figures import psnr
from histomend.train.latents import open_latents
from histomend.train.loop import Run
from histomend.train.objective import loss as denoising_loss
from histomend.train.settings import CONTROL_BRANCH, MixedOptions
from histomend.train.sheet import write_sheet
from histomend.train.signals import crops

if TYPE_CHECKING:
    from typing_extensions import Unpack

HELD_OUT, SHOWN = 16, 6
# Crops are whole numbers of what fields are padded to when they are enlarged.
UNIT = 64
LEVELS = (0.2, 0.4, 0.6, 0.8)
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
class ControlSubject:
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


def train_control(
    data: Path,
    out: Path,
    *,
    prior: str | Path,
    restoration: Path,
    degradation: str = "mixed",
    init: str | Path | None = None,
    mpp: float = 0.5,
    versions: int = 2,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a control branch (section 3.2) and return the folder of the upscaler.

    Only the branch is trained, to predict the noise in clean latents when it sees the latent of
    what stage 1 made of the degraded image. Both latents of every version of a tile are made
    once, into the cache, as cleaning alone takes a second for a tile on a CPU.

    Parameters
    ----------
    data : Path
        Folder of clean RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    prior : str or Path
        A model of LatentArtiFusion, bundled or in a folder; or Stable Diffusion in diffusers'
        format, in a folder or on the hub. It stays as it is.
    restoration : Path
        Folder of stage 1 (`histomend train swinir`). It stays as it is too.
    degradation : str
        Of `histomend.damage.degradations.PIPELINES`.
    init : str or Path, optional
        Upscaler with the same prior whose branch to start from.
    crop : int
        Side in px, a multiple of 64.
    versions : int
        Of each tile, turned, stained and degraded differently.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `CONTROL_BRANCH` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        A degradation that does not exist, or a crop that is no multiple of 64.
    ModelError
        A prior or a stage 1 that is not there, damaged, or of another kind.
    """
    settings = replace(CONTROL_BRANCH, **options)
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    pipeline = pipeline_named(degradation)
    if crop % UNIT or crop < UNIT:
        raise SettingError(f"--crop is {crop}, but must be a multiple of {UNIT}.")
    if versions < 1:
        raise SettingError(f"--versions is {versions}, but each tile needs at least one.")
    frozen = load_prior(prior, where)
    cleaned = Cleaned(load_restoration(restoration, where), pipeline, degradation, where)
    cache = settings.cache_of(out)
    tiles = open_sources(data, settings.validation, settings.extra, cache, crop=crop, device=where)
    space, channels = frozen.space, frozen.channels
    facts = VaeFacts(channels, space.factor, space.scaling, space.shift, frozen.vae_sha256)
    main, further = (
        open_latents(t, space, facts, cache, versions=versions, device=where, partner=cleaned)
        for t in (tiles.main, tiles.further)
    )
    latents = Mixed(main, further, settings.extra_share)
    run = Run(
        out,
        ControlSubject(
            frozen, prior, restoration, UpscalerConfig.of(frozen, restoration, mpp=mpp), degradation
        ),
        settings,
        init=init,
        compiled=settings.compiled,
    )

    def loss_at(branch: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        key = [settings.seed, step, run.accelerator.process_index]
        rng = np.random.default_rng(key)
        size = crop // space.factor
        pairs = np.stack([latents.crop(rng, size) for _ in range(batch)])
        x0, control = torch.from_numpy(pairs).to(where).split(channels, 1)
        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        t = torch.randint(1, frozen.schedule.steps + 1, (batch,), generator=draws)
        eps = torch.randn(x0.shape, generator=draws).to(where)
        x = frozen.schedule.noised(x0, t, eps)
        output = frozen.controlled(branch)(torch.cat([x, control], 1), t.to(where)).float()
        everywhere = torch.ones_like(x0[:, :1])
        loss = denoising_loss(output, x0, x, eps, t, everywhere, frozen.schedule, frozen.prediction)
        return loss, batch

    held_out = HeldOut.of(tiles.held_out, crop, cleaned, frozen)

    def validate(run: Run) -> dict[str, float]:
        return _validate(run, frozen, held_out)

    return run.train(loss_at, validate)


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
        clean = crops(tiles, np.random.default_rng([20, 1]), HELD_OUT, crop)
        # Seeds that no tile of a training has.
        seen, better = cleaned.both(clean, range(2**40, 2**40 + HELD_OUT))
        x0, control = (
            torch.cat([prior.space.encode(part.to(cleaned.device)) for part in images.split(4)])
            for images in (clean, better)
        )
        return cls(clean, seen, better, x0, control)


@torch.no_grad()
def _validate(run: Run, prior: Prior, held_out: HeldOut) -> dict[str, float]:
    """Return the error of x0 at four noise levels, and PSNRs in dB of the first crops.

    `psnr` is that of what is sampled in a few steps and decoded, `psnr_cleaned` that of stage 1,
    from which it is steered. The first crops are written: degraded, cleaned, sampled, clean.
    """
    schedule = prior.schedule
    network = prior.controlled(run.averaged()).eval()
    denoiser = Denoiser(network, schedule, prior.prediction)
    x0, count = held_out.x0, len(held_out.x0)
    eps = _noise(count).draw(x0)
    figures: dict[str, float] = {}
    recipe = HistoDiffusion(held_out.control, schedule.steps, schedule)
    for level in LEVELS:
        t = torch.full((count,), max(1, int(level * schedule.steps)))
        guess = denoiser(schedule.noised(x0, t, eps), t, recipe.condition).x0
        figures[f"x0_error_{level}"] = round(float((guess - x0).square().mean()), 5)
    figures["mean_x0_error"] = round(sum(figures.values()) / len(LEVELS), 5)
    few = slice(0, SHOWN)
    recipe = HistoDiffusion(held_out.control[few], schedule.steps, schedule)
    path = FixedPath(schedule.spaced(min(STEPS, schedule.steps)))
    found = sample(denoiser, recipe, path, dpmpp_2m(schedule), _noise(SHOWN), schedule).x
    made = prior.space.decode(found).cpu().float().clamp(-1, 1)
    (run.out / "samples").mkdir(exist_ok=True)
    clean, cleaned = held_out.clean[few], held_out.cleaned[few]
    rows = [held_out.degraded[few], cleaned, made, clean]
    write_sheet(run.out / "samples" / f"{run.step:07d}.png", rows)
    return figures | {"psnr": psnr(made, clean), "psnr_cleaned": psnr(cleaned, clean)}


def _noise(count: int) -> NoiseStream:
    return NoiseStream([NoiseField(k) for k in range(count)], [(0, 0)] * count)
