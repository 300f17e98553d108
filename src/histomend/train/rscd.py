"""Training of RSCD's denoiser, on clean images and on small t only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.recalibration import RecalibratingTrajectory
from histomend.diffusion.samplers import ddim
from histomend.errors import SettingError
from histomend.methods.rscd import CALLS, RSCD, few_calls
from histomend.models import ModelConfig, calibrator_folder, fit_to_calibrator
from histomend.networks.build import arch_named
from histomend.train.camera import COUNTED_SHARE, CameraCrops, exposures
from histomend.train.channels import ChannelCrops, crops, open_fields
from histomend.train.denoiser import DenoiserTrainee, starting_config
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.objective import drawn_noise
from histomend.train.options import RscdOptions
from histomend.train.validation import held_out_rng, noise_streams, psnr

LEVELS = (5, 20, 50, 100, 200)
HELD_OUT, SHOWN = 16, 8


@dataclass
class RscdLesson(Lesson[tuple[Tensor, Tensor, Tensor]]):
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

    def crops(self, step: Step) -> tuple[Tensor, Tensor, Tensor]:
        """Draw clean crops, the noise to be put on them, and at which t each is then.

        In the second phase they are of the best tiles only. Some of a camera's are exposures, as
        what it adds is Gaussian only where it counts many photons.
        """
        batch, size, after = self.options.batch, self.options.crop, self.options.best_after
        source = self.tiles.best if after is not None and step.number >= after else self.tiles.every
        schedule, parts = self.trainee.config.noise_schedule(), []
        if isinstance(source, CameraCrops):
            count = int(step.further(2).binomial(batch, COUNTED_SHARE))
            if count:
                parts = [exposures(source, step.rng, count, size, schedule)]
                batch -= count
        if batch:
            x0 = crops(source, step.rng, batch, size)
            t, eps = drawn_noise(x0, schedule, step.noise, self.options.highest_t)
            parts.insert(0, (x0, eps, t))
        x0, eps, t = (torch.cat(part) for part in zip(*parts, strict=True))
        return x0.to(step.device), eps.to(step.device), t

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor, Tensor], step: Step) -> Tensor:
        """Return the mean absolute error of epsilon."""
        x0, eps, t = crops
        x = self.trainee.config.noise_schedule().noised(x0, t, eps)
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
        path = RecalibratingTrajectory(lambda _: t.float(), plan)
        recipe, noise = RSCD(noisy), noise_streams(few.stop)
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
        # What one call takes for the clean image is the mean of all that it may have been, which
        # no further step brings nearer to the truth; poses do.
        fast_steps=1 if options.stabilised else CALLS,
        poses=4 if options.stabilised else 1,
        highest_t=highest_t,
        stabilised=options.stabilised,
    )
    config = starting_config(config, options)
    if highest_t > config.steps:
        raise SettingError(f"--highest-t is {highest_t}, but must be from 1 to {config.steps}.")
    beside = None if options.calibrator is None else calibrator_folder(options.calibrator)
    if beside is not None:
        config = fit_to_calibrator(config, beside)
    best_share = options.best_share if options.best_after is not None else 1.0
    tiles = open_fields(options, config.noise_schedule(), best_share=best_share)
    held_out = crops(tiles.held_out, held_out_rng(), HELD_OUT, options.crop)
    trainee = DenoiserTrainee(config, options.shard_bytes, calibrator=beside)
    return RscdLesson(trainee, tiles, options, held_out.to(torch_device(options.device)))
