"""Training of restoration modules, from degraded crops to clean ones.

Histo-Diffusion's first stage, SwinIR, learns so; `histomend.train.restoring_gan` adds a critic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.damage.capture import scanned
from histomend.damage.degradations import SMALLEST_PX, degrade_batch, pipeline_named
from histomend.diffusion.device import torch_device
from histomend.errors import SettingError, TrainingError
from histomend.image.resampling import resized
from histomend.models.restoration import (
    STAGE_1,
    RestorationConfig,
    load_restoration,
    save_restoration,
)
from histomend.networks.critic import Judged
from histomend.train.data import Crops, Mixed, open_sources
from histomend.train.figures import laplacian_ratio, psnr
from histomend.train.loop import Run
from histomend.train.settings import SWINIR, MixedOptions, MixedSettings
from histomend.train.sheet import write_sheet
from histomend.train.signals import crops

if TYPE_CHECKING:
    from typing_extensions import Unpack

# (network in training, degraded crops, clean ones), both (B, 3, h, w) in [0, 1] -> scalar.
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]
# Of the network in `Judged`.
RESTORING = "restoring"
HELD_OUT, SHOWN = 24, 4
# The scale of the paper's tables.
SCALE = 4


@dataclass(frozen=True)
class RestorationSubject:
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
        module = load_restoration(Path(init))
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


def train_restoration(
    data: Path,
    out: Path,
    *,
    arch: str = "small",
    degradation: str = "mixed",
    init: Path | None = None,
    mpp: float = 0.5,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train Histo-Diffusion's restoration module (section 3.1) and return its folder.

    It sees crops that were degraded and enlarged again, and learns the clean ones by their mean
    squared error. The clean crops are as the file has them, also where the degradation begins
    with sharpening.

    Parameters
    ----------
    data : Path
        Folder of clean RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    arch : str
        Of `histomend.networks.swinir.SWINIR_ARCHS`.
    degradation : str
        Of `histomend.damage.degradations.PIPELINES`; "mixed" is each of the others for a third
        of the crops.
    init : Path, optional
        Folder of a restoration module of the same network and arch to start from.
    crop : int
        Side of the clean crops in px.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `SWINIR` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        An arch or a degradation that does not exist, or too small a crop.
    """
    subject = RestorationSubject(RestorationConfig(arch, degradation, mpp))

    def loss(network: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        return F.mse_loss(network(degraded).float(), clean)

    return train_on_pairs(data, out, subject, loss, replace(SWINIR, **options), init)


def train_on_pairs(
    data: Path,
    out: Path,
    subject: RestorationSubject,
    loss: Loss,
    settings: MixedSettings,
    init: Path | None,
) -> Path:
    """Train a restoration module on degraded and clean crops, and return its folder.

    Parameters
    ----------
    loss : function (network, degraded, clean) -> scalar
        The network is one of `subject.network()`, the crops are (B, 3, h, w) in [0, 1].

    The other parameters, and what is raised, are those of `train_restoration`.
    """
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    pipeline = pipeline_named(subject.config.degradation)
    with torch.device("meta"):
        subject.network()
    if crop < SMALLEST_PX:
        raise SettingError(f"--crop is {crop}, but must be at least {SMALLEST_PX}.")
    cache = settings.cache_of(out)
    tiles = open_sources(data, settings.validation, settings.extra, cache, crop=crop, device=where)
    source = Mixed(tiles.main, tiles.further, settings.extra_share)
    run = Run(out, subject, settings, init=init, compiled=settings.compiled)

    def pairs(source: Crops, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        clean = (crops(source, rng, count, crop) + 1) / 2
        seeds = rng.integers(2**62, size=count).tolist()
        return degrade_batch(clean, seeds, pipeline).images, clean

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([settings.seed, step, run.accelerator.process_index])
        degraded, clean = (x.to(where) for x in pairs(source, rng, batch))
        return loss(network, degraded, clean), batch

    held_out = HeldOut.of(*pairs(tiles.held_out, np.random.default_rng([20, 1]), HELD_OUT))

    def validate(run: Run) -> dict[str, float]:
        return _validate(run, subject.restoring(run.averaged()), held_out)

    return run.train(loss_at, validate)


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


@torch.no_grad()
def _validate(run: Run, network: nn.Module, held_out: HeldOut) -> dict[str, float]:
    """Return PSNRs in dB and a sharpness, and write some crops: degraded, restored and clean.

    `psnr_x4` is that of restored scans with pixels four times larger, beside `bicubic_x4`, which
    is what the network was given; `sharpness_x4` is their `laplacian_ratio`; `psnr` and `given`
    are the PSNRs for the degradation of the training.
    """
    device = run.accelerator.device

    def restored(given: Tensor) -> Tensor:
        parts = [network((part.to(device) + 1) / 2).cpu().float() for part in given.split(8)]
        return torch.cat(parts).clamp(0, 1) * 2 - 1

    degraded, enlarged, clean = held_out.degraded, held_out.enlarged, held_out.clean
    blind, found = restored(degraded), restored(enlarged)
    folder = run.out / "samples"
    folder.mkdir(exist_ok=True)
    rows = [
        torch.cat([of_scan[:SHOWN], of_training[-SHOWN:]])
        for of_scan, of_training in ((enlarged, degraded), (found, blind), (clean, clean))
    ]
    write_sheet(folder / f"{run.step:07d}.png", rows)
    return {
        "psnr_x4": psnr(found, clean),
        "bicubic_x4": psnr(enlarged, clean),
        "sharpness_x4": laplacian_ratio(found, clean),
        "psnr": psnr(blind, clean),
        "given": psnr(degraded, clean),
    }
