"""What the trainings of all denoisers share, whatever space they work in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.path import FixedPath
from histomend.diffusion.samplers import ddim
from histomend.errors import SettingError, TrainingError
from histomend.methods.artifusion import ArtiFusion
from histomend.models import ModelConfig, load_weights, locate, read_config, save_model
from histomend.train.loop import Run
from histomend.train.objective import loss as denoising_loss
from histomend.train.settings import MixedSettings
from histomend.train.sheet import write_sheet

# (generator, count, share without context) -> x0 (count, C, h, w) and masks (count, 1, h, w).
Draw = Callable[[np.random.Generator, int, float], tuple[np.ndarray, np.ndarray]]
HELD_OUT = 16
SHOWN = 8


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


@dataclass(frozen=True)
class DenoiserSubject:
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
            keys += ["channels", "highest_t"]
        if self.config.method in ("conditional", "noise2noise"):
            # Of one channel their networks may have the shapes of each other's or of RSCD's.
            keys += ["method", "channels"]
        return {key: own[key] for key in keys}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the bundled model or folder `init`."""
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


def checked(config: ModelConfig, init: str | Path | None) -> ModelConfig:
    """Return the config of a new model, or of one that starts from the weights of `init`.

    Raises
    ------
    SettingError
        If the arch or schedule does not exist, or the pixel size is not positive.
    TrainingError
        If the weights of `init` are of another kind.
    """
    config.noise_schedule()
    if not config.mpp > 0:
        raise SettingError(
            f"A pixel size of {config.mpp} um is not possible; --mpp must be above 0."
        )
    if init is None:
        return config
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
    )


def train_denoiser(
    subject: DenoiserSubject,
    out: Path,
    draw: Draw,
    held_out: HeldOut,
    settings: MixedSettings,
    *,
    unconditional: float,
    init: str | Path | None,
    facts: Mapping[str, float] | None = None,
) -> Path:
    """Train a denoiser and return the folder of the finished model.

    Parameters
    ----------
    subject : DenoiserSubject
    out : Path
        Folder of the run.
    draw : function (generator, count, share) -> x0, masks
        Gives the training samples.
    held_out : HeldOut
    settings : MixedSettings
    unconditional : float
        Share of samples without context; all of them where the network has none.
    init : str or Path, optional
        Bundled name or folder to take the first weights from.
    facts : figures, optional
        For the first line of the log.
    """
    run = Run(out, subject, settings, init=init, compiled=settings.compiled)
    if facts and run.step == 0:
        run.log(**facts)
    config, batch = subject.config, settings.batch
    noise_levels = config.noise_schedule()
    share = unconditional if config.context else 1.0

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        key = [settings.seed, step, run.accelerator.process_index]
        x0, mask = tensors(draw(np.random.default_rng(key), batch, share), where)
        number = int(np.random.default_rng([*key, 1]).integers(2**62))
        draws = torch.Generator().manual_seed(number)
        # Stochastic depth draws from the global generator.
        torch.manual_seed(number)
        t = torch.randint(1, noise_levels.steps + 1, (batch,), generator=draws)
        eps = torch.randn(x0.shape, generator=draws).to(where)
        x = noise_levels.noised(x0, t, eps)
        entry = torch.cat([x, x0 * (1 - mask), mask], 1) if config.context else x
        output = network(entry, t.to(where)).float()
        kind = config.prediction
        return denoising_loss(output, x0, x, eps, t, mask, noise_levels, kind), batch

    def validate(run: Run) -> dict[str, float]:
        return _validate(run, config, held_out, out)

    return run.train(loss_at, validate)


def tensors(batch: tuple[np.ndarray, np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return a drawn batch on the device."""
    x0, masks = batch
    return torch.from_numpy(x0).to(device), torch.from_numpy(masks).to(device)


@torch.no_grad()
def _validate(run: Run, config: ModelConfig, held_out: HeldOut, out: Path) -> dict[str, float]:
    """Return the error of x0 inside the mask at four noise levels.

    Also restores the first samples in ten steps and writes them beside the truth.
    """
    schedule = config.noise_schedule()
    denoiser = Denoiser(run.averaged(), schedule, config.prediction)
    x0, mask = held_out.x0, held_out.mask
    streams = NoiseStream([NoiseField(k) for k in range(len(x0))], [(0, 0)] * len(x0))
    eps = streams.draw(x0)
    figures: dict[str, float] = {}
    recipe = ArtiFusion(x0, mask, schedule, context=config.context)
    for level in (0.2, 0.4, 0.6, 0.8):
        t = torch.full((len(x0),), int(level * schedule.steps))
        guess = denoiser(schedule.noised(x0, t, eps), t, recipe.condition).x0
        error = ((guess - x0).square() * mask).sum() / (x0.shape[1] * mask.sum())
        figures[f"x0_error_{level}"] = round(float(error), 5)
    figures["mean_x0_error"] = round(sum(figures.values()) / 4, 5)
    few = slice(0, SHOWN)
    recipe = ArtiFusion(x0[few], mask[few], schedule, context=config.context)
    streams = NoiseStream([NoiseField(k) for k in range(SHOWN)], [(0, 0)] * SHOWN)
    path = FixedPath(schedule.spaced(10))
    restored = sample(denoiser, recipe, path, ddim(schedule), streams, schedule).x
    (out / "samples").mkdir(exist_ok=True)
    write_sheet(out / "samples" / f"{run.step:07d}.png", held_out.rows(restored))
    return figures
