"""The model of a method: the one that was named, or the bundled one."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from histomend.baselines.published import PublishedUpscaler, load_published
from histomend.diffusion.device import torch_device
from histomend.errors import ModelMismatchError, ModelNotFoundError, SettingError
from histomend.methods import MethodInfo
from histomend.models import Model, bundled, load_denoiser
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.restoration import GANS, RestorationModule, load_restoration
from histomend.models.upscaler import Upscaler, load_upscaler

Loaded: TypeAlias = "Model | Upscaler | RestorationModule | PublishedUpscaler"
ModelLike: TypeAlias = "str | Path | Loaded"
PUBLISHED = "published"


def model_for(
    info: MethodInfo,
    model: ModelLike | None,
    device: str = "auto",
    channels: int | None = None,
) -> Loaded | None:
    """Load the model for a method, and check that it is one.

    Parameters
    ----------
    model : str, Path or a loaded model, optional
        Without it the bundled one is taken.
    channels : int, optional
        Of the image, where the method has a model for each number of them.

    Returns
    -------
    The loaded model, or None
        None where the method needs none, or where which one it is depends on the image.

    Raises
    ------
    SettingError
        A model was named for a method that has none.
    ModelError
        No model is named where one is needed, or it is for another method, or damaged.
    """
    if info.model is None:
        if model is not None:
            raise SettingError(f"The method {info.name} has no model. Leave --model away.")
        return None
    if model is None and info.default:
        if channels is None and len(info.default) > 1:
            return None
        name = info.default.get(channels or 0) or info.default[max(info.default)]
        if name not in bundled():
            raise ModelNotFoundError(
                f"No model for {info.name} comes with Histomend yet. Name {info.origin}."
            )
        return _bundled(info.model, name, device)
    if model is None:
        raise ModelNotFoundError(
            f"No model for {info.name} comes with Histomend. Name {info.origin}."
        )
    loaded = _load(info.model, model, device) if isinstance(model, str | Path) else model
    found = kind_of(loaded)
    if found != info.model:
        raise ModelMismatchError(
            f"The model {loaded.name} is for {found}, and {info.name} needs one for {info.model}. "
            f"Choose another --method, or name {info.origin}."
        )
    return loaded


def kind_of(model: Loaded) -> str:
    """Return the kind of a loaded model, as `MethodInfo.model` names it."""
    if isinstance(model, PublishedUpscaler):
        return PUBLISHED
    return UPSCALER_METHOD if isinstance(model, Upscaler) else model.config.method


def _load(kind: str, model: str | Path, device: str) -> Loaded:
    if kind == PUBLISHED:
        return load_published(Path(model), torch_device(device))
    if kind in GANS:
        return load_restoration(Path(model), torch_device(device))
    return load_upscaler(model, device) if kind == UPSCALER_METHOD else load_denoiser(model, device)


@lru_cache(maxsize=4)
def _bundled(kind: str, name: str, device: str) -> Loaded:
    """Load a bundled model once for all images of a call."""
    return _load(kind, name, device)
