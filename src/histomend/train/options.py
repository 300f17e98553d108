"""The options of every training: what each takes, its defaults, and how it is explained.

A class here is at once the command line (`histomend train`), the signature in Python
(``train(RscdOptions(tiles, run, minutes=30))``), the table in the guide, and what a run's
`run.json` holds.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from histomend.train.option import Option, declared

Batch = Annotated[int, Option("Crops per step and process.", low=1, group="Run")]
Crop = Annotated[int, Option("Side of a crop in pixels.", low=32, group="Run")]
Rate = Annotated[
    float,
    Option(
        "Learning rate: reached after a few steps of warming up, kept until the cooldown.",
        low=0,
        group="Run",
    ),
]
Average = Annotated[
    float,
    Option(
        "Decay of the running average of the weights, which is what the model holds: 0.9999 "
        "averages over some 10,000 steps, 0.999 over 1,000.",
        low=0,
        high=1,
        group="Run",
    ),
]
Cooldown = Annotated[
    float,
    Option(
        "Last share of --minutes or --steps, over which the learning rate falls to zero.",
        low=0,
        high=1,
        group="Run",
    ),
]
Init = Annotated[
    str | Path | None,
    Option("Start from the weights of this model, of the same kind.", metavar="NAME|FOLDER"),
]
Mpp = Annotated[float, Option("Pixel size of the images in um.", over=0)]
Schedule = Annotated[
    Literal["cosine", "linear", "scaled_linear"], Option("Schedule of the noise levels.")
]
Channels = Annotated[
    Literal[1, 2, 3],
    Option("1: grey images. 3: RGB. 2: CH2 and CH3 of Raman histology, simulated from H&E."),
]
Prediction = Annotated[
    Literal["epsilon", "x0", "v"],
    Option("What the network predicts: the noise, the clean image, or v, a mix of both."),
]
Context = Annotated[
    bool, Option("Show the network the visible pixels and the mask as further channels.")
]
Unconditional = Annotated[
    float,
    Option(
        "Share of the crops of which everything is masked: keeps the use without context.",
        low=0,
        high=1,
    ),
]
Versions = Annotated[
    int,
    Option(
        "How many differently turned, stained or degraded versions of each tile are encoded, "
        "once, before the first step.",
        low=1,
    ),
]
Degradation = Annotated[
    Literal["codeformer", "real-esrgan", "scanner", "mixed"],
    Option(
        "How crops are degraded. scanner: larger pixels and nothing else. mixed: one of the "
        "others for each crop."
    ),
]
Critic = Annotated[
    float,
    Option(
        "Norm of a critic's gradient, which asks for fine texture, over that of the error's; "
        "0: no critic.",
        low=0,
    ),
]
HighestT = Annotated[int, Option("Largest t that images are noised to.", low=1)]


@dataclass(frozen=True)
class Verb:
    """What the program says of a training.

    Parameters
    ----------
    name : str
        After `histomend train`.
    panel : str
        Of the list of all trainings.
    module : str
        In `histomend.train`; its function `lesson` makes the lesson of the options.
    example : str
        The words of a command line after the name.
    use : str
        What may be done with the model, whose folder stands for `{model}`.
    """

    name: str
    panel: str
    module: str
    example: str
    use: str


@dataclass(frozen=True)
class TrainingOptions:
    """What every training takes."""

    verb: ClassVar[Verb]

    data: Annotated[
        Path,
        Option("Folder of artifact-free images, with manifest.csv naming slides.", group="Data"),
    ]
    out: Annotated[
        Path, Option("Folder of the run; its model is in OUT/model.", short="-o", group="Data")
    ]
    _: KW_ONLY
    validation: Annotated[
        Path | None, Option("Folder of images from other slides, for the figures.", group="Data")
    ] = None
    cache: Annotated[
        Path | None,
        Option("Folder for packed tiles and latents; beside OUT unless given.", group="Data"),
    ] = None
    resume: Annotated[bool, Option("Go on with the run in the output folder.", group="Run")] = False
    minutes: Annotated[
        float | None, Option("Stop after this time in this call.", low=0, group="Run")
    ] = None
    steps: Annotated[
        int | None, Option("Stop when the run has made this many steps in all.", low=1, group="Run")
    ] = None
    batch: Batch
    crop: Crop
    lr: Rate
    ema: Average
    cooldown: Cooldown = 0.0
    optimiser: Annotated[
        Literal["adamw", "muon"],
        Option(
            "muon: matrices and convolution kernels take steps of equal size in all directions "
            "(Jordan et al. 2024), the rest AdamW's; costs some time per step.",
            group="Run",
        ),
    ] = "adamw"
    save_minutes: Annotated[float, Option("How often the state is saved.", low=0, group="Run")] = (
        5.0
    )
    validate_minutes: Annotated[
        float, Option("How often figures and pictures are made.", low=0, group="Run")
    ] = 10.0
    seed: Annotated[
        int, Option("The same seed gives the same weights.", low=0, group="Machine")
    ] = 0
    device: Annotated[str, Option("auto, cpu, cuda, cuda:1 or mps.", group="Machine")] = "auto"
    compiled: Annotated[
        bool,
        Option(
            "Compile the network first: takes a minute or two and a C++ compiler; then faster.",
            group="Machine",
        ),
    ] = False

    def __post_init__(self) -> None:
        """Raise a SettingError for the first value that cannot be."""
        for each in declared(type(self)):
            each.check(getattr(self, each.name))

    @property
    def cache_folder(self) -> Path:
        """Where packed tiles and latents are kept."""
        return self.out.parent / "cache" if self.cache is None else self.cache


@dataclass(frozen=True, kw_only=True)
class MixedOptions(TrainingOptions):
    """What a training takes that may mix further images in."""

    extra: Annotated[
        Path | None, Option("Folder of further images: another stain, say.", group="Data")
    ] = None
    extra_share: Annotated[
        float,
        Option("Share of the crops that are taken from --extra.", low=0, high=1, group="Data"),
    ] = 0.08


@dataclass(frozen=True, kw_only=True)
class DenoiserOptions(MixedOptions):
    """What the training of a denoiser takes."""

    arch: Annotated[str, Option("Size of the network; see `histomend presets`.")] = "small"
    init: Init = None
    mpp: Mpp = 0.5
    shard_mb: Annotated[float | None, Option("Largest size of one weight file in MB.", low=0.1)] = (
        None
    )

    @property
    def shard_bytes(self) -> int | None:
        """Largest size of one weight file."""
        return None if self.shard_mb is None else int(self.shard_mb * 1e6)


@dataclass(frozen=True, kw_only=True)
class ArtifusionOptions(DenoiserOptions):
    """Train ArtiFusion's denoiser, on artifact-free images only (section 2 of its paper).

    Several processes or GPUs: `accelerate launch -m histomend train artifusion ...`.
    """

    verb: ClassVar = Verb(
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

    verb: ClassVar = Verb(
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

    verb: ClassVar = Verb(
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


@dataclass(frozen=True, kw_only=True)
class VaeOptions(MixedOptions):
    """Train the autoencoder of a latent system; OUT/model is then in diffusers' format.

    A crop is a multiple of 8 px. The critic brings back the fine texture that errors of pixels
    average away, at some cost in PSNR (Esser et al. 2021, section 3.1, whose weight equals ours
    at the pixels rather than at the last layer).
    """

    verb: ClassVar = Verb(
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

    verb: ClassVar = Verb(
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


@dataclass(frozen=True, kw_only=True)
class SwinirOptions(MixedOptions):
    """Train Histo-Diffusion's first stage, which cleans an image that was enlarged (section 3.1).

    It sees crops that were degraded and enlarged again, and learns the clean ones by their mean
    squared error. The clean crops are as the file has them, also where the degradation begins
    with sharpening.
    """

    verb: ClassVar = Verb(
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

    verb: ClassVar = Verb(
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
