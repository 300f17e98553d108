"""What can be asked for on the page, and the command line that asks for the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from histomend.errors import SettingError
from histomend.image.pixels import Region
from histomend.methods import METHODS, methods_of, presets_of

Task = Literal["restore", "denoise", "upscale"]
SUFFIXES = {"restore": "restored", "denoise": "denoised", "upscale": "enlarged"}
_OF = {
    "restore": ("method", "model", "preset", "steps", "seed", "samples", "mpp"),
    "denoise": ("method", "model", "preset", "steps", "seed", "mpp"),
    "upscale": ("method", "model", "preset", "steps", "seed", "mpp", "scale", "generation"),
}
"""Options of the verbs that the page offers, by their names in Python."""


class Options(BaseModel):
    """How something is to be done; what is None is as without it."""

    model_config = ConfigDict(extra="forbid")

    method: str | None = Field(default=None, max_length=100)
    model: str | None = Field(default=None, max_length=1000)
    preset: str | None = Field(default=None, max_length=100)
    steps: int | None = Field(default=None, ge=1, le=10_000)
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    samples: int | None = Field(default=None, ge=1, le=1000)
    mpp: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    scale: float | None = Field(default=None, ge=1, le=8, allow_inf_nan=False)
    generation: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)

    def of(self, task: Task) -> dict[str, Any]:
        """Return the options that were given.

        Raises
        ------
        SettingError
            The task does not know one of them.
        """
        given = self.model_dump(exclude_none=True)
        wrong = [name for name in given if name not in _OF[task]]
        if wrong:
            raise SettingError(f"{task} has no option {', '.join(wrong)}. Leave it away.")
        if task == "upscale":
            given.setdefault("scale", 2.0)
        return given


def check_model(name: str | None, known: dict[str, Path]) -> str | Path | None:
    """Return the model of a name: a bundled one, or a folder that was named with the program.

    Raises
    ------
    SettingError
        Any other: the page reaches no folder but those.
    """
    if name is None:
        return None
    if name in known:
        return known[name]
    from histomend.models import bundled  # imports PyTorch, which takes seconds

    if name in bundled():
        return name
    raise SettingError(
        f"The page knows no model {name!r}. Start it with --model FOLDER, or choose one of "
        f"{', '.join([*bundled(), *known])}."
    )


def choices(known: dict[str, Path]) -> dict[str, Any]:
    """Return what can be chosen of each task: methods, presets, models."""
    from histomend.models import bundled

    return {
        task: {
            "methods": [{"name": name, "about": METHODS[name].about} for name in methods_of(task)],
            "presets": list(presets_of(task)),
            "models": [*known, *bundled()],
        }
        for task in SUFFIXES
    }


def output_path(
    folder: Path, source: Path, task: Task, taken: set[Path], *, whole: bool = False
) -> Path:
    """Return a new file for a result, which neither exists nor is expected already."""
    tiff = whole or (source.suffix.lower() in (".tif", ".tiff") and task != "upscale")
    stem, suffix = f"{source.stem}-{SUFFIXES[task]}", ".tif" if tiff else ".png"
    if whole and task == "restore" and source.suffix.lower() == ".svs":
        suffix = ".svs"
    number = 1
    while True:
        path = folder / f"{stem}-{number}{suffix}"
        if not path.exists() and path not in taken:
            return path
        number += 1


def command_line(
    task: Task,
    source: Path,
    output: Path,
    *,
    mask: Path | None,
    region: Region | None,
    options: dict[str, Any],
    device: str = "auto",
) -> str:
    """Return the line that does the same in a shell."""
    words = ["histomend", task, str(source)]
    if mask is not None:
        words += ["--mask", str(mask)]
    for name, value in options.items():
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        words += [f"--{name}", shown]
    if region is not None:
        words += ["--region", ",".join(map(str, region))]
    if device != "auto":
        words += ["--device", device]
    return shlex.join([*words, "-o", str(output)])
