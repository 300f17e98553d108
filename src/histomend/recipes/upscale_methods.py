"""The methods that enlarge, by name: which model each needs."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from histomend.baselines.published import PublishedUpscaler, load_published
from histomend.diffusion.device import torch_device
from histomend.errors import ModelMismatchError, ModelNotFoundError, SettingError
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.restoration import GANS, RestorationModule, load_restoration
from histomend.models.upscaler import Upscaler, load_upscaler

METHOD, PUBLISHED = UPSCALER_METHOD, "published"
INTERPOLATION = ("bicubic", "lanczos")
DEFAULT_MODEL = "histo-diffusion-he"
METHODS = (METHOD, *INTERPOLATION, *GANS, PUBLISHED)

Loaded: TypeAlias = "Upscaler | RestorationModule | PublishedUpscaler"


def upscaler_for(
    method: str, model: str | Path | Loaded | None, device: str = "auto"
) -> Loaded | None:
    """Load what a method needs, by default the bundled model; None where it needs nothing.

    Raises
    ------
    SettingError
        There is no such method, or a model is named for one that has none.
    ModelError
        None is named where one is needed, or it is of another kind, or damaged.
    """
    if method not in METHODS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHODS)}.")
    if method in INTERPOLATION:
        if model is not None:
            raise SettingError(f"The method {method} has no model. Leave --model away.")
        return None
    if model is None and method == METHOD:
        model = DEFAULT_MODEL
    if model is None:
        raise ModelNotFoundError(_where_from(method))
    loaded = _loaded(method, model, device) if isinstance(model, str | Path) else model
    if method_of(loaded) != method:
        raise ModelMismatchError(
            f"The model {loaded.name} is one of {method_of(loaded)}, and the method is {method}. "
            f"{_where_from(method)}"
        )
    return loaded


def method_of(model: Loaded) -> str:
    """Return the method that a loaded model belongs to."""
    if isinstance(model, RestorationModule):
        return model.config.method
    return PUBLISHED if isinstance(model, PublishedUpscaler) else METHOD


def _loaded(method: str, model: str | Path, device: str) -> Loaded:
    if method == PUBLISHED:
        return load_published(Path(model), torch_device(device))
    if method in GANS:
        return load_restoration(Path(model), torch_device(device))
    return load_upscaler(model, device)


def _where_from(method: str) -> str:
    """Return where a model of a method comes from."""
    if method == METHOD:
        return (
            f"Name the bundled {DEFAULT_MODEL}, or the folder that `histomend train control` wrote "
            "(RUN/model): --model FOLDER. Or enlarge without a model: --method lanczos."
        )
    if method in GANS:
        return (
            f"Name the folder that `histomend train {method}` wrote (RUN/model): --model FOLDER. "
            "None comes with Histomend."
        )
    return "Name the weight file that its authors published: --model FILE."
