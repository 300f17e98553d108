"""Fine-tune a model on the clean tissue of the very images that it is to restore.

A model that comes with the package has seen other slides, other stainings, other scanners. Where
there is sound tissue beside an artifact, the model can learn from that: the paper of ArtiFusion
trains one model per dataset. Whether it helps is measured on tiles that were held out.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histomend.curate.collection import Collection
from histomend.curate.cutting import Advance
from histomend.curate.settings import TileSettings
from histomend.errors import HistomendError, InputError, ModelMismatchError, OutputError
from histomend.image import read_image
from histomend.image.pixels import Frame
from histomend.image.places import kept_if_filled
from histomend.image.reading import SLIDE_FILES
from histomend.jobs.inputs import IMAGE_SUFFIXES, list_images, with_masks
from histomend.masks.slide_masks import SlideMask, load_slide_mask
from histomend.methods.artifusion import ArtiFusion
from histomend.models import ModelConfig, load_denoiser, locate, read_config
from histomend.models.part import write_config
from histomend.slides.scans import open_scan

if TYPE_CHECKING:
    from histomend.train.denoiser import MaskedDenoising
    from histomend.train.fit import Report

Looking = Callable[[str], AbstractContextManager[Advance]]
Training = Callable[[], "AbstractContextManager[Report | None]"]

BUNDLED = "artifusion-he"
# Side of the tiles in pixels, and of tiles of images too small for a few of them. A crop has the
# side of the smaller ones.
SIDES = (256, 128)
CROP = SIDES[-1]
# Of each image at most so many tiles: they are 75 megapixels, more than minutes can look at.
MOST_TILES = 400
LEAST_TILES = 4
# One tile in so many is not trained on, and says whether the model has become better.
HELD_OUT_EVERY = 5
# What the detector marks of a tile that is sound.
SOUND_SHARE = 0.005
# Weights that have been trained already: small steps, and an average over the last hundred.
RATE, AVERAGE, COOLDOWN = 2e-4, 0.99, 0.5


@dataclass(frozen=True)
class Adapted:
    """A model that was fitted to images.

    Attributes
    ----------
    model : Path
        Its folder, for ``model=`` and `--model`.
    images : tuple of Path
    tiles : int
        Of clean tissue, of which one in five was held out.
    error_before, error_after : float
        Squared error of the predicted x0 inside masks, in [-1, 1] units, mean over four noise
        levels: on the held-out tiles, by the weights that it started from and by its own.
    passed_over : dict
        Images without enough clean tissue, and why.
    """

    model: Path
    images: tuple[Path, ...]
    tiles: int
    error_before: float
    error_after: float
    passed_over: dict[str, str]


def adapt(
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    mask: str | Path | None = None,
    model: str | Path = BUNDLED,
    minutes: float | None = 5.0,
    steps: int | None = None,
    source_mpp: float | None = None,
    seed: int = 0,
    device: str = "auto",
    looking: Looking | None = None,
    training: Training | None = None,
) -> Adapted:
    """Fine-tune a model of ArtiFusion on the clean tissue of images.

    Parameters
    ----------
    images : path, or sequence of paths
        Images, whole slides, or folders of them.
    out : path
        A new or empty folder for the model.
    mask : path, optional
        What is damaged in the one image: nothing is learned from there. Unless given, a mask that
        lies beside an image is taken. Artifacts that are found are left out as well.
    model : str or Path
        What to start from: a bundled name or a folder of weights.
    minutes, steps : optional
        How long to train; whichever is reached first.
    source_mpp : float, optional
        Micrometres per pixel of files that do not say; the model's unless given.
    seed : int
        The same seed and number of steps give the same weights on the same machine.
    device : "auto", "cpu", "cuda", "mps"
    looking : function of a file's name, optional
        Returns a context, entered while tiles are cut out of the file, that gives a function of
        (places looked at, places in all).
    training : function, optional
        Returns a context, entered while the model is trained, that gives a function of (step, loss,
        images per second, share of the budget that is spent).

    Returns
    -------
    Adapted

    Raises
    ------
    InputError
        There is too little clean tissue, an image that cannot be read, or a mask that does not fit.
    ModelMismatchError
        The model works in a latent, or is of another method.
    OutputError
        The folder is there and not empty.
    TrainingError
        The training diverged.
    """
    out = Path(out)
    config = _pixel_model(model)
    _check_free(out)
    files = [Path(images)] if isinstance(images, str | Path) else [Path(path) for path in images]
    masks = _masks(files, None if mask is None else Path(mask))
    for path, its_mask in masks.items():
        if its_mask is not None:
            _mask_of(path, its_mask, source_mpp or config.mpp)
    with (
        kept_if_filled(out.parent),
        tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch,
    ):
        tiles = Path(scratch) / "tiles"
        count, used, failed = _cut(masks, tiles, config, source_mpp, seed, looking)
        trained, before, after = _train(
            tiles, Path(scratch) / "run", model, config, minutes, steps, seed, device, training
        )
        card = {
            **read_config(trained).card,
            "adapted_to": [path.name for path in used],
            "tiles": count,
            "held_out_error": {"before": before, "after": after},
        }
        write_config(trained, replace(read_config(trained), card=card))
        if out.is_dir():
            out.rmdir()
        trained.replace(out)
    return Adapted(out, tuple(used), count, before, after, failed)


def _pixel_model(model: str | Path) -> ModelConfig:
    config = read_config(locate(model))
    if config.method != "artifusion":
        raise ModelMismatchError(
            f"{model} is a model of {config.method}, and what is fitted to images here is one of "
            "artifusion. Name another with --model, or train it with histomend train "
            f"{config.method} --init {model}."
        )
    return config


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(
            f"{out}: is there already, and nothing in it is replaced. Name a new folder: -o DIR."
        )


def _masks(files: Sequence[Path], mask: Path | None) -> dict[Path, Path | None]:
    """Return the mask of each image: the one that was named, or what lies beside it."""
    found = list_images(files, (*IMAGE_SUFFIXES, *SLIDE_FILES))
    if mask is None:
        return with_masks(found)
    if len(found) > 1:
        raise InputError(
            f"One mask was named ({mask}), and {len(found)} images. Put the mask of each beside "
            "it, as NAME.mask.png or NAME.mask.geojson, and leave --mask away."
        )
    return {found[0]: mask}


def _mask_of(path: Path, mask: Path, source_mpp: float) -> SlideMask:
    with open_scan(path, source_mpp=source_mpp) as scan:
        level = scan.levels[0]
        return load_slide_mask(mask, Frame(level.width, level.height))


def _cut(
    masks: dict[Path, Path | None],
    folder: Path,
    config: ModelConfig,
    source_mpp: float | None,
    seed: int,
    looking: Looking | None,
) -> tuple[int, list[Path], dict[str, str]]:
    """Cut tiles of sound tissue; return how many, of which images, and what was passed over."""
    known = source_mpp or config.mpp
    settings = TileSettings(
        mpp=config.mpp,
        size=min(_side(path, config.mpp, known) for path in masks),
        tissue=0.3,
        per_slide=MOST_TILES,
        validation_share=0.0,
        seed=seed,
        source_mpp=known,
    )
    made = Collection.begin(list(masks), folder, settings, resume=False)
    reports: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for name, path in made.slides.items():
        try:
            with nullcontext() if looking is None else looking(path.name) as advance:
                report = made.cut(name, reports, advance)
        except InputError as error:
            if len(masks) == 1:
                raise
            failed[str(path)] = str(error)
            continue
        of_image = masks[path]
        mask = None if of_image is None else _mask_of(path, of_image, known)
        rows = [row for row in report["rows"] if _is_sound(folder / name, row, report, mask)]
        if rows:
            reports.append({**report, "rows": rows})
        else:
            failed[str(path)] = "no sound tissue was found in it"
    count = sum(len(report["rows"]) for report in reports)
    if count < LEAST_TILES:
        said = "".join(f" {path}: {why}." for path, why in failed.items())
        raise InputError(
            f"There is too little clean tissue to learn from: {count} tiles of {settings.size} px "
            f"at {config.mpp:g} um, and {LEAST_TILES} are the least.{said} Add further images of "
            "the same staining and scanner, or use the model as it is."
        )
    rows = [row for report in reports for row in report["rows"]]
    for number, row in enumerate(rows):
        row["split"] = "val" if number % HELD_OUT_EVERY == HELD_OUT_EVERY // 2 else "train"
    made.finish(reports, failed)
    used = [made.slides[report["slide"]] for report in reports]
    return count, used, failed


def _side(path: Path, mpp: float, source_mpp: float) -> int:
    """Return the side of the tiles that fit into an image at least twice, or else the least."""
    with open_scan(path, source_mpp=source_mpp) as scan:
        least = min(scan.size_at(scan.mpp_near(mpp)))
    return next((side for side in SIDES if 2 * side <= least), SIDES[-1])


def _is_sound(
    folder: Path, row: dict[str, Any], report: dict[str, Any], mask: SlideMask | None
) -> bool:
    """Tell whether nothing is masked in a tile, and the detector finds next to nothing there."""
    from histomend.detect.learned import find
    from histomend.masks.artifact_classes import ARTIFACTS

    image = read_image(folder / row["file"])
    if mask is not None:
        side = math.ceil(image.pixels.shape[0] * row["mpp"] / report["source_mpp"])
        region = (row["x"], row["y"], side, side)
        if mask.may_touch(region) and mask.read(region).any():
            return False
    try:
        found = find(image.pixels, mpp=row["mpp"]).found
    except HistomendError:  # a staining that the detector does not know: the rules have judged it
        return True
    return bool(found.mask(ARTIFACTS).mean() <= SOUND_SHARE)


def _train(
    tiles: Path,
    run: Path,
    model: str | Path,
    config: ModelConfig,
    minutes: float | None,
    steps: int | None,
    seed: int,
    device: str,
    training: Training | None,
) -> tuple[Path, float, float]:
    """Train; return the model's folder and its error on held-out tiles, before and after."""
    from histomend.train.artifusion import lesson as lesson_of
    from histomend.train.fit import fit
    from histomend.train.options import ArtifusionOptions

    options = ArtifusionOptions(
        tiles,
        run,
        init=model,
        arch=config.arch,
        prediction=config.prediction,
        schedule=config.schedule,  # type: ignore[arg-type]  # a string of its config, checked there
        context=config.context,
        mpp=config.mpp,
        unconditional=0.1,
        crop=CROP,
        lr=RATE,
        ema=AVERAGE,
        cooldown=COOLDOWN,
        minutes=minutes,
        steps=steps,
        seed=seed,
        device=device,
        save_minutes=math.inf,
        validate_minutes=math.inf,
    )
    lesson = lesson_of(options)
    before = _error(lesson, model)
    with nullcontext() if training is None else training() as report:
        trained = fit(lesson, options, report)
    return trained, before, _error(lesson, trained)


def _error(lesson: MaskedDenoising, model: str | Path) -> float:
    """Return the squared error of a model's x0 inside masks on the held-out tiles."""
    from histomend.train.validation import x0_errors

    x0, mask = lesson.held_out.x0, lesson.held_out.mask
    loaded = load_denoiser(model, str(x0.device))
    schedule = loaded.config.noise_schedule()
    recipe = ArtiFusion(x0, mask, schedule, context=loaded.config.context)
    return x0_errors(loaded.denoiser, schedule, x0, mask, recipe.condition)["mean_x0_error"]
