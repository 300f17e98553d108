"""The options of trainings for comparison: of baselines, and of what judges images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from histomend.train.option import Option
from histomend.train.options import (
    ArtifusionOptions,
    CalibratorOptions,
    ControlOptions,
    DetectorOptions,
    LatentArtifusionOptions,
    RscdOptions,
    SwinirOptions,
    VaeOptions,
)
from histomend.train.shared_options import (
    Average,
    Batch,
    Channels,
    Cooldown,
    Critic,
    Crop,
    Degradation,
    DenoiserOptions,
    Init,
    MixedOptions,
    Mpp,
    Rate,
    Schedule,
    TrainingOptions,
    Verb,
)

Blur = Literal["box", "gaussian", "both"]


@dataclass(frozen=True, kw_only=True)
class ConditionalOptions(DenoiserOptions):
    """Train conditional diffusion, a baseline of RSCD, on images with simulated tissue above.

    The pairs are clean crops and the same under tissue (`histomend.damage.optical.degrade`) at 0 to
    80 um. The network learns v rather than SR3's epsilon, which says nothing of x0 at the noisy end
    and so needs many steps; T is 1000.
    """

    verb: ClassVar[Verb] = Verb(
        "conditional",
        "Baselines",
        "conditional",
        "--data tiles --channels 3 -o runs/cond --minutes 240",
        "histomend denoise ... --method conditional --model {model}",
    )
    channels: Channels = 3
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 3e-4
    ema: Average = 0.9995
    schedule: Schedule = "cosine"


@dataclass(frozen=True, kw_only=True)
class Noise2NoiseOptions(DenoiserOptions):
    """Train Noise2Noise, a baseline of RSCD, on pairs of images with synthetic noise.

    RSCD's paper calls the row "synthetic noise" and cites Lehtinen et al. 2018 and Manifold et al.
    2019, without saying which noise. Here it is Poisson-Gaussian, of a strength drawn for each crop
    and even over it, without blur or haze; both images of a pair have it. With --noisy it learns
    from noisy images alone (Neighbor2Neighbor): where there are no clean ones.
    """

    verb: ClassVar[Verb] = Verb(
        "noise2noise",
        "Baselines",
        "noise2noise",
        "--data tiles --channels 3 -o runs/n2n --minutes 240",
        "histomend denoise ... --method noise2noise --model {model}",
    )
    noisy: Annotated[
        bool,
        Option(
            "The images are noisy themselves, pixel by pixel, and no clean ones are needed: each "
            "pixel is predicted from its neighbours."
        ),
    ] = False
    channels: Channels = 3
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 3e-4
    ema: Average = 0.9995


@dataclass(frozen=True, kw_only=True)
class CycleGanOptions(TrainingOptions):
    """Train CycleGAN between damaged and clean images, without pairs; a baseline.

    Zhu et al. 2017. All four networks learn at each step and at the same rate. The critics' loss
    does not reach the generators, nor theirs the critics, so one optimiser moves each by its own
    loss alone. A batch is so many damaged crops and as many clean ones. --init gives the generator
    that restores; the other three networks begin anew.
    """

    verb: ClassVar[Verb] = Verb(
        "cyclegan",
        "Baselines",
        "cyclegan",
        "--data tiles --damage artifacts -o runs/cycle --minutes 180",
        "histomend denoise ... --method cyclegan --model {model}",
    )
    damage: Annotated[
        Literal["artifacts", "optical"],
        Option(
            "What the damaged images have: a simulated artifact each (RGB only), or all of the "
            "field degraded as under tissue."
        ),
    ] = "artifacts"
    share: Annotated[
        float, Option("Share of each slide's tiles that is used at all.", over=0, high=1)
    ] = 1.0
    arch: Annotated[str, Option("small, or paper, for a GPU; see `histomend presets`.")] = "small"
    channels: Channels = 3
    init: Init = None
    mpp: Mpp = 0.5
    batch: Batch = 1
    crop: Crop = 128
    lr: Rate = 2e-4
    ema: Average = 0.999
    cooldown: Cooldown = 0.5


@dataclass(frozen=True, kw_only=True)
class RestoringGanOptions(MixedOptions):
    """What the trainings of restoration modules with a critic take.

    Keep `adversarial` under 1: the gradient of a mean absolute error is as long for small errors
    as for large ones, so that a stronger pull is never held back. 0 is without a critic: a run to
    start from with `init`, as the published networks do.
    """

    arch: Annotated[str, Option("small, or paper: as wide and deep as the published ones.")] = (
        "small"
    )
    degradation: Degradation = "mixed"
    adversarial: Critic = 0.5
    init: Init = None
    mpp: Mpp = 0.5
    batch: Batch = 8
    crop: Crop = 128
    lr: Rate = 2e-4
    ema: Average = 0.999


@dataclass(frozen=True, kw_only=True)
class RrdbGanOptions(RestoringGanOptions):
    """Train RRDBNet with a critic: what stands for BSRGAN and Real-ESRGAN in comparisons."""

    verb: ClassVar[Verb] = Verb(
        "rrdb-gan",
        "Baselines",
        "gan",
        "--data tiles --init runs/rrdb/model -o runs/rrdb-gan --minutes 60",
        "histomend upscale ... --method rrdb-gan --model {model}",
    )


@dataclass(frozen=True, kw_only=True)
class SwinirGanOptions(RestoringGanOptions):
    """Train SwinIR with a critic: what stands for SwinIR-GAN in comparisons."""

    verb: ClassVar[Verb] = Verb(
        "swinir-gan",
        "Baselines",
        "gan",
        "--data tiles --init runs/swinir/model -o runs/swinir-gan --minutes 60",
        "histomend upscale ... --method swinir-gan --model {model}",
    )
    arch: Annotated[str, Option("small, small-coarse (faster), or paper.")] = "small"


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(TrainingOptions):
    """Train a small encoder, whose features compare images and sets of images.

    Without labels (VICReg, Bardes, Ponce and LeCun 2022). A view of a field is at most half as
    wide as a tile.
    """

    verb: ClassVar[Verb] = Verb(
        "encoder",
        "Judges",
        "encoder",
        "--data tiles -o runs/encoder --minutes 30",
        'histomend.evaluate.pretrained.features("histology", "{model}")',
    )
    features: Annotated[int, Option("Length of its output.", low=1, high=64)] = 64
    init: Init = None
    batch: Annotated[int, Option("Fields per step and process.", low=2, group="Run")] = 32
    crop: Annotated[int, Option("Side of a view of a field in pixels.", low=32, group="Run")] = 64
    lr: Rate = 1e-3
    ema: Average = 0.99
    cooldown: Cooldown = 0.3


@dataclass(frozen=True, kw_only=True)
class IqaOptions(MixedOptions):
    """Train a model that predicts how blurred a histology image is, from 1 (sharp) to 0.

    The loss is the mean squared error of the score from 10 to 0. Images are judged by parts of the
    size of a crop: under a head, give the side that the frozen network sees (224 for most CLIPs),
    and nothing is resized.
    """

    verb: ClassVar[Verb] = Verb(
        "iqa",
        "Judges",
        "iqa",
        "--data tiles --blur box -o runs/box --minutes 10",
        "python benchmarks/iqa.py --iqa {model}",
    )
    blur: Annotated[
        Blur, Option("The data set: box blur, Gaussian blur, or both in one model.")
    ] = "both"
    features: Annotated[
        str, Option("Train a head on a frozen network: clip, timm, histology, inception.")
    ] = ""
    weights: Annotated[str, Option("Weights of that network.", metavar="FOLDER|HUB NAME")] = ""
    init: Init = None
    batch: Batch = 32
    crop: Crop = 128
    lr: Rate = 1e-3
    ema: Average = 0.99
    cooldown: Cooldown = 0.3


# In the order in which they are listed.
TRAININGS: tuple[type[TrainingOptions], ...] = (
    ArtifusionOptions,
    LatentArtifusionOptions,
    RscdOptions,
    ControlOptions,
    VaeOptions,
    CalibratorOptions,
    DetectorOptions,
    SwinirOptions,
    ConditionalOptions,
    Noise2NoiseOptions,
    CycleGanOptions,
    RrdbGanOptions,
    SwinirGanOptions,
    EncoderOptions,
    IqaOptions,
)
