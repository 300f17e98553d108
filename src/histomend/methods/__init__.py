"""The methods of all tasks, in one dict; each is one file here, which says what it decides.

To add one, write a module with

    def decide(source: ArraySource, model: Any, options: Options, mask: Mask | None) -> Job

and enter it into `METHODS`: verbs, help, checks and records follow. Nothing heavy is imported
before a method is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from histomend.errors import SettingError

Task: TypeAlias = Literal["restore", "denoise", "upscale"]


@dataclass(frozen=True)
class MethodInfo:
    """What is known of a method before it is imported.

    Parameters
    ----------
    name : str
    task : "restore", "denoise" or "upscale"
    about : str
        A few words for the help.
    module : str
        Where its `decide` is.
    model : str or None
        The kind of model that it needs; None if it needs none.
    default : mapping of channels to str
        The bundled model to take.
    presets : mapping of names to what they are
        The first is the default.
    steps, sampler : bool
        Whether it has such settings.
    origin : str
        Where a model of its own comes from, for messages.
    """

    name: str
    task: Task
    about: str
    module: str
    model: str | None = None
    default: Mapping[int, str] = field(default_factory=dict)
    presets: Mapping[str, str] = field(default_factory=lambda: {"fast": "one way only"})
    steps: bool = False
    sampler: bool = False
    origin: str = ""

    @property
    def default_preset(self) -> str:
        """The preset that is taken where none is named."""
        return next(iter(self.presets))


MAX_SHARE = 0.02
"""Of the tissue, that is restored at most where a detector found the artifacts."""
SAMPLERS = ("ddpm", "ddim", "dpmpp_2m", "dpmpp_2m_sde")
"""Those of `histomend.diffusion.samplers`."""
_TRAINED = "the folder that `histomend train {}` wrote (RUN/model): --model FOLDER"
_RSCD_MODELS = {1: "rscd-fluo", 2: "rscd-srh-sim", 3: "rscd-he"}

METHODS: dict[str, MethodInfo] = {}


def register(info: MethodInfo) -> None:
    """Add a method, under its name."""
    METHODS[info.name] = info


def methods_of(task: str) -> list[str]:
    """Return the names of a task's methods, the default first."""
    return [name for name, info in METHODS.items() if info.task == task]


def presets_of(task: str) -> list[str]:
    """Return the presets of all methods of a task."""
    infos = (METHODS[name] for name in methods_of(task))
    return list(dict.fromkeys(preset for info in infos for preset in info.presets))


def method_named(task: str, name: str | None) -> MethodInfo:
    """Return a method of a task, by default its first.

    Raises
    ------
    SettingError
        The task has no such method.
    """
    names = methods_of(task)
    chosen = names[0] if name is None else name
    if chosen not in names:
        raise SettingError(f"No method to {task} is called {name!r}. There are {', '.join(names)}.")
    return METHODS[chosen]


def check_settings(info: MethodInfo, preset: str, steps: int | None, sampler: str | None) -> None:
    """Refuse a preset, steps or a sampler that a method does not have.

    Raises
    ------
    SettingError
    """
    if preset not in info.presets:
        hint = _PRESET_HINTS.get((info.name, preset), "")
        raise SettingError(
            f"No preset of {info.name} is called {preset!r}. There are {', '.join(info.presets)}."
            f"{hint}"
        )
    if (steps is not None and not info.steps) or (sampler is not None and not info.sampler):
        raise SettingError(f"{info.name} has no such --steps or --sampler. Leave it away.")
    if sampler is not None and sampler not in SAMPLERS:
        raise SettingError(f"No sampler is called {sampler!r}. There are {', '.join(SAMPLERS)}.")


_PRESET_HINTS = {
    ("latent-artifusion", "author_code"): " Its authors' code changes clean pixels; it is run for "
    "comparison in benchmarks/ only.",
}

for _info in (
    MethodInfo(
        "artifusion",
        "restore",
        "diffusion on the pixels",
        "histomend.methods.artifusion",
        model="artifusion",
        default={3: "artifusion-he"},
        presets={
            "exemplar": "tissue of the same image, and few calls in a band along its seams; the "
            "default",
            "generate": "few calls with context; the model draws all of it",
            "paper": "250 ancestral steps without context, as the paper describes",
            "author_code": "250 steps with RePaint jumps, as the authors' configuration runs: "
            "2,410 calls",
        },
        steps=True,
        sampler=True,
        origin=_TRAINED.format("artifusion"),
    ),
    MethodInfo(
        "latent-artifusion",
        "restore",
        "diffusion in the latent of an autoencoder",
        "histomend.methods.artifusion",
        model="latent-artifusion",
        default={3: "latent-artifusion-he"},
        presets={
            "exemplar": "tissue of the same image, and few calls in a band along its seams; the "
            "default",
            "generate": "at most ten calls with context; the model draws all of it",
            "paper": "50 ancestral steps without context, as the paper describes",
        },
        steps=True,
        sampler=True,
        origin=_TRAINED.format("latent-artifusion"),
    ),
    MethodInfo(
        "rscd",
        "denoise",
        "diffusion from the image itself, calibrated",
        "histomend.methods.rscd",
        model="rscd",
        default=_RSCD_MODELS,
        presets={
            "fast": "few calls, calibrated twice; the default",
            "paper": "t ancestral steps, recalibrated every 10, as the paper's text describes",
            "author_code": "the same with the stop rule and the variance of the authors' code",
            "no_recalibration": "ablation of paper: calibrated once, at the start",
            "fixed_10": "ablation of paper: 10 steps whatever the image, no calibrator",
            "fixed_50": "ablation of paper: 50 steps whatever the image, no calibrator",
            "noise_estimate": "ablation of paper: Chen et al.'s estimate in the calibrator's place",
        },
        steps=True,
        sampler=True,
        origin=_TRAINED.format("rscd"),
    ),
    MethodInfo(
        "ccdf",
        "denoise",
        "Come-Closer-Diffuse-Faster, with a model of rscd",
        "histomend.methods.ccdf",
        model="rscd",
        default=_RSCD_MODELS,
        steps=True,
        sampler=True,
        origin=_TRAINED.format("rscd"),
    ),
    MethodInfo(
        "rrd",
        "denoise",
        "Regularized Reverse Diffusion, with a model of rscd",
        "histomend.methods.rrd",
        model="rscd",
        default=_RSCD_MODELS,
        steps=True,
        sampler=True,
        origin=_TRAINED.format("rscd"),
    ),
    MethodInfo(
        "conditional",
        "denoise",
        "diffusion from noise that is shown the image",
        "histomend.methods.conditional",
        model="conditional",
        presets={
            "fast": "few calls; the default",
            "paper": "100 ancestral steps of variance beta, the kind of SR3",
        },
        steps=True,
        sampler=True,
        origin=_TRAINED.format("conditional"),
    ),
    MethodInfo(
        "noise2noise",
        "denoise",
        "one call of a network trained on noisy pairs",
        "histomend.methods.noise2noise",
        model="noise2noise",
        origin=_TRAINED.format("noise2noise"),
    ),
    MethodInfo(
        "cyclegan",
        "denoise",
        "one call of a network trained without pairs",
        "histomend.methods.cyclegan",
        model="cyclegan",
        origin=_TRAINED.format("cyclegan"),
    ),
    MethodInfo("median", "denoise", "the median of 3×3 pixels", "histomend.methods.median"),
    MethodInfo(
        "deep-image-prior",
        "denoise",
        "a network fitted to each tile",
        "histomend.methods.deep_image_prior",
        steps=True,
    ),
    MethodInfo(
        "histo-diffusion",
        "upscale",
        "diffusion steered by the cleaned image",
        "histomend.methods.histo_diffusion",
        model="histo-diffusion",
        default={3: "histo-diffusion-he"},
        presets={
            "fast": "at most ten calls; the default",
            "paper": "50 ancestral steps, as the paper describes",
        },
        steps=True,
        sampler=True,
        origin=f"the bundled histo-diffusion-he, or {_TRAINED.format('control')}. Or enlarge "
        "without a model: --method lanczos",
    ),
    MethodInfo("bicubic", "upscale", "cubic convolution", "histomend.methods.interpolation"),
    MethodInfo("lanczos", "upscale", "a windowed sinc", "histomend.methods.interpolation"),
    MethodInfo(
        "rrdb-gan",
        "upscale",
        "one call of an RRDBNet",
        "histomend.methods.gan",
        model="rrdb-gan",
        origin=_TRAINED.format("rrdb-gan"),
    ),
    MethodInfo(
        "swinir-gan",
        "upscale",
        "one call of a SwinIR",
        "histomend.methods.gan",
        model="swinir-gan",
        origin=_TRAINED.format("swinir-gan"),
    ),
    MethodInfo(
        "published",
        "upscale",
        "a weight file of BSRGAN, Real-ESRGAN, ESRGAN or SwinIR",
        "histomend.methods.published",
        model="published",
        origin="a published weight file: --model FILE",
    ),
):
    register(_info)
