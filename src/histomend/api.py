"""What Python users call: restore, denoise, upscale, detect; each decides a job and runs it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from histomend.errors import SettingError
from histomend.image.pixels import Region
from histomend.jobs.job import Trace
from histomend.jobs.run import Progress, Result, execute
from histomend.methods import MAX_SHARE, METHODS
from histomend.methods.decide import decide
from histomend.methods.loading import ModelLike
from histomend.methods.where import MaskLike
from histomend.models import Model, load_model
from histomend.slides.source import ImageLike, picture_source

if TYPE_CHECKING:
    from histomend.detect.found import Limits
    from histomend.detect.learned import Detection
    from histomend.detect.threshold import Thresholds
    from histomend.models.detector import Detector


def restore(
    image: ImageLike,
    mask: MaskLike | None = None,
    *,
    mask_classes: Sequence[str] | None = None,
    detect: bool = False,
    max_share: float = MAX_SHARE,
    detector: str | Path = "learned",
    method: str = "artifusion",
    model: ModelLike | None = None,
    preset: str | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    samples: int = 1,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    batch: int = 8,
    progress: Progress | None = None,
    trace: Trace | None = None,
) -> Result:
    """Restore the masked part of an H&E image; nothing else changes.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16 array, PIL image, path, or Image
        At least 64×64.
    mask : (H, W) array, PIL image or path (PNG, TIFF, GeoJSON), optional
        True (white) where the image is to be restored.
    mask_classes : sequence of str, optional
        What counts in a mask file: names of classes in GeoJSON, numbers of labels or names of
        GrandQC's legend in a picture. By default all classes, or GrandQC's artifacts. With
        `detect`, the classes of artifacts to be restored.
    detect : bool
        Find the artifacts, in place of a mask.
    max_share : float in [0, 1]
        The largest share of the tissue that is restored after `detect`. Where more was found,
        tissue may have been taken for artifacts, and a MaskError says so.
    detector : "learned", "threshold", or the name or folder of a detector's weights
        What finds them: the bundled network, or fixed rules.
    method : "artifusion" or "latent-artifusion"
        Diffusion on the pixels, or in the latent space of an autoencoder.
    model : str, Path or Model, optional
        A bundled name, a folder of weights, or a model loaded once for many images; by default
        the bundled one of the method.
    preset : "exemplar" (by default), "generate", "paper" or "author_code"
        "exemplar" copies tissue of the same image into the mask and lets the model join it; the
        record says where each pixel came from. With the others the model draws all of it;
        "author_code" is for "artifusion" only.
    steps, sampler : optional
        Override those of the preset.
    seed : int in [0, 2^63)
        The same seed gives the same bytes on the same machine's CPU with the same number of
        threads, whatever `batch` is.
    samples : int
        Restorations to draw; the first is returned, their deviation is the uncertainty.
    mpp : float, optional
        Pixel size in um, if the file does not say or is wrong. Where it differs from the
        model's by more than 30 %, the windows are resampled to the model's and back.
    region : (x, y, w, h), optional
        Part of the image to work on and to return; needed for whole-slide files.
    device : "auto", "cpu", "cuda", "mps"
    batch : int
        Windows in flight.
    progress : True, or a function of (network calls done, network calls in all), optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.
    trace : function of (window, t, x as (h, w, 3) uint8), optional
        Gets the state after every step of the first sample, at the model's pixel size.

    Returns
    -------
    Result

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    """
    job = decide(
        "restore", image, mask=mask, mask_classes=mask_classes, detect=detect,
        max_share=max_share, detector=detector, method=method, model=model, preset=preset,
        steps=steps, sampler=sampler, seed=seed, samples=samples, mpp=mpp, region=region,
        device=device, batch=batch, trace=trace,
    )  # fmt: skip
    return execute(job, progress=progress)


def denoise(
    image: ImageLike,
    *,
    method: str = "rscd",
    model: ModelLike | None = None,
    preset: str | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    gain: float | None = None,
    offset: float | None = None,
    read_noise: float | None = None,
    stabilise: str = "auto",
    axes: str | None = None,
    per_channel: bool | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    batch: int = 8,
    progress: Progress | None = None,
) -> Result:
    """Restore the whole field of an image or of each plane of a stack.

    All tiles are calibrated first, their t is smoothed over the overlaps, and then they are
    restored and blended.

    Parameters
    ----------
    image : (H, W), (H, W, C) or (Z, H, W, C) uint8, uint16, or float in [0, 1]; list of planes
        of equal shape; PIL image; path. Both sides are at least 64 px. Channels may come first as
        well.
    method : str
        "rscd", or one of those that it is compared with: "ccdf" and "rrd", diffusion with a model
        of RSCD; "conditional", "noise2noise" and "cyclegan" with models of their own; "median" and
        "deep-image-prior" without any.
    model : str, Path or Model, optional
        A bundled name, a folder of weights, or a model loaded once for many images. By default
        the bundled model of RSCD for as many channels as are restored together.
    preset : str, optional
        Of rscd: "fast" (by default), "paper", "author_code", or an ablation (`histomend presets
        rscd`). Of conditional: "fast" or "paper".
    steps, sampler : optional
        Override those of the preset or the method.
    seed : int in [0, 2^63)
        The same seed gives the same values on the same machine's CPU with the same number of
        threads, whatever `batch` is.
    gain, offset, read_noise : float, optional
        What is known of the camera, in values of the file: those per photon, that of the dark, and
        the standard deviation of the noise there. Without a gain all are estimated from the image.
        For models of stabilised values only (`histomend.image.stabilise`).
    stabilise : "auto" or "none"
        Whether such models are shown stabilised values; "none" is the way of RSCD's paper.
    axes : str, optional
        The order of the axes, such as ZCYX, where it cannot be known.
    per_channel : bool, optional
        Restore each channel by itself, with a model of one. By default channels are restored
        together where they are the colours of a picture or a model for as many is named.
    mpp : float, optional
        Pixel size in um, if the file does not say or is wrong.
    region : (x, y, w, h), optional
        Part of all planes to work on and to return.
    device : "auto", "cpu", "cuda", "mps"
    batch : int
        Groups of tiles in flight.
    progress : True, or a function of (groups of tiles done, groups in all), optional
        True shows a bar on standard error, or a line every ten seconds without a terminal.

    Returns
    -------
    Result

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    """
    job = decide(
        "denoise", image, method=method, model=model, preset=preset, steps=steps, sampler=sampler,
        seed=seed, gain=gain, offset=offset, read_noise=read_noise, stabilise=stabilise,
        axes=axes, per_channel=per_channel, mpp=mpp, region=region, device=device, batch=batch,
    )  # fmt: skip
    return execute(job, progress=progress)


def upscale(
    image: ImageLike,
    *,
    scale: float | None = None,
    target_mpp: float | None = None,
    method: str = "histo-diffusion",
    model: ModelLike | None = None,
    preset: str | None = None,
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    generation: float = 1.0,
    colour: str | None = None,
    keep_control: bool = False,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    batch: int = 8,
    progress: Progress | None = None,
) -> Result:
    """Enlarge an RGB image.

    Histo-Diffusion's inference (the paper's Fig. 9): the image is enlarged by bicubic
    interpolation, cleaned by the restoration module, encoded, and its latent steers a diffusion,
    of which the result is decoded. What is larger than the model's window is denoised in windows
    whose predictions are averaged at every step, and encoded and decoded in tiles.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16 array, PIL image, path, or Image
        Of any size from which at least 64×64 px come out.
    scale : float in [1, 8]
    target_mpp : float
        Instead of `scale`: the pixel size to come out with, in um.
    method : "histo-diffusion", "bicubic", "lanczos", "rrdb-gan", "swinir-gan" or "published"
        Other than the default they do not sample; "published" is the network in a weight file of
        BSRGAN, Real-ESRGAN, ESRGAN or SwinIR.
    model : str, Path or a loaded model, optional
        A bundled name, a folder of weights, the published file, or a model loaded once.
    preset : "fast" (by default) or "paper"
    steps, sampler : optional
        Override those of the preset.
    seed : int in [0, 2^63)
    generation : float in [0, 1]
        The fidelity dial. 1 starts from pure noise. Below, the cleaned image's latent is noised
        to this share of the schedule and denoised from there, with as large a share of the steps,
        so that it keeps more of its structure the smaller the number is. 0 is the cleaned image
        itself: no diffusion, no autoencoder.
    colour : "difference", "wavelet", "adain" or "none", optional
        What the result takes of the cleaned image (`histomend.methods.colour`); in place of the
        preset's, which is "difference" of fast and "wavelet" of paper.
    keep_control : bool
        Also return the decoded control.
    mpp : float, optional
        Pixel size of the source in um, if the file does not say or is wrong.
    region : (x, y, w, h), optional
        Part of the image to enlarge; needed for whole-slide files.
    device : "auto", "cpu", "cuda", "mps"
    batch : int
        Units in flight; a field that is diffused is one.
    progress : True, or a function of (parts done, parts in all), optional
        True shows a bar on standard error, or a line every ten seconds without a terminal. A part
        is a tile that is cleaned, or a step of the diffusion.

    Returns
    -------
    Result

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    """
    job = decide(
        "upscale", image, scale=scale, target_mpp=target_mpp, method=method, model=model,
        preset=preset, steps=steps, sampler=sampler, seed=seed, generation=generation,
        colour=colour, keep_control=keep_control, mpp=mpp, region=region, device=device,
        batch=batch,
    )  # fmt: skip
    return execute(job, progress=progress)


def detect(
    image: ImageLike,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    classes: Sequence[str] | None = None,
    model: str | Path | Detector | None = None,
    thresholds: Thresholds | None = None,
) -> npt.NDArray[np.bool_]:
    """Find the artifacts of an image that may be restored.

    Parameters
    ----------
    image : (H, W, 3) array, PIL image, path, or Image
    mpp : float, optional
        Pixel size in um, if the file does not say or is wrong.
    region : (x, y, w, h), optional
    classes : sequence of str, optional
        Only artifacts of these classes (`histomend.masks.artifact_classes.ARTIFACTS`).
    model : str, Path or Detector, optional
        A detector by name or folder; the bundled one unless given.
    thresholds : Thresholds, optional
        Find them by these rules instead (`histomend.detect.threshold`), which know no classes.

    Returns
    -------
    (H, W) bool
        True where something was found. `find_artifacts` says what, and how sure it is.

    Raises
    ------
    InputError
    SettingError
        A class that does not exist, or classes with thresholds.
    """
    if thresholds is not None:
        from histomend.detect.threshold import detect as find

        if classes is not None or model is not None:
            raise SettingError(
                "Thresholds tell no classes and need no model: give one or the other."
            )
        source = picture_source(image, mpp=mpp, region=region)
        return find(source.values[0], mpp=source.mpp, thresholds=thresholds)
    from histomend.masks.artifact_classes import chosen_classes

    kinds = chosen_classes(classes)
    return find_artifacts(image, mpp=mpp, region=region, model=model).found.mask(kinds)


def find_artifacts(
    image: ImageLike,
    *,
    mpp: float | None = None,
    region: Region | None = None,
    model: str | Path | Detector | None = None,
    limits: Limits | None = None,
    device: str = "auto",
) -> Detection:
    """Find the artifacts of an image: each with its class, probability and area.

    Parameters
    ----------
    image, mpp, region, model
        See `detect`.
    limits : Limits, optional
        From when on something is reported; the detector's own unless given.
    device : "auto", "cpu", "cuda", "mps"

    Returns
    -------
    Detection
        `found` has the regions, masks and shares; `notices` is what should be known of it.

    Raises
    ------
    InputError
    """
    from histomend.detect.learned import detector_named, find

    source = picture_source(image, mpp=mpp, region=region)
    detector = detector_named(model, device)
    return find(
        source.values[0], mpp=source.mpp, detector=detector, limits=limits, where=source.where
    )


def sample_field(
    size: int, seed: int = 0, model: str | Path | Model | None = None, *, device: str = "auto"
) -> npt.NDArray[np.uint8]:
    """Return a (size, size, 3) uint8 field of tissue that a model made up, without any image.

    The model is one of "artifusion" or "latent-artifusion".
    """
    from histomend.methods import artifusion
    from histomend.methods.windows import to_uint8

    named = METHODS["artifusion"].default[3] if model is None else model
    loaded = named if isinstance(named, Model) else load_model(named, device)
    return to_uint8(artifusion.sample_field(size, seed, loaded))
