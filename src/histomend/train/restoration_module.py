"""Training of Histo-Diffusion's first stage: SwinIR, from degraded crops to clean ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from histomend.damage.capture import resized, scanned
from histomend.damage.degradations import SMALLEST_PX, degrade_batch, pipeline_named
from histomend.diffusion.device import torch_device
from histomend.errors import SettingError, TrainingError
from histomend.models.restoration import RestorationConfig, load_restoration, save_restoration
from histomend.networks.swinir import SWINIR_ARCHS
from histomend.train.data import Crops, Mixed, open_sources
from histomend.train.loop import Run
from histomend.train.settings import SWINIR, MixedOptions
from histomend.train.sheet import write_sheet
from histomend.train.signals import crops

if TYPE_CHECKING:
    from typing_extensions import Unpack

HELD_OUT, SHOWN = 24, 4
# The scale of the paper's tables.
SCALE = 4


@dataclass(frozen=True)
class RestorationSubject:
    """A restoration module as what is trained."""

    config: RestorationConfig

    def network(self) -> nn.Module:
        """Return the network with fresh weights."""
        return self.config.network()

    def identity(self) -> dict[str, Any]:
        """Return the settings without which the weights mean something else."""
        return {"arch": self.config.arch, "degradation": self.config.degradation}

    def weights(self, init: str | Path) -> dict[str, Tensor]:
        """Return the weights of the restoration module in the folder `init`."""
        module = load_restoration(Path(init))
        if module.config.arch != self.config.arch:
            raise TrainingError(
                f"{init} is of the arch {module.config.arch}, not {self.config.arch}. Name its "
                "arch with --arch, or start without --init."
            )
        return dict(module.network.state_dict())

    def write(self, folder: Path, average: dict[str, Tensor]) -> None:
        """Write the averaged weights as a restoration module's folder, in fp16."""
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
    """Train a restoration module (section 3.1) and return its folder.

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
        Folder of a restoration module of the same arch to start from.
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
    settings = replace(SWINIR, **options)
    where, batch, crop = torch_device(settings.device), settings.batch, settings.crop
    pipeline = pipeline_named(degradation)
    if arch not in SWINIR_ARCHS:
        raise SettingError(f"No SwinIR is called {arch!r}. There are {', '.join(SWINIR_ARCHS)}.")
    if crop < SMALLEST_PX:
        raise SettingError(f"--crop is {crop}, but must be at least {SMALLEST_PX}.")
    cache = settings.cache_of(out)
    tiles = open_sources(data, settings.validation, settings.extra, cache, crop=crop, device=where)
    source = Mixed(tiles.main, tiles.further, settings.extra_share)
    run = Run(
        out,
        RestorationSubject(RestorationConfig(arch, degradation, mpp)),
        settings,
        init=init,
        compiled=settings.compiled,
    )

    def pairs(source: Crops, rng: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        clean = (crops(source, rng, count, crop) + 1) / 2
        seeds = rng.integers(2**62, size=count).tolist()
        return degrade_batch(clean, seeds, pipeline).images, clean

    def loss_at(network: nn.Module, step: int, where: torch.device) -> tuple[Tensor, int]:
        rng = np.random.default_rng([settings.seed, step, run.accelerator.process_index])
        seen, clean = (x.to(where) for x in pairs(source, rng, batch))
        return F.mse_loss(network(seen).float(), clean), batch

    held_out = HeldOut.of(*pairs(tiles.held_out, np.random.default_rng([20, 1]), HELD_OUT))

    def validate(run: Run) -> dict[str, float]:
        return _validate(run, held_out)

    return run.train(loss_at, validate)


@dataclass(frozen=True)
class HeldOut:
    """Crops that only figures are made on, always the same: (N, 3, H, W) in [0, 1].

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
        """Return pairs of the training, and scans of the clean crops."""
        small = (scanned(clean, SCALE) * 255).round() / 255
        size = (clean.shape[-2], clean.shape[-1])
        enlarged = torch.stack([resized(image, size, "bicubic") for image in small])
        return cls(clean, seen, enlarged.clamp(0, 1))


@torch.no_grad()
def _validate(run: Run, held_out: HeldOut) -> dict[str, float]:
    """Return PSNRs in dB, and write some crops: degraded, restored and clean.

    `psnr_x4` is that of restored scans with pixels four times larger, beside `bicubic_x4`, which
    is what the network was given; `psnr` and `given` are the same for the degradation of the
    training.
    """
    network, device = run.averaged(), run.accelerator.device

    def restored(given: Tensor) -> Tensor:
        parts = [network(part.to(device)).cpu().float().clamp(0, 1) for part in given.split(8)]
        return torch.cat(parts)

    clean = held_out.clean
    blind, enlarged = restored(held_out.degraded), restored(held_out.enlarged)
    folder = run.out / "samples"
    folder.mkdir(exist_ok=True)
    few = slice(0, SHOWN)
    rows = [
        torch.cat([of_scan[few], of_training[-SHOWN:]]) * 2 - 1
        for of_scan, of_training in (
            (held_out.enlarged, held_out.degraded),
            (enlarged, blind),
            (clean, clean),
        )
    ]
    write_sheet(folder / f"{run.step:07d}.png", rows)
    return {
        "psnr_x4": _psnr(enlarged, clean),
        "bicubic_x4": _psnr(held_out.enlarged, clean),
        "psnr": _psnr(blind, clean),
        "given": _psnr(held_out.degraded, clean),
    }


def _psnr(images: Tensor, clean: Tensor) -> float:
    error = (images - clean).square().mean((1, 2, 3)).clamp(min=1e-10)
    return round(float((-10 * error.log10()).mean()), 3)
