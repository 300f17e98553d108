"""The options of every training: what each takes, its defaults, and how it is explained.

A class here is at once the command line (`histomend train`), the signature in Python
(``train(RscdOptions(tiles, run, minutes=30))``), the table in the guide, and what a run's
`run.json` holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from histomend.train.option import Option
from histomend.train.shared_options import (
    Average,
    Batch,
    Channels,
    Context,
    Cooldown,
    Critic,
    Crop,
    Degradation,
    DenoiserOptions,
    DrawnShare,
    ExtraNoise,
    HighestT,
    Init,
    MixedOptions,
    Mpp,
    Prediction,
    Rate,
    Sampler,
    Schedule,
    Stabilised,
    Unconditional,
    Verb,
    Versions,
)


@dataclass(frozen=True, kw_only=True)
class ArtifusionOptions(DenoiserOptions):
    """Train ArtiFusion's denoiser, on artifact-free images only (section 2 of its paper).

    Several processes or GPUs: `accelerate launch -m histomend train artifusion ...`.
    """

    verb: ClassVar[Verb] = Verb(
        "artifusion",
        "Systems",
        "artifusion",
        "--data tiles -o runs/liver --init artifusion-he --minutes 60",
        "histomend restore ... --model {model}",
    )
    arch: Annotated[str, Option("Size of the network; see `histomend presets artifusion`.")] = (
        "small-unet"
    )
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 1e-4
    ema: Average = 0.9999
    prediction: Prediction = "x0"
    schedule: Schedule = "cosine"
    context: Context = True
    unconditional: Unconditional = 0.2


@dataclass(frozen=True, kw_only=True)
class LatentArtifusionOptions(DenoiserOptions):
    """Train LatentArtiFusion's denoiser on an autoencoder's latents; OUT/model holds both.

    A crop is a whole number of the autoencoder's cells. `--init` may have been trained with
    another autoencoder of the same channels.
    """

    verb: ClassVar[Verb] = Verb(
        "latent-artifusion",
        "Systems",
        "latent_artifusion",
        "--data tiles --vae runs/vae/model -o runs/latent --minutes 240",
        "histomend restore ... --method latent-artifusion --model {model}",
    )
    vae: Annotated[
        str | Path,
        Option(
            "Autoencoder in diffusers' format (`histomend train vae`); it stays as it is.",
            metavar="FOLDER|HUB NAME",
        ),
    ]
    batch: Batch = 8
    crop: Crop = 256
    lr: Rate = 2e-4
    ema: Average = 0.9999
    prediction: Prediction = "v"
    schedule: Schedule = "scaled_linear"
    context: Context = True
    unconditional: Unconditional = 0.2
    versions: Versions = 4


@dataclass(frozen=True, kw_only=True)
class RscdOptions(DenoiserOptions):
    """Train RSCD's denoiser of whole fields; OUT/model holds it, and the calibrator.

    It predicts epsilon, with the paper's L1 loss: what is left of an error of epsilon in x0
    vanishes with t, and so a clean image goes through unchanged. The calibrator may be added to a
    finished run by resuming it. The best tiles (the paper's second phase) are picked
    automatically, by sharpness and signal.
    """

    verb: ClassVar[Verb] = Verb(
        "rscd",
        "Systems",
        "rscd",
        "--data tiles --channels 1 --calibrator runs/cal/model -o runs/rscd --minutes 240",
        "histomend denoise ... --model {model}",
    )
    calibrator: Annotated[
        str | Path | None,
        Option(
            "Put this calibrator into the model; also later, with --resume.", metavar="NAME|FOLDER"
        ),
    ] = None
    channels: Channels = 3
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 3e-4
    ema: Average = 0.9995
    schedule: Schedule = "cosine"
    highest_t: HighestT = 200
    best_after: Annotated[
        int | None, Option("From this step on use only the best tiles.", low=0)
    ] = None
    best_share: Annotated[
        float, Option("Share of the tiles that counts as the best.", over=0, high=1)
    ] = 0.25
    stabilised: Stabilised = False
    drawn_share: DrawnShare = 0.3


@dataclass(frozen=True, kw_only=True)
class VaeOptions(MixedOptions):
    """Train the autoencoder of a latent system; OUT/model is then in diffusers' format.

    A crop is a multiple of 8 px. The critic brings back the fine texture that errors of pixels
    average away, at some cost in PSNR (Esser et al. 2021, section 3.1, whose weight equals ours
    at the pixels rather than at the last layer).
    """

    verb: ClassVar[Verb] = Verb(
        "vae",
        "Parts",
        "autoencoder",
        "--data tiles -o runs/vae --minutes 120",
        "histomend train latent-artifusion ... --vae {model}",
    )
    arch: Annotated[str, Option("small, or paper: Stable Diffusion's.")] = "small"
    channels: Annotated[
        int, Option("Of the latent: more keep more detail, and leave more to invent.")
    ] = 16
    init: Init = None
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 5e-4
    ema: Average = 0.999
    decoder_only: Annotated[
        bool, Option("Keep the encoder of --init, so that denoisers of its latents stay valid.")
    ] = False
    adversarial: Critic = 0.0


@dataclass(frozen=True, kw_only=True)
class CalibratorOptions(MixedOptions):
    """Train RSCD's step calibrator, which predicts how noisy an image is, in steps of diffusion."""

    verb: ClassVar[Verb] = Verb(
        "calibrator",
        "Parts",
        "calibrator",
        "--data tiles --channels 1 -o runs/cal --minutes 30",
        "histomend train rscd ... --calibrator {model}",
    )
    arch: Annotated[str, Option("small, or paper: ResNet-50.")] = "small"
    channels: Channels = 3
    init: Init = None
    batch: Batch = 16
    crop: Crop = 128
    lr: Rate = 3e-4
    ema: Average = 0.999
    schedule: Schedule = "cosine"
    highest_t: HighestT = 300
    augmented: Annotated[
        bool, Option("Noise two regions differently, and predict the larger t.")
    ] = True
    stabilised: Stabilised = False
    drawn_share: DrawnShare = 0.3


@dataclass(frozen=True, kw_only=True)
class DetectorOptions(MixedOptions):
    """Train the detector of artifacts, on artifact-free tiles that are damaged as it goes.

    It tells fold, bubble, ink, debris, dark spot, out of focus, streak, haze and the marks of a
    scanner from tissue and glass, at every second pixel of a square of --working-mpp.
    """

    verb: ClassVar[Verb] = Verb(
        "detector",
        "Parts",
        "detector",
        "--data tiles --extra tiles_10x -o runs/detector --minutes 60",
        "histomend detect ... --model {model}",
    )
    arch: Annotated[str, Option("Size of the network: small.")] = "small"
    init: Init = None
    mpp: Mpp = 0.5
    extra_mpp: Annotated[float, Option("Pixel size of the images of --extra in um.", over=0)] = 1.0
    working_mpp: Annotated[float, Option("Pixel size that the network sees, in um.", over=0)] = 1.0
    artifacts: Annotated[
        Path | None,
        Option(
            "Folder of real artifacts: manifest.csv with file, kind, mask and mpp.", group="Data"
        ),
    ] = None
    artifact_share: Annotated[
        float,
        Option("Share of the scenes taken from --artifacts.", low=0, high=1, group="Data"),
    ] = 0.25
    batch: Batch = 8
    crop: Crop = 256
    lr: Rate = 2e-3
    ema: Average = 0.998
    cooldown: Cooldown = 0.3


@dataclass(frozen=True, kw_only=True)
class SwinirOptions(MixedOptions):
    """Train Histo-Diffusion's first stage, which cleans an image that was enlarged (section 3.1).

    It sees crops that were degraded and enlarged again, and learns the clean ones by their mean
    squared error. The clean crops are as the file has them, also where the degradation begins
    with sharpening.
    """

    verb: ClassVar[Verb] = Verb(
        "swinir",
        "Parts",
        "swinir",
        "--data tiles --degradation scanner -o runs/swinir --minutes 240",
        "histomend train control ... --restoration {model}",
    )
    arch: Annotated[
        str, Option("small, small-coarse (faster), or paper: 15.8 million parameters.")
    ] = "small"
    degradation: Degradation = "mixed"
    init: Init = None
    mpp: Mpp = 0.5
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 5e-4
    ema: Average = 0.999


@dataclass(frozen=True, kw_only=True)
class ControlOptions(MixedOptions):
    """Train Histo-Diffusion's second stage, which steers a latent model by an image (section 3.2).

    Only the branch is trained, to predict the noise in clean latents when it sees the latent of
    what stage 1 made of the degraded image. Both latents of every version of a tile are made
    once, into the cache, as cleaning alone takes a second for a tile on a CPU. A crop is a
    multiple of 64 px. OUT/model is an upscaler.
    """

    verb: ClassVar[Verb] = Verb(
        "control",
        "Systems",
        "control",
        "--data tiles --prior latent-artifusion-he --restoration runs/swinir/model -o runs/control",
        "histomend upscale ... --model {model}",
    )
    prior: Annotated[
        str | Path,
        Option(
            "Latent model to be steered, which stays as it is: of latent-artifusion, or Stable "
            "Diffusion in diffusers' format.",
            metavar="NAME|FOLDER",
        ),
    ]
    restoration: Annotated[
        str | Path,
        Option("Stage 1 (`histomend train swinir`), which stays as it is.", metavar="NAME|FOLDER"),
    ]
    degradation: Degradation = "mixed"
    init: Init = None
    mpp: Mpp = 0.5
    batch: Batch = 8
    crop: Crop = 256
    lr: Rate = 1e-4
    ema: Average = 0.999
    versions: Versions = 2
    sampler: Sampler = None
    extra_noise: ExtraNoise = None
