"""Verbs around models: train, presets, models."""

from __future__ import annotations

import os
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import AsJson, Device, Seed
from histomend.cli.screen import answer, facts, say, table


class Prediction(str, Enum):
    """What a network tells from x_t."""

    epsilon = "epsilon"
    x0 = "x0"
    v = "v"


def artifusion(
    data: Annotated[
        Path, typer.Option(help="Folder of artifact-free images, with manifest.csv naming slides.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")],
    arch: Annotated[
        str, typer.Option(help="Size of the network; see `histomend presets artifusion`.")
    ] = "small-unet",
    validation: Annotated[
        Path | None, typer.Option(help="Folder of images from other slides, for the figures.")
    ] = None,
    extra: Annotated[
        Path | None, typer.Option(help="Folder of further images: another stain, say.")
    ] = None,
    extra_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the crops that are taken from --extra.")
    ] = 0.08,
    init: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Start from these weights.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in the output folder.")
    ] = False,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop at this step.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Crops per step and process.")] = 8,
    crop: Annotated[int, typer.Option(min=32, help="Side of a crop in pixels.")] = 128,
    lr: Annotated[float, typer.Option(min=0, help="Learning rate.")] = 1e-4,
    ema: Annotated[
        float, typer.Option(min=0, max=1, help="How long the average of the weights is.")
    ] = 0.9999,
    cooldown: Annotated[
        float,
        typer.Option(min=0, max=1, help="Last share of the budget, the rate falling to zero."),
    ] = 0.0,
    prediction: Annotated[
        Prediction, typer.Option(help="What the network learns to tell.")
    ] = Prediction.x0,
    schedule: Annotated[str, typer.Option(help="linear, scaled_linear or cosine.")] = "cosine",
    context: Annotated[
        bool, typer.Option(help="Show the network the visible pixels and the mask.")
    ] = True,
    mpp: Annotated[float, typer.Option(min=0, help="Pixel size of the images in um.")] = 0.5,
    unconditional: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the crops without context.")
    ] = 0.2,
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Compile the network first: slow to start, faster.")
    ] = False,
    shard_mb: Annotated[
        float | None, typer.Option(min=1, help="Largest size of one weight file.")
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Train ArtiFusion's denoiser; the folder OUT/model is then a model for --model.

    Start several processes or GPUs with `accelerate launch -m histomend train artifusion ...`.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    from histomend.train.artifusion import train

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

        model = train(
            data,
            out,
            arch=arch,
            validation=validation,
            extra=extra,
            extra_share=extra_share,
            init=init,
            resume=resume,
            minutes=minutes,
            steps=steps,
            batch=batch,
            crop=crop,
            lr=lr,
            ema=ema,
            cooldown=cooldown,
            prediction=prediction.value,
            schedule=schedule,
            context=context,
            unconditional=unconditional,
            compiled=compiled,
            mpp=mpp,
            shard_mb=shard_mb,
            seed=seed,
            device=device,
            report=report,
        )
    say(f"Use it: histomend restore ... --model {model}")


def presets(
    method: Annotated[str | None, typer.Argument(help="Only those of this method.")] = None,
    as_json: AsJson = False,
) -> None:
    """List archs and sampling presets: parameters, MACs of one 256x256 call, steps."""
    from histomend.recipes.settings import table as list_presets

    rows = list_presets(method)
    if as_json:
        answer(rows)
        return
    table(
        ("method", "arch", "preset", "parameters", "GMAC", "steps", "use"),
        (
            (
                row["method"],
                row["arch"],
                row["preset"],
                f"{row['parameters']:,}",
                f"{row['macs'] / 1e9:.2f}",
                row["steps"],
                row["use"],
            )
            for row in rows
        ),
    )


def models(
    model: Annotated[
        str | None, typer.Argument(metavar="[NAME|FOLDER]", help="Show the card of this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models that come with the package, or show what is known of one."""
    from dataclasses import asdict

    from histomend.models import bundled, locate, read_config

    if model is not None:
        config = asdict(read_config(locate(model)))
        if as_json:
            answer(config)
            return
        card = config.pop("card")
        facts([*config.items(), *card.items()])
        return
    known = {name: read_config(locate(name)) for name in bundled()}
    if as_json:
        answer([{"name": name, **asdict(config)} for name, config in known.items()])
        return
    table(
        ("name", "method", "arch", "um/px", "fast steps", "sha256"),
        ((name, c.method, c.arch, c.mpp, c.fast_steps, c.sha256[:12]) for name, c in known.items()),
    )
