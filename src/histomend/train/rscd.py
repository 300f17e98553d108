"""Training of RSCD's denoiser, on clean images and on small t only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.recalibration import RecalibratingPath
from histomend.diffusion.samplers import ddim
from histomend.errors import SettingError
from histomend.models import ModelConfig, calibrator_folder, fit_to_calibrator
from histomend.networks.build import arch_named
from histomend.recipes.calibrated import CALLS, Calibrated, few_calls
from histomend.train.channels import ChannelCrops, crops, open_channels
from histomend.train.denoiser import DenoiserTrainee, starting_config
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.objective import noised_at_random
from histomend.train.options import RscdOptions
from histomend.train.validation import held_out_rng, noise_streams, psnr

LEVELS = (5, 20, 50, 100, 200)
HELD_OUT, SHOWN = 16, 8


@dataclass
class RscdLesson(Lesson[Tensor]):
    """Predict the noise in crops that are noised a little; see `RscdOptions`.

    Parameters
    ----------
    trainee : DenoiserTrainee
    tiles : ChannelCrops
    options : RscdOptions
    held_out : (B, C, h, w) in [-1, 1]
    """

    trainee: DenoiserTrainee
    tiles: ChannelCrops
    options: RscdOptions
    held_out: Tensor

    def crops(self, step: Step) -> Tensor:
        """Draw clean crops; in the second phase of the best tiles only."""
        after = self.options.best_after
        source = self.tiles.best if after is not None and step.number >= after else self.tiles.every
        return crops(source, step.rng, self.options.batch, self.options.crop).to(step.device)

    def loss(self, network: nn.Module, crops: Tensor, step: Step) -> Tensor:
        """Return the mean absolute error of epsilon."""
        config = self.trainee.config
        t, eps, x = noised_at_random(crops, config.noise_schedule(), step.noise, config.highest_t)
        return F.l1_loss(network(x, t.to(x.device)).float(), eps)

    def figures(self, network: nn.Module) -> Figures:
        """Return the PSNR of what one call takes for x0, by t.

        Shown are noised crops, the same restored in a few calls, and what they were.
        """
        config, x0 = self.trainee.config, self.held_out
        schedule = config.noise_schedule()
        denoiser = Denoiser(network, schedule, config.prediction)
        eps = noise_streams(len(x0)).draw(x0)
        figures = {}
        for level in LEVELS:
            t = torch.full((len(x0),), min(level, config.trained_t))
            guess = torch.cat(
                [
                    denoiser(schedule.noised(*part), part[1]).x0
                    for part in zip(x0.split(4), t.split(4), eps.split(4), strict=True)
                ]
            )
            figures[f"psnr_{level}"] = psnr(guess, x0)
        few = slice(0, min(SHOWN, len(x0)))
        t = torch.linspace(0, config.trained_t, few.stop).round().long()
        noisy = schedule.noised(x0[few], t, eps[few])
        # Here t is known, so the path asks nobody.
        plan = few_calls(config.trained_t, CALLS, recalibrations=0)
        path = RecalibratingPath(lambda _: t.float(), plan)
        recipe, noise = Calibrated(noisy), noise_streams(few.stop)
        restored = sample(denoiser, recipe, path, ddim(schedule), noise, schedule).x
        return Figures(figures, [noisy, restored, x0[few]])


def lesson(options: RscdOptions) -> RscdLesson:
    """Return the lesson of a denoiser for whole fields."""
    highest_t = options.highest_t
    arch_named(options.arch, "rscd")
    config = ModelConfig(
        method="rscd",
        arch=options.arch,
        prediction="epsilon",
        schedule=options.schedule,
        mpp=options.mpp,
        channels=options.channels,
        context=False,
        fast_steps=CALLS,
        highest_t=highest_t,
    )
    config = starting_config(config, options.init)
    if highest_t > config.steps:
        raise SettingError(f"--highest-t is {highest_t}, but must be from 1 to {config.steps}.")
    beside = None if options.calibrator is None else calibrator_folder(Path(options.calibrator))
    if beside is not None:
        config = fit_to_calibrator(config, beside)
    best_share = options.best_share if options.best_after is not None else 1.0
    tiles = open_channels(options, options.channels, best_share=best_share)
    held_out = crops(tiles.held_out, held_out_rng(), HELD_OUT, options.crop)
    trainee = DenoiserTrainee(config, options.shard_bytes, calibrator=beside)
    return RscdLesson(trainee, tiles, options, held_out.to(torch_device(options.device)))
