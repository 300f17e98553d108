"""From a slide and options to a job: what is restored where, and how that is written."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from histomend.detect.slides import encoded, find_on_slide, search_slide, slide_features
from histomend.errors import MaskError, OutputError, SettingError, display_name
from histomend.image import Image
from histomend.image.reading import content_kind, file_sha256
from histomend.jobs.job import Job, Mask, RestoreOptions
from histomend.jobs.journal import journal_of
from histomend.jobs.slide_fields import SlideFieldJob
from histomend.jobs.slide_job import SlideJob, Writing, found_beside
from histomend.masks import share_notice
from histomend.masks.slide_masks import PictureMask, SlideMask, load_slide_mask
from histomend.methods import MAX_SHARE, MethodInfo, check_settings, method_named
from histomend.methods.artifusion import scale_to
from histomend.methods.decide import decide
from histomend.methods.loading import ModelLike, model_for
from histomend.methods.where import LEARNED, THRESHOLD, MaskLike, Where, mask_in_memory
from histomend.models import Model
from histomend.slides.compact import check_compactable
from histomend.slides.dicom_frames import check_one_instance
from histomend.slides.ome_zarr import SUFFIX
from histomend.slides.slide_sink import APPENDED, COMPACT, DICOM, PYRAMID, ZARR, check_place
from histomend.slides.source import ArraySource
from histomend.slides.tile_folders import is_tile_folder
from histomend.slides.whole import BESIDE, Slide, open_slide
from histomend.tiles.slide_plan import plan_slide

_log = logging.getLogger(__name__)
_SUFFIXES: dict[str, tuple[str, ...]] = {
    APPENDED: (".svs", ".tif", ".tiff"),
    COMPACT: (".svs", ".tif", ".tiff"),
    PYRAMID: (".tif", ".tiff"),
    DICOM: (".dcm",),
    ZARR: (SUFFIX,),
}


def decide_slide(
    slide: str | Path,
    output: str | Path,
    mask: MaskLike | None = None,
    *,
    mask_classes: Sequence[str] | None = None,
    detect: bool = False,
    max_share: float = MAX_SHARE,
    detector: str | Path = LEARNED,
    method: str = "artifusion",
    model: ModelLike | None = None,
    preset: str | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    samples: int = 1,
    mpp: float | None = None,
    device: str = "auto",
    batch: int = 8,
    compact: bool = False,
    no_label: bool = False,
    lossy: bool = False,
    force: bool = False,
) -> SlideJob:
    """Check everything and decide what would be done to a slide, without computing any pixel.

    Parameters
    ----------
    slide, output, mask, ...
        As `histomend.restore_slide` takes them.

    Raises
    ------
    InputError, ModelError, ResourceError
    """
    path, target = Path(slide), Path(output)
    where = Where(mask, mask_classes, detect, max_share, detector)
    info = method_named("restore", method)
    preset = preset or info.default_preset
    check_settings(info, preset, steps, sampler)
    if samples < 1 or batch < 1 or not 0 <= seed < 2**63:
        raise SettingError(
            f"samples={samples} and batch={batch} must be 1 or more, and the seed ({seed}) a "
            "whole number from 0 to 2^63 - 1."
        )
    drop = BESIDE if no_label else ()
    writing = Writing(target, force, lossy, compact or no_label, drop)
    loaded = model_for(info, model, device, 3)
    if not isinstance(loaded, Model):
        raise MaskError(f"{info.name} does not restore regions. Choose another --method.")
    with open_slide(path, mpp=mpp) as opened:
        container, notices = _container(opened, writing)
        about, size = opened.about, opened.size
        check_slide_output(target, container, path)
        found = _found(opened, where, target)
    masks, mask_sha256 = found.mask, found.sha256
    scale, said = scale_to(about.mpp, loaded.config.mpp)
    plan = plan_slide(masks, size, mpp=about.mpp, scale=scale)
    notices = (*about.notices, *notices, *masks.notices, *said)
    for notice in notices:
        _log.info("%s: %s", display_name(path), display_name(notice))
    options = RestoreOptions(
        info.name, preset, steps, sampler, seed, device, batch, samples, detect
    )
    repeats = {
        "preset": preset,
        "steps": steps,
        "sampler": sampler,
        "mpp": about.mpp,
        "samples": samples,
    }
    return SlideJob(
        about,
        size,
        container,
        writing,
        masks,
        mask_sha256,
        plan,
        options,
        partial(_decided, info, loaded),
        loaded.device,
        loaded.record(),
        settings={"scale": scale, "model_mpp": loaded.config.mpp, "samples": samples},
        repeats={name: value for name, value in repeats.items() if value is not None},
        notices=notices,
        found=found.geojson,
        mask_file=Path(mask) if isinstance(mask, str | Path) else None,
    )


@dataclass(frozen=True)
class _Found:
    """Where a slide is restored; the bytes of a GeoJSON, if that is to be written."""

    mask: SlideMask
    sha256: str
    geojson: bytes | None = None


def _found(slide: Slide, where: Where, target: Path) -> _Found:
    """Return what a user says of where, or what is found.

    Raises
    ------
    MaskError, UnreadableImageError, UnsupportedImageError
    """
    mask = where.mask
    if isinstance(mask, str | Path):
        read = load_slide_mask(Path(mask), slide.frame, classes=where.classes)
        return _Found(read, _mask_sha256(Path(mask), where.classes))
    if mask is not None:
        checked = mask_in_memory(mask, (slide.frame.height, slide.frame.width))
        sha256 = hashlib.sha256(np.packbits(checked).tobytes()).hexdigest()
        return _Found(PictureMask(checked, slide.frame, share_notice(checked)), sha256)
    written = found_beside(target)
    if journal_of(target).is_dir() and written.is_file():
        # Of the same job, interrupted; whether it is the same one the journal knows.
        return _Found(load_slide_mask(written, slide.frame), _mask_sha256(written, None))
    if where.detector != THRESHOLD:
        return _learned(slide, where)
    searched = find_on_slide(slide)
    if searched.share > where.max_share:
        raise MaskError(
            f"{slide.path}: the thresholds found {searched.share:.1%} of the coloured tissue to be "
            f"artifacts, more than --max-share {where.max_share:g}: they may have taken tissue for "
            "artifacts. Look at what they find (histomend detect SLIDE -o found.geojson) and use "
            "it as --mask if it is right, or allow more: --max-share 1."
        )
    data = encoded(slide_features(searched.mask, slide.size))
    sha256 = hashlib.sha256(data).hexdigest()
    said = (f"the thresholds found {searched.share:.1%} of the coloured tissue",)
    searched.mask.notices = said
    return _Found(searched.mask, sha256, data)


def _learned(slide: Slide, where: Where) -> _Found:
    """Return what a detector finds and may be restored."""
    searched = search_slide(slide, detector=where.loaded_detector())
    kinds, notices = where.allowed(searched.detection, str(slide.path))
    mask = searched.mask(kinds)
    # Traced from the mask, pixel for pixel: an interrupted job goes on from what is written.
    data = encoded(slide_features(mask, slide.size))
    mask.notices = notices
    return _Found(mask, hashlib.sha256(data).hexdigest(), data)


def check_slide_output(target: Path, container: str, source: Path) -> None:
    """Fail early if a restored slide could not be written here.

    Raises
    ------
    SettingError, OutputError
    """
    if target.suffix.lower() not in _SUFFIXES[container]:
        raise SettingError(
            f"{target}: this slide is written as {' or '.join(_SUFFIXES[container])}, or as a new "
            f"{SUFFIX}, not as "
            f"{target.suffix or 'a file without a suffix'}."
        )
    if target.exists() and target.samefile(source):
        raise OutputError(f"{target}: is the source slide itself. Choose another output.")
    if container == ZARR:
        inner, outer = target.resolve(), source.resolve()
        if outer in inner.parents or inner in outer.parents:
            raise OutputError(f"{target}: one slide would lie in the other. Choose another output.")
    check_place(target, force=True)


def _decided(
    info: MethodInfo, model: Model, source: ArraySource, mask: Mask, options: RestoreOptions
) -> Job:
    decided: Job = import_module(info.module).decide(source, model, options, mask)
    return decided


def _container(slide: Slide, writing: Writing) -> tuple[str, tuple[str, ...]]:
    """Return how a slide is written, and what is to be said of it."""
    dicom = not is_tile_folder(slide.path) and content_kind(slide.path) == "DICOM"
    if dicom and writing.target.suffix.lower() == ".dcm":
        if writing.compact or writing.lossy:
            raise SettingError(
                f"{writing.target}: a DICOM slide is written frame by frame, with what was "
                "replaced in it. Leave --compact, --no-label and --lossy away, or write a pyramid: "
                "-o NAME.tif."
            )
        check_one_instance(slide.path, len(slide.reader.levels))
        return DICOM, ()
    if is_zarr(writing):
        return ZARR, (
            "a new slide is written: keep the slide that was given, as nothing else undoes this",
        )
    if not slide.appendable:
        if writing.lossy and slide.about.pixels.dtype.itemsize > 1:
            raise SettingError(f"{slide.path}: has 16 bits, and JPEG holds 8. Leave --lossy away.")
        return PYRAMID, (
            f"the slide cannot be appended to ({slide.why}), so a new pyramid is written: keep the "
            "slide, as nothing else undoes this",
        )
    if not writing.compact:
        return APPENDED, ()
    check_compactable(slide.path, writing.drop)
    return COMPACT, (
        "what was replaced is left out of the file: keep the slide, as nothing else undoes this",
    )


def is_zarr(writing: Writing) -> bool:
    """Tell whether a slide is to be written as OME-Zarr.

    Raises
    ------
    SettingError
        With loss, which no reader of it would understand.
    """
    if writing.target.suffix.lower() != SUFFIX:
        return False
    if writing.lossy:
        raise SettingError(
            f"{writing.target}: OME-Zarr is written without loss. Leave --lossy away."
        )
    return True


def _mask_sha256(mask: Path, classes: Sequence[str] | None) -> str:
    said = "" if classes is None else f" {json.dumps(sorted(classes))}"
    return file_sha256(mask) + said


def slide_factor(slide: Path, scale: float | None) -> int:
    """Return by how much a whole slide is enlarged.

    Raises
    ------
    SettingError
        It is no whole number.
    """
    if scale is None or not float(scale).is_integer() or scale < 2:
        raise SettingError(
            f"{slide}: a whole slide is enlarged by a whole number, 2 or more: --scale 2."
        )
    return int(scale)


def decide_slide_field(
    task: str,
    slide: str | Path,
    output: str | Path,
    *,
    method: str | None = None,
    model: ModelLike | None = None,
    scale: float | None = None,
    seed: int = 0,
    mpp: float | None = None,
    device: str = "auto",
    lossy: bool = False,
    force: bool = False,
    **options: Any,
) -> SlideFieldJob:
    """Decide how a whole slide would be denoised or enlarged, without computing any pixel.

    Parameters
    ----------
    task : "denoise" or "upscale"
    scale : float, optional
        Of an enlargement, which is by a whole number.
    options
        Further ones of `histomend.denoise` or `histomend.upscale`.

    Raises
    ------
    InputError, ModelError, ResourceError
    """
    path, target = Path(slide), Path(output)
    info = method_named(task, method)
    factor = 1
    if task == "upscale":
        factor = slide_factor(path, scale)
        options = {**options, "scale": float(factor)}
    with open_slide(path, mpp=mpp) as opened:
        about, size = opened.about, opened.size
        if lossy and about.pixels.dtype.itemsize > 1:
            raise SettingError(f"{path}: has 16 bits, and JPEG holds 8. Leave --lossy away.")
        writing = Writing(target, force, lossy)
        container = ZARR if is_zarr(writing) else PYRAMID
        check_slide_output(target, container, path)
        loaded = model_for(info, model, device, 3)
        given = {"method": info.name, "model": loaded, "device": device, **options}

        def decided(image: Image, seed: int) -> Job:
            return decide(task, image.pixels, mpp=image.mpp, seed=seed, **given)

        # The options are checked on the corner of the slide.
        example = decided(opened.part((0, 0, min(size[0], 256), min(size[1], 256))), seed)
    return SlideFieldJob(
        task,
        about,
        size,
        container,
        factor,
        writing,
        decided,
        info.name,
        seed,
        example.device,
        example.model,
        options={k: v for k, v in example.repeats.items() if k != "region"},
        notices=about.notices,
    )
