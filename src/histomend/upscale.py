"""The front door of super-resolution: enlarge an image by any factor, and say how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import histomend
from histomend.baselines.published import PublishedUpscaler
from histomend.baselines.upscaling import bicubic, lanczos
from histomend.diffusion.path import FixedPath
from histomend.errors import SettingError, UnsupportedImageError
from histomend.image import Image, Intensity, as_image, pixels_sha256
from histomend.image.pixels import Region
from histomend.ledger import UpscaleRecord
from histomend.models.restoration import RestorationModule
from histomend.models.upscaler import Upscaler
from histomend.recipes.colour import check_colour_fix
from histomend.recipes.controlled import PRESET_COLOURS, controlled_sampling, times_for
from histomend.recipes.settings import Sampling
from histomend.recipes.upscale_methods import METHOD, Loaded, upscaler_for
from histomend.tiles.enlarge import (
    CLEANED,
    Steering,
    cleaned,
    deviation,
    in_tiles,
    resized_to,
    steered,
)
from histomend.tiles.field import make_tiles
from histomend.tiles.target import mpp_notices, name_of, scale_of, size_of

Pixels = npt.NDArray[Any]
# Side of the tiles that published upscalers see, in px of the source.
TILE = 128


@dataclass(frozen=True)
class UpscaleResult:
    """What `upscale` returns.

    Parameters
    ----------
    image : Image
        The enlarged one, with its pixel size where that of the source is known.
    control : (H, W, 3) uint8 or uint16, or None
        What the autoencoder makes of the cleaned image that steered the diffusion (the paper's
        Fig. 5), if it was asked for.
    record : UpscaleRecord
    """

    image: Image
    control: Pixels | None
    record: UpscaleRecord


@dataclass(frozen=True)
class UpscaleJob:
    """Everything decided before any pixel is computed.

    Parameters
    ----------
    source : Image
    scale : float
    size : (height, width)
        Of the result.
    method : str
    model : loaded, or None
        As `upscaler_for` gives it.
    sampling : Sampling or None
        None for methods that do not sample.
    times : list of int
        That the diffusion visits; empty without any.
    generation : float
    colour : str
    notices : tuple of str
    """

    source: Image
    scale: float
    size: tuple[int, int]
    method: str
    model: Loaded | None
    sampling: Sampling | None
    times: list[int]
    generation: float
    colour: str
    notices: tuple[str, ...]


def prepare(
    image: Any,
    *,
    scale: float | None = None,
    target_mpp: float | None = None,
    method: str = METHOD,
    model: str | Path | Loaded | None = None,
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    generation: float = 1.0,
    colour: str | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
) -> UpscaleJob:
    """Check everything and decide what would be done, without enlarging anything.

    Takes what `upscale` takes and raises what it raises.
    """
    if not 0 <= generation <= 1:
        raise SettingError(
            f"The generation is {generation:g}, but must lie between 0 (the cleaned image, no "
            "diffusion) and 1 (all of it)."
        )
    if colour is not None:
        check_colour_fix(colour)
    if method != METHOD and (steps, sampler, preset, generation) != (None, None, "fast", 1.0):
        raise SettingError(
            f"{method} does not sample. Leave --preset, --steps, --sampler and --generation away."
        )
    source = image if isinstance(image, Image) else as_image(image, mpp=mpp, region=region, least=1)
    factor = scale_of(source, scale, target_mpp)
    size = size_of(source, factor)
    where = name_of(source)
    if source.alpha is not None:
        raise UnsupportedImageError(
            f"{where}: the image has transparency (RGBA), of which no method knows how to enlarge "
            "it. Save it as RGB without transparency first."
        )
    loaded = upscaler_for(method, model, device)
    chosen, times = None, []
    notices = source.notices
    if isinstance(loaded, Upscaler):
        schedule = loaded.denoiser.schedule
        chosen = controlled_sampling(preset, loaded.config, schedule, steps, sampler)
        times = times_for(generation, chosen, schedule) if generation else []
    if isinstance(loaded, Upscaler | RestorationModule):
        notices = (*notices, *mpp_notices(source, factor, loaded.config.mpp))
    if isinstance(loaded, PublishedUpscaler) and factor != loaded.scale:
        raise SettingError(
            f"These published weights enlarge {loaded.scale} times and not otherwise; the scale "
            f"is {factor:g}. Use --scale {loaded.scale}, or another method."
        )
    if isinstance(loaded, PublishedUpscaler) and source.pixels.dtype != np.uint8:
        raise UnsupportedImageError(
            f"{where}: published upscalers take 8 bits per channel, the image has 16."
        )
    return UpscaleJob(
        source,
        factor,
        size,
        method,
        loaded,
        chosen,
        times,
        generation,
        colour or PRESET_COLOURS[preset],
        notices,
    )


def upscale(
    image: Any,
    *,
    scale: float | None = None,
    target_mpp: float | None = None,
    method: str = METHOD,
    model: str | Path | Loaded | None = None,
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    generation: float = 1.0,
    colour: str | None = None,
    keep_control: bool = False,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> UpscaleResult:
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
        BSRGAN, Real-ESRGAN or SwinIR.
    model : str, Path, or what `upscaler_for` gives
        A bundled name, a folder of weights, the published file, or a model loaded once.
    preset : "fast" or "paper"
    steps, sampler : optional
        Override those of the preset.
    seed : int in [0, 2^63)
    generation : float in [0, 1]
        The fidelity dial. 1 starts from pure noise. Below, the cleaned image's latent is noised
        to this share of the schedule and denoised from there, with as large a share of the steps,
        so that it keeps more of its structure the smaller the number is. 0 is the cleaned image
        itself: no diffusion, no autoencoder.
    colour : "difference", "wavelet", "adain" or "none", optional
        What the result takes of the cleaned image (`histomend.recipes.colour`); in place of the
        preset's, which is "difference" of fast and "wavelet" of paper.
    keep_control : bool
        Also return the decoded control.
    mpp : float, optional
        Pixel size of the source in um, if the file does not say or is wrong.
    region : (x, y, w, h), optional
        Part of the image to enlarge; needed for whole-slide files.
    device : "auto", "cpu", "cuda", "mps"
    progress : function of (parts done, parts in all), optional
        A part is a tile that is cleaned, or a step of the diffusion.

    Returns
    -------
    UpscaleResult

    Raises
    ------
    InputError, ModelError, ResourceError
        Before anything is computed; see `histomend.errors`.
    """
    if not 0 <= seed < 2**63:
        raise SettingError(f"The seed ({seed}) must be a whole number from 0 to 2^63 - 1.")
    job = prepare(
        image,
        scale=scale,
        target_mpp=target_mpp,
        method=method,
        model=model,
        preset=preset,
        steps=steps,
        sampler=sampler,
        generation=generation,
        colour=colour,
        mpp=mpp,
        region=region,
        device=device,
    )
    if keep_control and not job.times:
        raise SettingError(
            "There is no control latent without diffusion. Leave --control-out away, or use "
            f"{METHOD} with a generation above 0."
        )
    pixels, control, nfe = _enlarged(job, seed, keep_control, progress)
    enlarged = replace(
        job.source,
        pixels=pixels,
        mpp=None if job.source.mpp is None else job.source.mpp / job.scale,
        lossy=False,
    )
    return UpscaleResult(enlarged, control, _record(job, enlarged, seed, nfe))


def _enlarged(
    job: UpscaleJob, seed: int, keep_control: bool, progress: Callable[[int, int], None] | None
) -> tuple[Pixels, Pixels | None, int]:
    """Return the enlarged pixels, the decoded control, and the network calls."""
    source, model = job.source.pixels, job.model
    if model is None:
        enlarge = bicubic if job.method == "bicubic" else lanczos
        return enlarge(source, job.scale), None, 0
    published = isinstance(model, PublishedUpscaler)
    height, width = source.shape[:2] if published else job.size
    tiles = len(make_tiles(height, width, TILE if published else CLEANED))
    parts = tiles + max(0, len(job.times) - 1)
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, parts)

    if isinstance(model, PublishedUpscaler):
        intensity, enlarge_tile = Intensity.for_dtype(source.dtype), model

        def work(tile: Pixels) -> npt.NDArray[np.float32]:
            return intensity.encode(enlarge_tile(tile))

        return in_tiles(source, work, TILE, model.scale, advance), None, 0
    restoring = model if isinstance(model, RestorationModule) else model.restoration
    image = cleaned(resized_to(source, job.size), restoring, model.device, advance)
    if isinstance(model, RestorationModule) or job.sampling is None or not job.times:
        return image, None, 0
    schedule = model.denoiser.schedule
    steering = Steering(
        job.times,
        job.sampling.make_sampler(schedule, learned_variance=False),
        job.colour,
        source.shape[:2],
        model.config.gain,
        seed,
        keep_control,
    )
    pixels, control = steered(image, model, steering, advance)
    return pixels, control, FixedPath(job.times).nfe


def _record(job: UpscaleJob, enlarged: Image, seed: int, nfe: int) -> UpscaleRecord:
    source = job.source
    settings: dict[str, Any] = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    if isinstance(job.model, Upscaler):
        settings |= {
            "preset": None if job.sampling is None else job.sampling.preset,
            "times": job.times,
            "sampler": None if job.sampling is None else job.sampling.sampler,
            "generation": job.generation,
            "colour": job.colour,
            "gain": job.model.config.gain if job.colour == "difference" else None,
            "window": job.model.config.window,
            "device": str(job.model.device),
        }
    elif isinstance(job.model, RestorationModule):
        settings["device"] = str(job.model.device)
    return UpscaleRecord(
        histomend=histomend.__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        source={
            "name": None if source.source is None else source.source.name,
            "sha256": source.sha256,
            "pixels_sha256": pixels_sha256(source.pixels),
            "width": source.width,
            "height": source.height,
            "dtype": source.pixels.dtype.name,
            "mpp": source.mpp,
            "region": source.region,
        },
        output={
            "pixels_sha256": pixels_sha256(enlarged.pixels),
            "width": enlarged.width,
            "height": enlarged.height,
            "mpp": enlarged.mpp,
        },
        scale=job.scale,
        method=job.method,
        model=None if job.model is None else job.model.record(),
        settings=settings,
        seed=seed,
        nfe=nfe,
        deviation=deviation(source.pixels, enlarged.pixels),
        notices=job.notices,
    )
