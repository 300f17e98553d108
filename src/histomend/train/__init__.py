"""Training: tiles in, checkpoints out; resumable at any moment, to the bit.

>>> from histomend.train import RscdOptions, train
>>> model = train(RscdOptions(Path("tiles"), Path("runs/rscd"), channels=1, minutes=240))

One class of options for each training (`histomend.train.options`, `.comparison_options`), one file
with its lesson (`histomend.train.lesson`), and one loop for all of them (`histomend.train.fit`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from histomend.train.comparison_options import (
    TRAININGS,
    ConditionalOptions,
    CycleGanOptions,
    EncoderOptions,
    IqaOptions,
    Noise2NoiseOptions,
    RrdbGanOptions,
    SwinirGanOptions,
)
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
from histomend.train.shared_options import TrainingOptions

if TYPE_CHECKING:
    from histomend.train.fit import Report

__all__ = [
    "TRAININGS",
    "ArtifusionOptions",
    "CalibratorOptions",
    "ConditionalOptions",
    "ControlOptions",
    "CycleGanOptions",
    "DetectorOptions",
    "EncoderOptions",
    "IqaOptions",
    "LatentArtifusionOptions",
    "Noise2NoiseOptions",
    "RrdbGanOptions",
    "RscdOptions",
    "SwinirGanOptions",
    "SwinirOptions",
    "TrainingOptions",
    "VaeOptions",
    "train",
]


def train(options: TrainingOptions, report: Report | None = None) -> Path:
    """Train what the options are for, and return the folder of the finished model.

    Parameters
    ----------
    options : TrainingOptions
        Of a class in `TRAININGS`.
    report : function (step, loss, images per second, share of the budget), optional
        Called after each step.

    Raises
    ------
    TrainingError
        No usable tiles, a run or first weights that do not match, or a loss that diverged.
    SettingError
        Options that do not go together.
    ModelError
        A model to start from or to build on that is not there, damaged, or of another kind.
    """
    # PyTorch is imported here, so that the command line's help need not wait for it.
    from histomend.train.fit import fit

    lesson = import_module(f"histomend.train.{options.verb.module}").lesson(options)
    return fit(lesson, options, report)
