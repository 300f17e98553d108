"""Options that all verbs of `histomend train` share, and what each does around its training."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from histomend.cli.options import Device, Seed
from histomend.cli.screen import say
from histomend.train.settings import Report, RunSettings

Data = Annotated[
    Path, typer.Option(help="Folder of artifact-free images, with manifest.csv naming slides.")
]
RunFolder = Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")]
Init = Annotated[str | None, typer.Option(metavar="NAME|FOLDER", help="Start from these weights.")]
Noise = Annotated[str, typer.Option(help="linear, scaled_linear or cosine.")]
TileMpp = Annotated[float, typer.Option(min=0, help="Pixel size of the images in um.")]
ShardMb = Annotated[float | None, typer.Option(min=1, help="Largest size of one weight file.")]
Channels = Annotated[
    int,
    typer.Option(
        min=1,
        max=3,
        help="1: grey images, 3: RGB, 2: CH2 and CH3 of Raman histology, simulated from H&E.",
    ),
]
Extra = Annotated[Path | None, typer.Option(help="Folder of further images: another stain, say.")]
ExtraShare = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the crops that are taken from --extra.")
]

# The fields of `histomend.train.settings` as options.
SHARED: dict[str, Any] = {
    "validation": Annotated[
        Path | None, typer.Option(help="Folder of images from other slides, for the figures.")
    ],
    "extra": Extra,
    "extra_share": ExtraShare,
    "resume": Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder.")
    ],
    "minutes": Annotated[float | None, typer.Option(min=0, help="Stop after this time.")],
    "steps": Annotated[int | None, typer.Option(min=1, help="Stop at this step.")],
    "batch": Annotated[int, typer.Option(min=1, help="Crops per step and process.")],
    "crop": Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")],
    "lr": Annotated[float, typer.Option(min=0, help="Learning rate.")],
    "ema": Annotated[
        float, typer.Option(min=0, max=1, help="How long the average of the weights is.")
    ],
    "cooldown": Annotated[
        float,
        typer.Option(min=0, max=1, help="Last share of the budget, the rate falling to zero."),
    ],
    "compiled": Annotated[
        bool, typer.Option("--compiled", help="Compile the network first: slow to start, faster.")
    ],
    "seed": Seed,
    "device": Device,
}


def trains(defaults: RunSettings) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a verb of a function that trains and returns what its user is then told.

    The function's `**options` become those options of `SHARED` that are fields of `defaults`,
    with the values there, unless the function has an option of that name itself. They reach it
    with `report`, which shows the progress.
    """

    def decorate(function: Callable[..., str]) -> Callable[..., None]:
        named = inspect.signature(function, eval_str=True).parameters.values()
        own = [each for each in named if each.kind is not each.VAR_KEYWORD]
        taken = {each.name for each in own}
        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(defaults, name),
                annotation=option,
            )
            for name, option in SHARED.items()
            if hasattr(defaults, name) and name not in taken
        ]

        @wraps(function)
        def verb(**given: Any) -> None:
            with progress() as report:
                advice = function(**given, report=report)
            say(advice)

        verb.__signature__ = inspect.Signature([*own, *shared])  # type: ignore[attr-defined]
        return verb

    return decorate


@contextmanager
def progress() -> Iterator[Report]:
    """Show step, loss and images per second as a training reports them."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("step {task.fields[step]}  loss {task.fields[loss]:.4f}"),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        # Of several processes only the first one reports.
        disable=os.environ.get("RANK", "0") != "0",
    )
    with bar:
        task = bar.add_task("", total=1.0, step=0, loss=float("nan"), rate=0.0)

        def report(step: int, loss: float, rate: float, share: float) -> None:
            bar.update(task, completed=share, step=step, loss=loss, rate=rate)

        yield report
