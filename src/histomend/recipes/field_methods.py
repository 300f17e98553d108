"""The methods that restore whole fields, by name: which model each needs, and its settings."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from histomend.baselines.deep_image_prior import fresh_prior
from histomend.baselines.denoising import SIDE_PX
from histomend.errors import ModelMismatchError, ModelNotFoundError, SettingError
from histomend.models import Model, load_denoiser
from histomend.recipes.calibrated import calibrated_sampling
from histomend.recipes.settings import sampling as sampling_from_noise
from histomend.recipes.whole_field import (
    ByMedian,
    ByNoise2Noise,
    ByPrior,
    ByTranslation,
    RestoresTiles,
    by_calibration,
    by_condition,
    by_contraction,
)

METHODS = {
    "rscd": "rscd",
    "ccdf": "rscd",
    "rrd": "rscd",
    "conditional": "conditional",
    "noise2noise": "noise2noise",
    "cyclegan": "cyclegan",
    "median": None,
    "deep-image-prior": None,
}
"""Which kind of model each method needs, if any."""
# Methods that make no steps, or none of diffusion.
NO_STEPS = {"median", "noise2noise", "cyclegan"}
NO_SAMPLER = {*NO_STEPS, "deep-image-prior"}


# By channels of the image: grey, CH2 and CH3, RGB.
BUNDLED = {1: "rscd-fluo", 2: "rscd-srh-sim", 3: "rscd-he"}


def model_for(
    method: str,
    model: str | Path | Model | None,
    device: str = "auto",
    channels: int | None = None,
) -> Model | None:
    """Load the model for a method, and check that it is one.

    Parameters
    ----------
    model : str, Path or Model, optional
        Without it, methods of RSCD take the bundled one for the image.
    channels : int, optional
        Of the image, which say which bundled model that is.

    Returns
    -------
    Model or None
        None where the method needs none, or where the image is not known yet.

    Raises
    ------
    SettingError
        If there is no such method.
    ModelError
        If no model is named, or it is for another method, or damaged.
    """
    if method not in METHODS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHODS)}.")
    if METHODS[method] is None:
        if model is not None:
            raise SettingError(f"The method {method} has no model. Leave --model away.")
        return None
    if model is None and METHODS[method] == "rscd":
        return None if channels is None else _bundled(BUNDLED[channels], device)
    if model is None:
        raise ModelNotFoundError(
            f"No model for {method} comes with Histomend. Name a folder that `histomend train "
            f"{METHODS[method]}` wrote (RUN/model): --model FOLDER."
        )
    loaded = model if isinstance(model, Model) else load_denoiser(model, device)
    if loaded.config.method != METHODS[method]:
        raise ModelMismatchError(
            f"The model {loaded.name} is for {loaded.config.method}, and {method} needs one for "
            f"{METHODS[method]}. Choose another --model or --method."
        )
    return loaded


@lru_cache(maxsize=len(BUNDLED))
def _bundled(name: str, device: str) -> Model:
    """Load a bundled model once for all images of a call."""
    return load_denoiser(name, device)


def prepared(
    method: str,
    model: Model | None,
    *,
    channels: int,
    preset: str = "fast",
    steps: int | None = None,
    sampler: str | None = None,
    seed: int = 0,
) -> tuple[RestoresTiles, dict[str, Any]]:
    """Return a method that is ready to restore, and what a record says of its settings.

    Parameters
    ----------
    model : Model or None
        As `model_for` gives it.
    channels : int
        Of the image.

    Raises
    ------
    SettingError
        If the method has no such preset, steps or sampler.
    ModelMismatchError
        If the model lacks the calibrator that the preset asks.
    """
    if method not in ("rscd", "conditional") and preset != "fast":
        raise SettingError(
            f"The preset {preset} is one of rscd or conditional, and {method} has none: leave "
            "--preset away."
        )
    if (steps is not None and method in NO_STEPS) or (sampler is not None and method in NO_SAMPLER):
        raise SettingError(f"{method} has no such --steps or --sampler. Leave it away.")
    if model is None:
        if method == "median":
            return ByMedian(), {"side_px": SIDE_PX}
        prior = fresh_prior(channels, seed, steps)
        return ByPrior(prior, seed), {"steps": prior.steps}
    if method == "rscd":
        sampling = calibrated_sampling(preset, model.config, steps, sampler)
        return by_calibration(model, sampling), {
            "preset": preset,
            "sampler": sampling.sampler,
            "calls": sampling.calls,
        }
    if method == "conditional":
        chosen = sampling_from_noise(preset, model.config, steps, sampler)
        return by_condition(model.denoiser, chosen), {
            "preset": preset,
            "sampler": chosen.sampler,
            "steps": chosen.steps,
        }
    if method == "noise2noise":
        return ByNoise2Noise(model.denoiser.network), {}
    if method == "cyclegan":
        return ByTranslation(model.denoiser.network), {}
    restores = by_contraction(model, method, steps, sampler)
    return restores, {"steps": steps, "sampler": sampler or "ddpm"}
