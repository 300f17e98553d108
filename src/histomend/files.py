"""Restore files: which mask and which output belong to each, and what is written beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL.Image

from histomend.errors import InputError, MaskError, OutputError, SettingError
from histomend.image import check_output, check_target, write_atomically, write_image
from histomend.masks import write_mask

if TYPE_CHECKING:
    from histomend.restore import Result
    from histomend.tiles.plan import Window
    from histomend.tiles.window import Trace

IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".avif", ".webp")
"""What is taken from a folder; a file named one by one may be of any kind that can be read."""
_MASK_SUFFIXES = (".png", ".tif", ".tiff", ".geojson")
_OWN = (".mask", ".uncertainty", ".t-map", ".control")
_LOSSY_SUFFIXES = (".jpg", ".jpeg")


@dataclass(frozen=True)
class Job:
    """One file to be restored.

    Attributes
    ----------
    source : the image.
    output : where the restored image goes.
    mask : its mask, or None where it is to be detected.
    """

    source: Path
    output: Path
    mask: Path | None

    def beside(self, ending: str) -> Path:
        """Return the path of a companion of the output, for instance of its ledger."""
        return self.output.with_name(f"{self.output.stem}.{ending}")


def list_images(inputs: Sequence[Path], suffixes: Sequence[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the files among `inputs`, folders replaced by the images in them, by name.

    An image in a folder is known by its suffix, which is one of `suffixes`.

    Masks and uncertainty maps that Histomend wrote into such a folder are left out.

    Raises
    ------
    InputError
        If something is not there, or a folder holds no image.
    """
    found: list[Path] = []
    for path in inputs:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder. Check the path.")
        if not path.is_dir():
            found.append(path)
            continue
        images = [
            file
            for file in sorted(path.iterdir())
            if file.suffix.lower() in suffixes
            and not file.name.startswith(".")
            and not file.stem.endswith(_OWN)
        ]
        if not images:
            raise InputError(
                f"{path}: the folder holds no image ({', '.join(suffixes)}). "
                "Name another one, or single files."
            )
        found += images
    return found


def pair_outputs(inputs: Sequence[Path], out: Path, suffix: str | None = None) -> dict[Path, Path]:
    """Give each input file its output file.

    `out` is a file for one input file, and a folder otherwise or if it is one already. In a
    folder outputs keep the stem of their input, and end in `suffix`, or without one in .tif for
    TIFF input and .png for the rest.

    Raises
    ------
    InputError
        See `list_images`.
    SettingError
        If several inputs would go into one file.
    """
    sources = list_images(inputs)
    if len(inputs) == 1 and not inputs[0].is_dir() and out.suffix and not out.is_dir():
        return {sources[0]: out}
    if out.suffix.lower() in (*IMAGE_SUFFIXES, ".geojson") and not out.is_dir():
        raise SettingError(
            f"-o {out} is one file, and there are several inputs. Name a folder instead."
        )
    pairs: dict[Path, Path] = {}
    for source in sources:
        ending = suffix or (".tif" if source.suffix.lower() in (".tif", ".tiff") else ".png")
        output = out / (source.stem + ending)
        clash = next((other for other, taken in pairs.items() if taken == output), None)
        if clash is not None:
            raise SettingError(
                f"{clash} and {source} would both be written to {output}. "
                "Rename one of them, or restore them into two folders."
            )
        pairs[source] = output
    return pairs


def plan_jobs(inputs: Sequence[Path], out: Path, masks: Path | None) -> list[Job]:
    """Return what is to be restored, with masks and outputs.

    Parameters
    ----------
    inputs : files and folders.
    out : see `pair_outputs`.
    masks : the mask of the one input file, or a folder with masks of the same file names
        (suffixes may differ); None if masks are to be detected.

    Raises
    ------
    InputError, SettingError
        See `pair_outputs`.
    MaskError
        If one mask file is given for several images.
    """
    pairs = pair_outputs(inputs, out)
    if masks is not None and not masks.is_dir() and len(pairs) > 1:
        raise MaskError(
            f"--mask {masks} is one file, and there are {len(pairs)} images. "
            "Name a folder that holds a mask of the same file name for each."
        )
    return [
        Job(source, output, None if masks is None else _mask_of(source, masks))
        for source, output in pairs.items()
    ]


def _mask_of(source: Path, masks: Path) -> Path:
    if not masks.is_dir():
        return masks
    names = [source.name, *(source.stem + suffix for suffix in _MASK_SUFFIXES)]
    # The first one where none exists: then the message of the reader names what was expected.
    return next((masks / name for name in names if (masks / name).exists()), masks / names[0])


def check_job(job: Job, *, samples: int, lossy: bool, force: bool) -> None:
    """Fail if something of a job could not be written, or its mask is not there.

    Raises
    ------
    SettingError, OutputError, MaskError
    """
    if job.mask is not None and not job.mask.exists():
        raise MaskError(
            f"{job.source}: its mask {job.mask} does not exist. Masks in a folder have the "
            "name of their image; or let Histomend find the artifacts: --detect."
        )
    make_folder(job.output.parent)
    check_output(job.output, force=force, lossy=lossy, source=job.source)
    for ending in _endings(detected=job.mask is None, samples=samples):
        check_target(job.beside(ending), force=force)


def make_folder(folder: Path) -> None:
    """Create the folder of an output, and those above it.

    Raises
    ------
    OutputError
        If that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be created ({error.strerror}). "
            "Check the permissions, or choose another one."
        ) from error


def write_result(
    result: Result, job: Job, *, lossy: bool = False, force: bool = False
) -> dict[str, str]:
    """Write a restored image, its ledger, and where there are any its mask and uncertainty map.

    The image comes last: where it is, everything that belongs to it is there too.

    Parameters
    ----------
    result : what `histomend.restore` returned.
    job : where it goes.
    lossy, force : as in `check_job`.

    Returns
    -------
    dict
        Which file was written where, by what it is.

    Raises
    ------
    OutputError
    """
    written = {"source": job.source, "output": job.output, "ledger": job.beside("ledger.json")}
    ledger = result.ledger
    if job.output.suffix.lower() in _LOSSY_SUFFIXES:
        ledger = replace(ledger, settings={**ledger.settings, "lossy": True})
    ledger.write(written["ledger"], force=force)
    if job.mask is None:
        written["mask"] = job.beside("mask.png")
        write_mask(written["mask"], result.mask, force=force)
    if result.uncertainty is not None:
        written["uncertainty"] = job.beside("uncertainty.png")
        write_uncertainty(written["uncertainty"], result.uncertainty, force=force)
    write_image(
        job.output,
        result.image.pixels,
        alpha=result.image.alpha,
        icc=result.image.icc,
        mpp=result.image.mpp,
        note=f"Histomend: {ledger.note}. The changes are in {written['ledger'].name}.",
        lossy=lossy,
        force=force,
    )
    return {name: str(path) for name, path in written.items()}


def write_uncertainty(path: Path, deviation: np.ndarray, *, force: bool = False) -> None:
    """Write an uncertainty map as a 16-bit grey PNG.

    Parameters
    ----------
    path : the file.
    deviation : (H, W) float, standard deviation over the samples as a share of the full range of
        values. 0 is written as 0, and 0.5 (about as far as samples can deviate) as 65535.
    force : replace an existing file.

    Raises
    ------
    OutputError
    """
    check_target(path, force=force)
    grey = np.round(np.clip(deviation / 0.5, 0, 1) * 65535).astype(np.uint16)
    write_atomically(path, lambda file: PIL.Image.fromarray(grey).save(file, "PNG"))


def ledger_of(restored: Path) -> Path:
    """Return the path of the ledger beside a restored image."""
    return restored.with_name(f"{restored.stem}.ledger.json")


def trace_to(folder: Path) -> Trace:
    """Return a `trace` for `histomend.restore` that writes each state into a folder.

    The states of each window lie in a folder of their own, named by the window's corner, in
    their order: the paper's Fig. 4.

    Raises
    ------
    OutputError
        If the folder cannot be created or holds anything; later, if a state cannot be written.
    """
    make_folder(folder)
    if any(folder.iterdir()):
        raise OutputError(
            f"{folder}: the folder for the states is not empty. Name another one: --trace DIR."
        )
    written: Counter[Path] = Counter()

    def write(window: Window, t: int, pixels: np.ndarray) -> None:
        states = folder / f"x{window.field[0]}-y{window.field[1]}"
        make_folder(states)
        write_image(states / f"{written[states]:04d}-t{t}.png", pixels)
        written[states] += 1

    return write


def _endings(*, detected: bool, samples: int) -> list[str]:
    return ["ledger.json", *["mask.png"] * detected, *["uncertainty.png"] * (samples > 1)]
