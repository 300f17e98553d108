"""Training of ArtiFusion's denoiser, on artifact-free images only (section 2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from histomend.diffusion.denoiser import Denoiser, PredictionType
from histomend.diffusion.device import has_fast_bf16, torch_device
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.path import FixedPath
from histomend.diffusion.samplers import ddim
from histomend.errors import SettingError, TrainingError
from histomend.models import ModelConfig, load_weights, locate, read_config, save_model
from histomend.networks.build import arch_named
from histomend.recipes.regional import Regional
from histomend.train.data import Mixed, Tiles, open_sources
from histomend.train.data import batch as drawn
from histomend.train.loop import Budget, Optimiser, Run
from histomend.train.objective import loss as denoising_loss
from histomend.train.sheet import write_sheet


def train(
    data: Path,
    out: Path,
    *,
    arch: str = "small-unet",
    validation: Path | None = None,
    extra: Path | None = None,
    extra_share: float = 0.08,
    init: str | Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    steps: int | None = None,
    batch: int = 8,
    crop: int = 128,
    lr: float = 1e-4,
    ema: float = 0.9999,
    cooldown: float = 0.0,
    prediction: PredictionType = "x0",
    schedule: str = "cosine",
    context: bool = True,
    unconditional: float = 0.2,
    mpp: float = 0.5,
    seed: int = 0,
    device: str = "auto",
    compiled: bool = False,
    save_minutes: float = 5,
    validate_minutes: float = 10,
    shard_mb: float | None = None,
    cache: Path | None = None,
    report: Callable[[int, float, float, float], None] | None = None,
) -> Path:
    """Train a denoiser and return the folder of the finished model.

    Parameters
    ----------
    data : Path
        Folder of artifact-free RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Size of the network (`histomend presets artifusion`).
    validation : Path, optional
        Folder of tiles from other slides; figures and sample grids are made on it.
    extra : Path, optional
        Folder of further tiles, for a share `extra_share` of the crops.
    init : str or Path, optional
        Bundled name or folder to take the first weights from; it must be of the same arch,
        prediction, schedule and context.
    resume : bool
        Go on with the run in `out`.
    minutes, steps : optional
        Time budget of this call; steps of the run in all. Without both it runs until stopped.
    batch, crop : int
        Crops per step and process, and their side in px.
    cooldown : float in [0, 1]
        Last share of the budget, over which the learning rate falls to zero.
    context : bool
        Show the network the visible pixels and the mask as four more channels.
    unconditional : float
        Share of samples without context, which keeps the paper's unconditional use.
    compiled : bool
        Compile the network first, which takes a minute or two and a C++ compiler.
    shard_mb : float, optional
        Largest size of one weight file.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or schedule that does not exist, or a pixel size that is not positive.
    """
    where = torch_device(device)
    config = ModelConfig(
        method="artifusion",
        arch=arch,
        prediction=prediction,
        schedule=schedule,
        mpp=mpp,
        context=context,
        learned_variance=arch_named(arch).learned_variance and prediction == "epsilon",
    )
    noise_levels = config.noise_schedule()
    if not mpp > 0:
        raise SettingError(f"A pixel size of {mpp} um is not possible; --mpp must be above 0.")
    if init is not None:
        config = _continued(config, init)
    cache = out.parent / "cache" if cache is None else cache
    tiles = open_sources(data, validation, extra, cache, crop=crop, device=where)
    crops = Mixed(tiles.main, tiles.further, extra_share)
    # Fresh weights depend on the seed too, and are the same in every process.
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    run = Run(
        out,
        DenoiserSubject(config, None if shard_mb is None else int(shard_mb * 1e6)),
        Optimiser(lr=lr, ema=ema, cooldown=cooldown),
        resume=resume,
        init=init,
        mixed_precision=has_fast_bf16(where),
        device=where,
        compiled=compiled,
    )
    share = unconditional if config.context else 1.0

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        key = [seed, step, run.accelerator.process_index]
        x0, mask = _tensors(drawn(crops, np.random.default_rng(key), batch, crop, share), where)
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
        if not run.accelerator.is_main_process:
            return {}
        return _validate(run, config, tiles.held_out, crop, out)

    budget = Budget(minutes, steps, save_minutes, validate_minutes)
    run.train(loss_at, budget, validate, report or (lambda *_: None))
    return out / "model"


@dataclass(frozen=True)
class DenoiserSubject:
    """A denoiser as what is trained; `shard_bytes` is the largest size of one weight file."""

    config: ModelConfig
    shard_bytes: int | None = None

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        own = asdict(self.config)
        return {key: own[key] for key in ("arch", "prediction", "schedule", "steps", "context")}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the bundled model or folder `init`."""
        return load_weights(locate(init))

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a model folder, in fp16."""
        save_model(folder, average, self.config, half=True, shard_bytes=self.shard_bytes)


def _continued(config: ModelConfig, init: str | Path) -> ModelConfig:
    """Return the config of a model that starts from the weights of `init`."""
    earlier = read_config(locate(init))
    for key in ("arch", "prediction", "schedule", "context", "learned_variance"):
        theirs, ours = getattr(earlier, key), getattr(config, key)
        if theirs != ours:
            raise TrainingError(
                f"The weights of {init} have {key}={theirs}, and this run {key}={ours}. "
                "Start from weights of the same kind, or set the run's options like theirs."
            )
    # What the earlier card states is not true of the new weights.
    return replace(earlier, mpp=config.mpp, sha256="", card={"init": str(init)})


def _tensors(batch: tuple[np.ndarray, np.ndarray], device: torch.device) -> tuple[Tensor, Tensor]:
    images, masks = batch
    return torch.from_numpy(images).to(device), torch.from_numpy(masks).to(device)


@torch.no_grad()
def _validate(
    run: Run, config: ModelConfig, tiles: Tiles, crop: int, out: Path
) -> dict[str, float]:
    """Return the error of x0 inside the mask at four noise levels, on always the same crops.

    Also restores the first eight crops in ten steps and writes damaged, restored and true crops
    side by side.
    """
    schedule = config.noise_schedule()
    device = run.accelerator.device
    denoiser = Denoiser(run.averaged(), schedule, config.prediction)
    share = 0.0 if config.context else 1.0
    x0, mask = _tensors(drawn(tiles, np.random.default_rng([20, 1]), 16, crop, share), device)
    streams = NoiseStream([NoiseField(k) for k in range(len(x0))], [(0, 0)] * len(x0))
    eps = streams.draw(x0)
    figures: dict[str, float] = {}
    recipe = Regional(x0, mask, schedule, context=config.context)
    for level in (0.2, 0.4, 0.6, 0.8):
        t = torch.full((len(x0),), int(level * schedule.steps))
        guess = denoiser(schedule.noised(x0, t, eps), t, recipe.condition).x0
        error = ((guess - x0).square() * mask).sum() / (3 * mask.sum())
        figures[f"x0_error_{level}"] = round(float(error), 5)
    figures["mean_x0_error"] = round(sum(figures.values()) / 4, 5)
    few = slice(0, 8)
    recipe = Regional(x0[few], mask[few], schedule, context=config.context)
    streams = NoiseStream([NoiseField(k) for k in range(8)], [(0, 0)] * 8)
    path = FixedPath(schedule.spaced(10))
    restored = sample(denoiser, recipe, path, ddim(schedule), streams, schedule).x
    rows = [x0[few] * (1 - mask[few]), restored, x0[few]]
    (out / "samples").mkdir(exist_ok=True)
    write_sheet(out / "samples" / f"{run.step:07d}.png", rows)
    return figures
