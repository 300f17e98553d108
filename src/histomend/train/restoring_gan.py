"""Training of the upscalers with a critic that Histo-Diffusion is compared with.

They stand for BSRGAN and Real-ESRGAN (RRDBNet) and SwinIR-GAN where the published weights, which
know no tissue, are not to be had, and differ from them:

- They are smaller, and restore an image that was enlarged to its size, so that one network serves
  every scale; the published ones enlarge by 4 themselves.
- Their loss is the mean absolute error and a critic's pull. The published ones add the error of
  VGG features, whose weights are a download and learned from photographs.
- The critic is a plain patch discriminator with a hinge loss, and its pull a fixed share of the
  error's. ESRGAN's is relativistic, Real-ESRGAN's a U-Net; both weigh it by a constant.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from histomend.errors import SettingError
from histomend.models.restoration import GANS, RestorationConfig
from histomend.train.adversarial import adversarial_loss
from histomend.train.restoration_module import RestorationSubject, train_on_pairs
from histomend.train.settings import RESTORING_GAN, MixedOptions

if TYPE_CHECKING:
    from typing_extensions import Unpack


def train_restoring_gan(
    data: Path,
    out: Path,
    *,
    method: str,
    arch: str = "small",
    degradation: str = "mixed",
    adversarial: float = 0.5,
    init: Path | None = None,
    mpp: float = 0.5,
    **options: Unpack[MixedOptions],
) -> Path:
    """Train a restoration module against a critic and return its folder.

    Parameters
    ----------
    data : Path
        Folder of clean RGB tiles, with a `manifest.csv` naming their slides.
    out : Path
        Folder of the run: `model/`, `last/`, `log.jsonl`, `samples/`.
    method : "rrdb-gan" or "swinir-gan"
    arch : str
        Of `histomend.networks.rrdb.RRDB_ARCHS` or `histomend.networks.swinir.SWINIR_ARCHS`.
    degradation : str
        As of `histomend.train.restoration_module.train_restoration`.
    adversarial : float
        Norm of the critic's pull over that of the error's gradient, both at the restored crops.
        Keep it under 1: the gradient of a mean absolute error is as long for small errors as for
        large ones, so that a stronger pull is never held back. 0 is without a critic: a run to
        start from with `init`, as the published networks do.
    init : Path, optional
        Folder of a restoration module of the same network and arch to start from, trained with
        a critic or without.
    crop : int
        Side of the clean crops in px.

    The options are those of `histomend.train.settings.MixedSettings`; what is not given is as in
    `RESTORING_GAN` there.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        A method, an arch or a degradation that does not exist, too small a crop, or a negative
        pull.
    """
    if method not in GANS:
        raise SettingError(f"No method with a critic is called {method!r}. There are {GANS}.")
    if adversarial < 0:
        raise SettingError(f"--adversarial is {adversarial}, but must be 0 or more.")
    config = RestorationConfig(arch, degradation, mpp, method, card={"adversarial": adversarial})
    subject = RestorationSubject(config, critic=adversarial > 0)

    def loss(network: nn.Module, degraded: Tensor, clean: Tensor) -> Tensor:
        if not subject.critic:
            return F.l1_loss(network(degraded).float(), clean)
        restored, verdict = network(degraded, clean)
        error = F.l1_loss(restored, clean)
        return error + adversarial_loss(restored, verdict, error, adversarial)

    settings = replace(RESTORING_GAN, **options)
    return train_on_pairs(data, out, subject, loss, settings, init)
