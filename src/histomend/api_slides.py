"""What Python users call for whole slides: restore_slide, detect_slide and the others."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from histomend.detect.learned import detector_named
from histomend.detect.slides import find_on_slide, search_slide, slide_features, write_found
from histomend.detect.threshold import Thresholds
from histomend.errors import SettingError
from histomend.image import check_target
from histomend.jobs.run import Progress, displayed
from histomend.jobs.slide_engine import SlideEngine
from histomend.jobs.slide_fields import execute_slide_field
from histomend.jobs.slide_run import SlideResult, execute_slide
from histomend.jobs.waiting import Awaited
from histomend.masks.artifact_classes import chosen_classes
from histomend.methods import MAX_SHARE
from histomend.methods.loading import ModelLike
from histomend.methods.slides import decide_slide, decide_slide_field
from histomend.methods.where import LEARNED, MaskLike
from histomend.models.detector import Detector
from histomend.slides.whole import open_slide

_log = logging.getLogger(__name__)


def _awaited(output: str | Path) -> Awaited:
    return Awaited(Path(output), _log.info)


def restore_slide(
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
    progress: Progress | None = None,
    engine: SlideEngine | None = None,
    wait: bool = False,
) -> SlideResult:
    """Restore the masked parts of a whole slide into a new slide; nothing else changes.

    The slide is read where it is masked and around there, and never in memory. A job that was
    killed goes on where it was when it is called again.

    Parameters
    ----------
    slide : Path
        A slide of a scanner, or a pyramidal TIFF.
    output : Path
        A .tif or .svs. To slides that are TIFF files new tiles are appended, so that all others
        stay byte for byte and `undo` needs nothing else; of others a new pyramid is made. With
        .zarr a new OME-Zarr.
    mask : Path, (H, W) array or PIL.Image.Image, optional
        GeoJSON in pixels of the slide as QuPath exports it, or a picture of the slide's size;
        masks of GrandQC and HistoQC may be smaller. An array or image has the slide's size.
    detect : bool
        Find the artifacts, in place of a mask (`detect_slide`); what was found is written beside
        the output, NAME.mask.geojson.
    mask_classes, max_share, detector, method, model, preset, steps, sampler, seed, samples, mpp,
    device, batch
        As of `restore`.
    compact : bool
        Write the slide anew, so that what was replaced is not in the file any more.
    no_label : bool
        The same without the label and the macro image of the slide.
    lossy : bool
        A new pyramid may be JPEG, which is about a fifth as large and changes every pixel a little.
    force : bool
        An existing output may be replaced.
    progress : True, or a function of (masked pixels done, masked pixels in all), optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.
    engine : SlideEngine, optional
        Who works on the slide, such as `histomend.RayEngine`; this process unless given. The slide
        has the same bytes.
    wait : bool
        If another process works on the same output, wait until it is done, rather than fail. If its
        job was this one, its result is what is returned; if it was killed, this one goes on.

    Returns
    -------
    SlideResult

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    JobError
        Another process works on the same output, or what it began had other inputs.
    """
    awaited = _awaited(output) if wait else None
    job = decide_slide(
        slide, output, mask, mask_classes=mask_classes, detect=detect, max_share=max_share,
        detector=detector, method=method, model=model, preset=preset, steps=steps,
        sampler=sampler, seed=seed, samples=samples, mpp=mpp, device=device, batch=batch,
        compact=compact, no_label=no_label, lossy=lossy, force=force,
    )  # fmt: skip
    return execute_slide(job, progress=progress, engine=engine, awaited=awaited)


def detect_slide(
    slide: str | Path,
    output: str | Path,
    *,
    mpp: float | None = None,
    classes: Sequence[str] | None = None,
    model: str | Path | Detector | None = None,
    thresholds: Thresholds | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> int:
    """Find the artifacts of a whole slide and write them as GeoJSON in pixels of the slide.

    Parameters
    ----------
    slide : Path
    output : Path
        A .geojson file, which QuPath opens on the slide.
    mpp : float, optional
        Pixel size in um, if the file does not say or is wrong.
    classes : sequence of str, optional
        Only artifacts of these classes.
    model : str, Path or Detector, optional
        A detector by name or folder; the bundled one unless given.
    thresholds : Thresholds, optional
        Find them by these rules instead, which know no classes.
    force : bool
        An existing output may be replaced.
    progress : True, or a function of (parts done, parts in all), optional

    Returns
    -------
    int
        How many regions were found.

    Raises
    ------
    InputError, OutputError
    """
    target = Path(output)
    if target.suffix.lower() not in (".geojson", ".json"):
        raise SettingError(f"{target}: what is found on a whole slide is written as .geojson.")
    check_target(target, force=force)
    path = Path(slide)
    kinds = chosen_classes(classes)
    if thresholds is None:
        detector = detector_named(model)
        with displayed(progress, path.name) as advance, open_slide(path, mpp=mpp) as opened:
            searched = search_slide(opened, detector=detector, progress=advance)
        return searched.write(target, kinds, force=force)
    with displayed(progress, path.name) as advance, open_slide(path, mpp=mpp) as opened:
        found = find_on_slide(opened, thresholds=thresholds, progress=advance)
        features = list(slide_features(found.mask, opened.size))
    write_found(target, features, force=force)
    return len(features)


def denoise_slide(
    slide: str | Path,
    output: str | Path,
    *,
    method: str = "rscd",
    model: ModelLike | None = None,
    seed: int = 0,
    mpp: float | None = None,
    device: str = "auto",
    lossy: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    engine: SlideEngine | None = None,
    wait: bool = False,
    **options: Any,
) -> SlideResult:
    """Denoise all of a whole slide into a new pyramid, block by block.

    A job that was killed goes on where it was when it is called again.

    Parameters
    ----------
    slide : Path
    output : Path
        A .tif, or a .zarr.
    method, model, seed, mpp, device
        As of `histomend.denoise`.
    lossy, force
        As of `restore_slide`.
    progress : True, or a function of (blocks done, blocks in all), optional
    engine : SlideEngine, optional
        As of `restore_slide`.
    wait : bool
        As of `restore_slide`.
    options
        Further ones of `histomend.denoise`.

    Raises
    ------
    InputError, ModelError, ResourceError, JobError
    """
    awaited = _awaited(output) if wait else None
    job = decide_slide_field(
        "denoise", slide, output, method=method, model=model, seed=seed, mpp=mpp, device=device,
        lossy=lossy, force=force, **options,
    )  # fmt: skip
    return execute_slide_field(job, progress=progress, engine=engine, awaited=awaited)


def upscale_slide(
    slide: str | Path,
    output: str | Path,
    *,
    scale: int,
    method: str = "histo-diffusion",
    model: ModelLike | None = None,
    seed: int = 0,
    mpp: float | None = None,
    device: str = "auto",
    lossy: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    engine: SlideEngine | None = None,
    wait: bool = False,
    **options: Any,
) -> SlideResult:
    """Enlarge a whole slide into a new pyramid, block by block.

    Parameters
    ----------
    scale : int
        A whole number from 2 to 8.
    slide, output, seed, mpp, device, lossy, force, progress, engine, wait
        As of `denoise_slide`.
    method, model, options
        As of `histomend.upscale`.

    Raises
    ------
    InputError, ModelError, ResourceError, JobError
    """
    awaited = _awaited(output) if wait else None
    job = decide_slide_field(
        "upscale", slide, output, scale=scale, method=method, model=model, seed=seed, mpp=mpp,
        device=device, lossy=lossy, force=force, **options,
    )  # fmt: skip
    return execute_slide_field(job, progress=progress, engine=engine, awaited=awaited)
