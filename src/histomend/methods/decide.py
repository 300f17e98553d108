"""From an image and options to a job: what every method is given, opened and checked."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from histomend.errors import SettingError, UnsupportedImageError, display_name
from histomend.image.pixels import Region
from histomend.image.stabilise import CameraNoise
from histomend.image.stacks import Stack
from histomend.jobs.job import (
    DenoiseOptions,
    Job,
    Mask,
    Options,
    RestoreOptions,
    UpscaleOptions,
)
from histomend.methods import MAX_SHARE, MethodInfo, check_settings, method_named
from histomend.methods.colour import check_colour_fix
from histomend.methods.histo_diffusion import NO_CONTROL
from histomend.methods.loading import Loaded, ModelLike, model_for
from histomend.methods.where import LEARNED, Where
from histomend.models import Model
from histomend.slides.source import ArraySource, ImageLike, picture_source, stack_source
from histomend.tiles.output_size import scale_of, size_of

_log = logging.getLogger(__name__)


def decide(
    task: str,
    image: ImageLike,
    *,
    method: str | None = None,
    model: ModelLike | None = None,
    mpp: float | None = None,
    region: Region | None = None,
    **options: Any,
) -> Job:
    """Check everything and decide what would be done, without computing any pixel.

    Parameters
    ----------
    task : "restore", "denoise" or "upscale"
    image, method, model, mpp, region, options
        As the function of the task takes them, apart from `progress`.

    Returns
    -------
    Job
        `describe()` says what it is; `histomend.jobs.run.execute` carries it out.

    Raises
    ------
    InputError, ModelError, ResourceError
    """
    info = method_named(task, method)
    _check(info, options)
    opened = _OPEN[task](_Request(info, image, model, mpp, region), options)
    decided: Job = import_module(info.module).decide(
        opened.source, opened.model, opened.options, opened.mask
    )
    about, chosen = opened.source.about, opened.options
    repeats = {
        "preset": chosen.preset,
        "steps": chosen.steps,
        "sampler": chosen.sampler,
        "mpp": about.mpp,
        "region": about.region,
        **opened.repeats,
    }
    notices = (*about.notices, *decided.notices, *opened.notices)
    for notice in notices:
        _log.info("%s: %s", display_name(opened.source.where), display_name(notice))
    return replace(
        decided,
        repeats={name: value for name, value in repeats.items() if value is not None},
        notices=notices,
    )


@dataclass(frozen=True)
class _Request:
    """What a user named, apart from the options."""

    info: MethodInfo
    image: ImageLike
    model: ModelLike | None
    mpp: float | None
    region: Region | None

    def load(self, device: str, channels: int | None = None) -> Loaded | None:
        return model_for(self.info, self.model, device, channels)


@dataclass(frozen=True)
class _Opened:
    """What a method's `decide` is given, and what belongs into the record beside it."""

    source: ArraySource
    model: Loaded | None
    options: Options
    mask: Mask | None = None
    repeats: dict[str, Any] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def _check(info: MethodInfo, options: dict[str, Any]) -> None:
    """Check options, and put the method's own preset where none is named."""
    if options.get("preset") is None:
        options["preset"] = info.default_preset
    given = {"seed": 0, "batch": 1, "samples": 1, **options}
    if given["samples"] < 1 or given["batch"] < 1 or not 0 <= given["seed"] < 2**63:
        raise SettingError(
            f"samples={given['samples']} and batch={given['batch']} must be 1 or more, and the "
            f"seed ({given['seed']}) a whole number from 0 to 2^63 - 1."
        )
    check_settings(info, given["preset"], given.get("steps"), given.get("sampler"))


def _open_restore(request: _Request, options: dict[str, Any]) -> _Opened:
    info, mpp, region = request.info, request.mpp, request.region
    where = Where(
        options.pop("mask", None),
        options.pop("mask_classes", None),
        options.pop("detect", False),
        options.pop("max_share", MAX_SHARE),
        options.pop("detector", LEARNED),
    )
    source = picture_source(request.image, mpp=mpp, region=region)
    chosen = RestoreOptions(info.name, detected=where.detect, **options)
    loaded = request.load(chosen.device, source.channels)
    found, notices = where.find(source)
    return _Opened(source, loaded, chosen, found, {"samples": chosen.samples}, notices)


def _open_denoise(request: _Request, options: dict[str, Any]) -> _Opened:
    info, mpp, region = request.info, request.mpp, request.region
    axes, per_channel = options.pop("axes", None), options.pop("per_channel", None)
    known = {name: options.pop(name, None) for name in ("gain", "offset", "read_noise")}
    chosen = DenoiseOptions(info.name, camera=_camera(**known), **options)
    loaded = request.load(chosen.device)
    channels = loaded.config.channels if isinstance(loaded, Model) else None
    source = stack_source(
        request.image, channels=channels, axes=axes, mpp=mpp, region=region, per_channel=per_channel
    )
    if loaded is None:
        loaded = request.load(chosen.device, source.channels)
    stabilise = None if chosen.stabilise == "auto" else chosen.stabilise
    repeats = {"axes": axes, "per_channel": per_channel, "stabilise": stabilise, **known}
    return _Opened(source, loaded, chosen, repeats=repeats, notices=_why(source, request, loaded))


def _why(source: ArraySource, request: _Request, loaded: Loaded | None) -> tuple[str, ...]:
    """Say why this bundled model was taken for an image of several channels."""
    axes = source.about.axes if isinstance(source.about, Stack) else None
    if request.model is not None or loaded is None or axes is None or axes.channels == 1:
        return ()
    if axes.grey or axes.apart:
        raman = "; for CH2 and CH3 of Raman name rscd-srh-sim" if axes.channels == 2 else ""
        return (f"the model is {loaded.name}, which is for one channel{raman} (--model)",)
    return (f"the model is {loaded.name}, for the colours of a picture (--model, --per-channel)",)


def _camera(
    gain: float | None, offset: float | None, read_noise: float | None
) -> CameraNoise | None:
    if gain is None:
        if offset is None and read_noise is None:
            return None
        raise SettingError(
            "--offset and --read-noise say nothing without --gain, the values of the file that "
            "one photon is. Name it as well, or leave all three away to have them estimated."
        )
    return CameraNoise(gain, offset or 0.0, read_noise or 0.0)


def _open_upscale(request: _Request, options: dict[str, Any]) -> _Opened:
    info, mpp, region = request.info, request.mpp, request.region
    scale, target_mpp = options.pop("scale", None), options.pop("target_mpp", None)
    generation, colour = options.get("generation", 1.0), options.get("colour")
    if not 0 <= generation <= 1:
        raise SettingError(
            f"The generation is {generation:g}, but must lie between 0 (the cleaned image, no "
            "diffusion) and 1 (all of it)."
        )
    if colour is not None:
        check_colour_fix(colour)
    if not info.sampler and generation != 1:
        raise SettingError(f"{info.name} does not sample. Leave --generation away.")
    if options.get("keep_control") and not info.sampler:
        raise SettingError(NO_CONTROL)
    source = picture_source(request.image, mpp=mpp, region=region, least=1)
    factor = scale_of(source, scale, target_mpp)
    size = size_of(source, factor)
    if source.about.alpha is not None:
        raise UnsupportedImageError(
            f"{source.where}: the image has transparency (RGBA), of which no method knows how to "
            "enlarge it. Save it as RGB without transparency first."
        )
    chosen = UpscaleOptions(info.name, scale=factor, size=size, **options)
    loaded = request.load(chosen.device, source.channels)
    repeats = {"scale": factor, "generation": generation, "colour": colour}
    return _Opened(source, loaded, chosen, repeats=repeats)


_OPEN = {"restore": _open_restore, "denoise": _open_denoise, "upscale": _open_upscale}
