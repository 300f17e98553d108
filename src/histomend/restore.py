"""The front door: restore what is masked in an image, and account for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as PilImage

from histomend.diffusion.denoiser import TiledDenoiser
from histomend.diffusion.loop import sample
from histomend.diffusion.noise import NoiseField, NoiseStream, further_seed
from histomend.diffusion.path import FixedPath
from histomend.errors import MaskError, ModelMismatchError, ModelNotFoundError, SettingError
from histomend.image import Image, as_image
from histomend.image.pixels import Region
from histomend.ledger import Ledger, build_ledger
from histomend.masks import check_mask, read_mask
from histomend.models import Model, bundled, load_model
from histomend.recipes.regional import Regional
from histomend.recipes.settings import sampling
from histomend.tiles.joining import COPIED_NOTICE, deviation, join
from histomend.tiles.plan import Window, make_plan
from histomend.tiles.run import run_plan, window_threads
from histomend.tiles.surround import mark_bare
from histomend.tiles.window import Job, Trace, sample_window, to_uint8, write_window

DEFAULT_MODELS = {"artifusion": "artifusion-he", "latent-artifusion": "latent-artifusion-he"}
METHODS = tuple(DEFAULT_MODELS)
DEFAULT_MODEL = DEFAULT_MODELS["artifusion"]
# Pixel sizes that differ by more than this are bridged by resampling.
MPP_TOLERANCE = 0.3


@dataclass(frozen=True)
class Result:
    """What `restore` returns.

    Parameters
    ----------
    image : Image
        The restored image: outside the mask, pixel for pixel the source.
    mask : (H, W) bool
        What was restored.
    uncertainty : (H, W) float32 or None
        Standard deviation of the samples' pixel values, mean over channels, as a fraction of
        the file type's range; 0 outside the mask. None for a single sample.
    ledger : Ledger
    source : Image
    """

    image: Image
    mask: npt.NDArray[np.bool_]
    uncertainty: npt.NDArray[np.float32] | None
    ledger: Ledger
    source: Image


def default_model(method: str) -> str:
    """Return the name of the bundled model of a method.

    Raises
    ------
    SettingError
        If there is no such method.
    ModelNotFoundError
        If none is bundled.
    """
    check_method(method)
    usual = DEFAULT_MODELS[method]
    if usual not in bundled():
        raise ModelNotFoundError(
            f"No model for {method} comes with Histomend yet. Name the folder that `histomend "
            f"train {method}` wrote (RUN/model): --model FOLDER."
        )
    return usual


def check_method(method: str) -> None:
    """Refuse what is not a method of restoring regions.

    Raises
    ------
    SettingError
    """
    if method not in DEFAULT_MODELS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHODS)}.")


def prepare(
    image: Any,
    mask: Any = None,
    *,
    detect: bool = False,
    method: str = "artifusion",
    model: str | Path | Model | None = None,
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
) -> Job:
    """Check everything and decide what would be done, without sampling anything.

    Takes what `restore` takes and raises what it raises.
    """
    check_method(method)
    if (mask is None) == (not detect):
        raise MaskError(
            "Say what is to be restored: either a mask (--mask FILE, white = restore), or "
            "--detect to find artifacts by thresholds" + ("." if mask is None else ", not both.")
        )
    source = image if isinstance(image, Image) else as_image(image, mpp=mpp, region=region)
    loaded = (
        model if isinstance(model, Model) else load_model(model or default_model(method), device)
    )
    config = loaded.config
    if config.method != method or config.channels != 3:
        raise ModelMismatchError(
            f"The model {loaded.name} is for {config.method} on {config.channels} channels, not "
            f"for {method} on RGB. Choose another --model or --method."
        )
    chosen = sampling(preset, config, steps, sampler)
    shape = source.pixels.shape[:2]
    if mask is None:
        from histomend.detect.threshold import detect as detect_artifacts

        found = detect_artifacts(source.pixels, mpp=source.mpp)
    else:
        found = _mask(mask, (shape[0], shape[1]), source.region)
    scale, notices = _scale(source, config.mpp)
    plan = make_plan(found, config.window, scale, config.factor)
    plan = mark_bare(plan, source.pixels, found)
    bare = sum(window.bare for window in plan.windows)
    if bare:
        notices = (
            *notices,
            f"{bare} of {len(plan.windows)} windows show nothing but bare glass around the mask: "
            "they are filled smoothly, without the model, so that no tissue is invented there.",
        )
    if detect and not found.any():
        notices = (*notices, "No artifact was found: the image is returned as it is.")
    return Job(source, found, loaded, chosen, plan, (*source.notices, *notices))


def restore(
    image: Any,
    mask: Any = None,
    *,
    detect: bool = False,
    method: str = "artifusion",
    model: str | Path | Model | None = None,
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
    samples: int = 1,
    mpp: float | None = None,
    region: Region | None = None,
    device: str = "auto",
    batch: int = 8,
    progress: Callable[[int, int], None] | None = None,
    trace: Trace | None = None,
) -> Result:
    """Restore the masked part of an H&E image; nothing else changes.

    Parameters
    ----------
    image : (H, W, 3) uint8 or uint16 array, PIL image, path, or Image
        At least 64×64.
    mask : (H, W) array, PIL image or path (PNG, TIFF, GeoJSON), optional
        True (white) where the image is to be restored.
    detect : bool
        Find the artifacts by thresholds, in place of a mask.
    method : "artifusion" or "latent-artifusion"
        Diffusion on the pixels, or in the latent space of an autoencoder.
    model : str, Path or Model, optional
        A bundled name, a folder of weights, or a model loaded once for many images; by default
        the bundled one of the method.
    preset : "fast", "exemplar", "paper" or "author_code"
        "exemplar" copies tissue of the same image into the mask and lets the model join it; the
        record says where each pixel came from. "author_code" is for "artifusion" only.
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
    progress : function of (network calls done, network calls in all), optional
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
    if samples < 1 or batch < 1 or not 0 <= seed < 2**63:
        raise SettingError(
            f"samples={samples} and batch={batch} must be 1 or more, and the seed ({seed}) a "
            "whole number from 0 to 2^63 - 1."
        )
    job = prepare(
        image,
        mask,
        detect=detect,
        method=method,
        model=model,
        preset=preset,
        steps=steps,
        sampler=sampler,
        mpp=mpp,
        region=region,
        device=device,
    )
    pixels = job.source.pixels.copy()
    spread = np.zeros(job.mask.shape, np.float32) if samples > 1 else None

    calls = describe(job, samples)["nfe"]
    done = 0
    lock = threading.Lock()

    def called() -> None:
        nonlocal done
        with lock:
            done += 1
            if progress is not None:
                progress(done, calls)

    def work(window: Window) -> int:
        drawn = [
            sample_window(
                job, window, pixels, further_seed(seed, k), called, trace if k == 0 else None
            )
            for k in range(samples)
        ]
        write_window(job, window, pixels, spread, [values for values, _ in drawn])
        return sum(nfe for _, nfe in drawn)

    provenance: dict[str, Any] | None = None
    notices = job.notices
    if job.sampling.joins:
        fillings = [
            join(
                job,
                further_seed(seed, k),
                batch=batch,
                called=called,
                trace=trace if not k else None,
            )
            for k in range(samples)
        ]
        pixels, provenance = fillings[0].pixels, fillings[0].provenance.record()
        spread = deviation(job, [filling.pixels for filling in fillings])
        nfe = sum(filling.nfe for filling in fillings)
        notices = (*notices, COPIED_NOTICE, *fillings[0].notices)
    else:
        nfe = run_plan(job.plan, work, device=job.model.device, batch=batch)
    restored = replace(job.source, pixels=pixels)
    ledger = build_ledger(
        source=job.source,
        restored=pixels,
        mask=job.mask,
        method=method,
        model=job.model.record(),
        settings={
            "preset": job.sampling.preset,
            "steps": job.sampling.steps,
            "sampler": job.sampling.sampler,
            "extra_noise": job.sampling.extra_noise,
            "context": job.sampling.context and job.model.config.context,
            "jump_length": job.sampling.jump_length if job.sampling.jumps > 1 else None,
            "jumps": job.sampling.jumps,
            "start": job.sampling.start,
            "samples": samples,
            "detected": detect,
            "scale": job.plan.scale,
            "model_mpp": job.model.config.mpp,
            "device": str(job.model.device),
            "threads": window_threads(job.plan),
            "torch": torch.__version__,
        },
        seed=seed,
        nfe=nfe,
        windows=[window.record() for window in job.plan.windows],
        uncertainty=spread,
        notices=notices,
        provenance=provenance,
    )
    return Result(restored, job.mask, spread, ledger, job.source)


def describe(job: Job, samples: int = 1) -> dict[str, Any]:
    """Return what a job would do, for `--dry-run`."""
    per_sample = job.sampling.nfe(job.model.config.noise_schedule())
    return {
        "width": job.source.width,
        "height": job.source.height,
        "mpp": job.source.mpp,
        "masked_px": int(job.mask.sum()),
        "masked_fraction": float(job.mask.mean()),
        "method": job.model.config.method,
        "model": job.model.name,
        "preset": job.sampling.preset,
        "steps": job.sampling.steps,
        "sampler": job.sampling.sampler,
        "scale": job.plan.scale,
        "windows": [window.record() for window in job.plan.windows],
        "nfe_per_window": per_sample,
        "nfe": per_sample * samples * sum(not window.bare for window in job.plan.windows),
        "notices": list(job.notices),
    }


def sample_field(
    size: int, seed: int = 0, model: str | Path | Model = DEFAULT_MODEL, *, device: str = "auto"
) -> npt.NDArray[np.uint8]:
    """Return a (size, size, 3) uint8 field of tissue that the model made up, without any image."""
    loaded = model if isinstance(model, Model) else load_model(model, device)
    config = loaded.config
    chosen = sampling("fast", config)
    cells = -(-size // config.factor)
    known = torch.zeros(1, config.x_channels, cells, cells, device=loaded.device)
    schedule = config.noise_schedule()
    recipe = Regional(known, torch.ones_like(known[:, :1]), schedule, context=config.context)
    side = config.window // config.factor
    tiled = TiledDenoiser(loaded.denoiser, side, side // 4)
    x = sample(
        tiled,
        recipe,
        FixedPath(chosen.times(schedule)),
        chosen.make_sampler(schedule, config.learned_variance),
        NoiseStream([NoiseField(seed)], [(0, 0)]),
        schedule,
    ).x
    with torch.inference_mode():
        return to_uint8(loaded.space.decode(x)[..., :size, :size])


def _mask(mask: Any, shape: tuple[int, int], region: Region | None) -> npt.NDArray[np.bool_]:
    if isinstance(mask, str | Path):
        # Annotations of a slide are in the slide's own coordinates.
        origin = region[:2] if region is not None else (0, 0)
        return check_mask(read_mask(Path(mask), shape, origin=origin), shape)
    if isinstance(mask, PilImage.Image):
        mask = np.asarray(mask.convert("L")) > 127
    return check_mask(mask, shape)


def _scale(source: Image, model_mpp: float) -> tuple[float, tuple[str, ...]]:
    if source.mpp is None:
        return 1.0, (
            f"The image does not say its pixel size; it is taken to be the model's, {model_mpp:g} "
            "um. Name it with --mpp if it is another.",
        )
    ratio = source.mpp / model_mpp
    if 1 / (1 + MPP_TOLERANCE) <= ratio <= 1 + MPP_TOLERANCE:
        return 1.0, ()
    return ratio, (
        f"The image has {source.mpp:g} um per pixel and the model {model_mpp:g}: what is restored "
        "is resampled to the model's pixel size and back.",
    )
