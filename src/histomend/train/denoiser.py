"""What the trainings of denoisers share, whatever space they work in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.loop import sample
from histomend.diffusion.samplers import ddim
from histomend.diffusion.trajectory import FixedTrajectory
from histomend.errors import TrainingError
from histomend.methods.artifusion import ArtiFusion
from histomend.models import ModelConfig, load_weights, locate, read_config, save_model
from histomend.models.names import bundled_sampling
from histomend.train.comparison_options import CycleGanOptions
from histomend.train.lesson import Figures, Lesson, Step
from histomend.train.objective import drawn_noise
from histomend.train.objective import loss as denoising_loss
from histomend.train.options import ControlOptions
from histomend.train.shared_options import DenoiserOptions
from histomend.train.validation import noise_streams, x0_errors

# (generator, count, share without context) -> x0 (count, C, h, w) and masks (count, 1, h, w).
Draw = Callable[[np.random.Generator, int, float], tuple[np.ndarray, np.ndarray]]
HELD_OUT = 16
SHOWN = 8
SAMPLE_STEPS = 10


@dataclass(frozen=True)
class DenoiserTrainee:
    """A denoiser as what is trained.

    Parameters
    ----------
    config : ModelConfig
    shard_bytes : int, optional
        Largest size of one weight file.
    vae : Path, optional
        Folder of the autoencoder of a latent denoiser.
    calibrator : Path, optional
        Folder of the calibrator that belongs to the denoiser.
    """

    config: ModelConfig
    shard_bytes: int | None = None
    vae: Path | None = None
    calibrator: Path | None = None

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        own = asdict(self.config)
        keys = ["arch", "prediction", "schedule", "steps", "context"]
        if self.config.latent_channels:
            keys.append("vae_sha256")
        if self.config.highest_t:
            keys += ["channels", "highest_t", "stabilised"]
        if self.config.method in ("conditional", "noise2noise"):
            # Of one channel their networks may have the shapes of each other's or of RSCD's.
            keys += ["method", "channels"]
        return {key: own[key] for key in keys}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the model `init`."""
        return load_weights(locate(init))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a model folder, in fp16."""
        save_model(
            folder,
            average,
            self.config,
            vae=self.vae,
            calibrator=self.calibrator,
            half=True,
            shard_bytes=self.shard_bytes,
        )


def starting_config(config: ModelConfig, options: DenoiserOptions | CycleGanOptions) -> ModelConfig:
    """Return the config of a new model, or of one that starts from the weights of `options.init`.

    It is sampled like that one, or else like the bundled model of its method, unless the options
    say otherwise.

    Raises
    ------
    TrainingError
        If the weights of `init` are of another kind.
    """
    init = options.init
    chosen = chosen_sampling(options) if isinstance(options, DenoiserOptions) else {}
    if init is None:
        return replace(config, **bundled_sampling(config.method, config.channels) | chosen)
    earlier = read_config(locate(init))
    for key in (
        "method",
        "arch",
        "prediction",
        "schedule",
        "context",
        "learned_variance",
        "channels",
        "highest_t",
        "stabilised",
        "latent_channels",
        "factor",
    ):
        theirs, ours = getattr(earlier, key), getattr(config, key)
        if theirs != ours:
            raise TrainingError(
                f"The weights of {init} have {key}={theirs}, and this run {key}={ours}. "
                "Start from weights of the same kind, or set the run's options like theirs."
            )
    return replace(
        earlier,
        mpp=config.mpp,
        # Its autoencoder or calibrator may have been trained further.
        vae_sha256=config.vae_sha256,
        vae_scaling=config.vae_scaling,
        vae_shift=config.vae_shift,
        calibrator_sha256=config.calibrator_sha256,
        # What the earlier card states is not true of the new weights.
        sha256="",
        card={"init": str(init)},
        **chosen,
    )


def chosen_sampling(options: DenoiserOptions | ControlOptions) -> dict[str, Any]:
    """Return what the options say of how a model is sampled."""
    keys = ("sampler", "extra_noise")
    return {key: getattr(options, key) for key in keys if getattr(options, key) is not None}


@dataclass(frozen=True)
class HeldOut:
    """Always the same samples, for the figures and pictures of a run.

    Parameters
    ----------
    x0 : (B, C, h, w)
    mask : (B, 1, h, w)
    rows : function of restored x (b, C, h, w) -> images (b, 3, H, W)
        The rows of the picture, for the first b samples.
    """

    x0: Tensor
    mask: Tensor
    rows: Callable[[Tensor], list[Tensor]]


@dataclass
class MaskedDenoising(Lesson[tuple[Tensor, Tensor]]):
    """Let a denoiser learn what belongs under a mask, in pixels or in a latent.

    Parameters
    ----------
    trainee : DenoiserTrainee
    draw : function (generator, count, share) -> x0, masks
        Gives the training samples.
    held_out : HeldOut
    batch : int
    unconditional : float
        Share of samples without context; all of them where the network has none.
    known : figures, optional
        For the first line of the log.
    """

    trainee: DenoiserTrainee
    draw: Draw
    held_out: HeldOut
    batch: int
    unconditional: float
    known: Mapping[str, float] = field(default_factory=dict)

    def crops(self, step: Step) -> tuple[Tensor, Tensor]:
        """Draw clean samples and masks."""
        share = self.unconditional if self.trainee.config.context else 1.0
        return tensors(self.draw(step.rng, self.batch, share), step.device)

    def loss(self, network: nn.Module, crops: tuple[Tensor, Tensor], step: Step) -> Tensor:
        """Return the error of the prediction at random t, mostly of what is masked."""
        (x0, mask), config = crops, self.trainee.config
        schedule = config.noise_schedule()
        t, eps = drawn_noise(x0, schedule, step.noise)
        x = schedule.noised(x0, t, eps)
        entry = torch.cat([x, x0 * (1 - mask), mask], 1) if config.context else x
        output = network(entry, t.to(x.device)).float()
        return denoising_loss(output, x0, x, eps, t, mask, schedule, config.prediction)

    def figures(self, network: nn.Module) -> Figures:
        """Return the error of x0 inside the mask; show the first samples, restored in ten steps."""
        config, x0, mask = self.trainee.config, self.held_out.x0, self.held_out.mask
        schedule = config.noise_schedule()
        denoiser = Denoiser(network, schedule, config.prediction)
        recipe = ArtiFusion(x0, mask, schedule, context=config.context)
        errors = x0_errors(denoiser, schedule, x0, mask, recipe.condition)
        recipe = ArtiFusion(x0[:SHOWN], mask[:SHOWN], schedule, context=config.context)
        path, noise = FixedTrajectory(schedule.spaced(SAMPLE_STEPS)), noise_streams(len(x0[:SHOWN]))
        restored = sample(denoiser, recipe, path, ddim(schedule), noise, schedule).x
        return Figures(errors, self.held_out.rows(restored))

    def facts(self) -> Mapping[str, float]:
        """Return what was known before."""
        return self.known


def tensors(batch: tuple[np.ndarray, np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a drawn batch on the device."""
    x0, masks = batch
    return torch.from_numpy(x0).to(device), torch.from_numpy(masks).to(device)
