"""Options that several trainings share, each declared once."""

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
        high=1,
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
Sampler = Annotated[
    Literal["ddpm", "ddim", "dpmpp_2m", "dpmpp_2m_sde"] | None,
    Option("Sampler of the preset fast; that of --init or of the bundled model unless given."),
]
ExtraNoise = Annotated[
    float | None,
    Option("How much stronger dpmpp_2m_sde makes its noise; as with --sampler.", low=0, high=1),
]
Stabilised = Annotated[
    bool,
    Option("Train on a camera's stabilised values, of one channel; --extra holds RGB tissue."),
]
DrawnShare = Annotated[
    float, Option("Share of stabilised crops that are drawn specimens.", low=0, high=1)
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
        int,
        Option("The same seed gives the same weights.", low=0, high=2**63 - 1, group="Machine"),
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
    sampler: Sampler = None
    extra_noise: ExtraNoise = None

    @property
    def shard_bytes(self) -> int | None:
        """Largest size of one weight file."""
        return None if self.shard_mb is None else int(self.shard_mb * 1e6)
