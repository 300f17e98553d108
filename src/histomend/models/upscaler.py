"""Upscalers: the restoration module, control branch and prior of Histo-Diffusion in one folder.

::

    FOLDER/config.json      UpscalerConfig: the hashes of all that belongs to it
    FOLDER/restoration/     stage 1, as `histomend train swinir` writes it
    FOLDER/control/         the control branch: model.safetensors; for Stable Diffusion a
                            ControlNet in diffusers' format, and the blank prompt's embedding
    FOLDER/prior/           the prior, a model of LatentArtiFusion with its autoencoder; absent
                            where the config names a bundled one or Stable Diffusion
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.device import torch_device
from histomend.diffusion.samplers import SAMPLERS
from histomend.diffusion.space import LatentSpace
from histomend.errors import ModelMismatchError, WeightsError
from histomend.models.loading import UPSCALER_METHOD, is_upscaler
from histomend.models.names import WEIGHTS, locate
from histomend.models.part import read_settings, write_config
from histomend.models.priors import Prior, load_prior
from histomend.models.restoration import (
    RestorationModule,
    load_restoration,
)
from histomend.models.stable_diffusion import StableDiffusion

# Side of the paper's images in px. The control holds a prior that learned on smaller fields, and
# windows of those would have to be three along a side here, as they overlap.
WINDOW = 512
# Windows are whole numbers of cells of any prior.
UNIT = 64
RESTORATION, CONTROL, PRIOR = "restoration", "control", "prior"


@dataclass(frozen=True)
class UpscalerConfig:
    """What belongs to an upscaler, and how it samples.

    Parameters
    ----------
    prior : str
        A bundled model, or Stable Diffusion's folder or name on the hub; empty where the prior
        lies in the folder `prior`.
    arch : str
        Of the prior.
    prior_sha256, vae_sha256, restoration_sha256 : str
        Of what the control branch was trained with.
    mpp : float
        Pixel size of the enlarged images in um.
    window : int
        Side in px of the fields that the denoiser sees at once; larger ones are cut into windows
        that overlap.
    fast_steps : int
        Network calls of the preset `fast`.
    sampler : str
        Sampler of the preset `fast`.
    extra_noise : float
        How much stronger the preset `fast` makes the noise of `dpmpp_2m_sde`.
    gain : float
        By what the colour fix `difference` multiplies what the diffusion drew. A branch that was
        trained briefly draws the mean of what may be there, which is too weak.
    sha256 : str
        Of the control branch; empty until saved.
    card : dict
        Data, licence, command, time and figures.
    """

    prior: str
    arch: str
    prior_sha256: str
    vae_sha256: str
    restoration_sha256: str
    mpp: float = 0.5
    window: int = WINDOW
    fast_steps: int = 8
    sampler: str = "dpmpp_2m"
    extra_noise: float = 0.0
    gain: float = 1.0
    method: str = UPSCALER_METHOD
    sha256: str = ""
    card: dict[str, Any] = field(default_factory=dict)

    def wrong(self) -> list[str]:
        """Return the fields whose values no upscaler can have."""
        positive = ("mpp", "window", "fast_steps", "gain")
        possible = {key: 0 < getattr(self, key) < float("inf") for key in positive}
        possible["sampler"] = self.sampler in SAMPLERS
        possible["window"] = possible["window"] and self.window % UNIT == 0
        return [key for key, fine in possible.items() if not fine]

    @classmethod
    def of(cls, prior: Prior, restoration: Path, **settings: Any) -> UpscalerConfig:
        """Return the config of an upscaler whose branch is trained with these.

        Parameters
        ----------
        restoration : Path
            Folder of the restoration module.
        settings : fields to be other than usual
        """
        return cls(
            prior="",
            arch=prior.arch,
            prior_sha256=prior.sha256,
            vae_sha256=prior.vae_sha256,
            restoration_sha256=load_restoration(restoration).config.sha256,
            **({"window": max(WINDOW, prior.window)} | settings),
        )


@dataclass(frozen=True)
class Upscaler:
    """A loaded upscaler.

    Parameters
    ----------
    name : str
        As the user gave it.
    config : UpscalerConfig
    restoration : RestorationModule
    denoiser : Denoiser
        Of the prior with its control branch; the control is its condition.
    space : LatentSpace
    device : torch.device
    """

    name: str
    config: UpscalerConfig
    restoration: RestorationModule
    denoiser: Denoiser
    space: LatentSpace
    device: torch.device

    def record(self) -> dict[str, Any]:
        """Return what the record of an enlarged image says of the model."""
        return {"name": self.name, **asdict(self.config)}


def load_upscaler(name_or_folder: str | Path, device: str = "auto") -> Upscaler:
    """Load an upscaler for inference.

    Parameters
    ----------
    name_or_folder : str or Path
        A bundled name, or the folder that `histomend train control` wrote.
    device : "auto", "cpu", "cuda", "cuda:1", "mps"

    Raises
    ------
    ModelNotFoundError, UnsafeWeightsError
    WeightsError
        A part is damaged or missing.
    ModelMismatchError
        It is another kind of model, or its parts do not belong together.
    DeviceError
    """
    where = torch_device(device)
    folder = locate(name_or_folder)
    config = read_upscaler_config(folder)
    restoration = load_restoration(folder / RESTORATION, where)
    _check("restoration module", restoration.config.sha256, config.restoration_sha256, folder)
    own = folder / PRIOR
    prior = load_prior(own if own.is_dir() or not config.prior else config.prior, where)
    _check("prior", prior.sha256, config.prior_sha256, folder)
    _check("prior's autoencoder", prior.vae_sha256, config.vae_sha256, folder)
    if prior.branch_sha256(folder / CONTROL) != config.sha256:
        raise WeightsError(
            f"The control branch in {folder / CONTROL} is not the one that the config of {folder} "
            "tells of. It is damaged or was exchanged: copy the model again."
        )
    branch = prior.load_branch(folder / CONTROL)
    network = prior.controlled(branch).eval().requires_grad_(False).to(where)
    denoiser = Denoiser(network, prior.schedule, prior.prediction)
    return Upscaler(str(name_or_folder), config, restoration, denoiser, prior.space, where)


def read_upscaler_config(folder: Path) -> UpscalerConfig:
    """Return the config of the upscaler in `folder`.

    Raises
    ------
    ModelMismatchError
        It is another kind of model.
    WeightsError
        The file is damaged or of another schema.
    """
    if not is_upscaler(folder):
        raise ModelMismatchError(
            f"{folder} is no upscaler. Name the folder that `histomend train control` wrote "
            "(RUN/model)."
        )
    return read_settings(folder, UpscalerConfig, "an upscaler", "`histomend train control`")


def save_upscaler(
    folder: Path,
    branch: nn.Module,
    prior: Prior,
    prior_source: str | Path,
    restoration: Path,
    config: UpscalerConfig,
) -> UpscalerConfig:
    """Write everything that upscaling needs to `folder`, and return the config with its hash.

    Parameters
    ----------
    branch : module
        As `prior.branch()` makes it.
    prior_source : str or Path
        From where the prior was loaded. A bundled one and Stable Diffusion are named in the
        config; any other is copied.
    restoration : Path
        Folder of the restoration module; copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(restoration, folder / RESTORATION, dirs_exist_ok=True)
    prior.save_branch(folder / CONTROL, branch)
    config = replace(config, prior="", sha256=prior.branch_sha256(folder / CONTROL))
    if isinstance(prior, StableDiffusion):
        place = Path(prior_source)
        config = replace(config, prior=str(place.resolve() if place.is_dir() else prior_source))
    elif locate(prior_source).parent == WEIGHTS:
        config = replace(config, prior=locate(prior_source).name)
    else:
        shutil.copytree(locate(prior_source), folder / PRIOR, dirs_exist_ok=True)
    write_config(folder, config)
    return config


def _check(what: str, found: str, told: str, folder: Path) -> None:
    if found != told:
        raise ModelMismatchError(
            f"The control branch in {folder} was trained with a {what} of sha256 "
            f"{told[:12] or 'none'}…, and the one that is here has {found[:12]}…. Put the one that "
            "belongs to it there, or train the control branch again."
        )
