"""The methods that enlarge, by name: which model each needs."""

from __future__ import annotations

from pathlib import Path

from histomend.baselines.published import PublishedUpscaler, load_published
from histomend.diffusion.device import torch_device
from histomend.errors import ModelNotFoundError, SettingError
from histomend.models.loading import UPSCALER_METHOD
from histomend.models.upscaler import Upscaler, load_upscaler

METHOD, PUBLISHED = UPSCALER_METHOD, "published"
METHODS = (METHOD, "bicubic", "lanczos", PUBLISHED)


def upscaler_for(
    method: str, model: str | Path | Upscaler | PublishedUpscaler | None, device: str = "auto"
) -> Upscaler | PublishedUpscaler | None:
    """Load what a method needs; None where it needs nothing.

    Raises
    ------
    SettingError
        There is no such method, or a model is named for one that has none.
    ModelError
        None is named where one is needed, or it is of another kind, or damaged.
    """
    if method not in METHODS:
        raise SettingError(f"No method is called {method!r}. There are {', '.join(METHODS)}.")
    if method in ("bicubic", "lanczos"):
        if model is not None:
            raise SettingError(f"The method {method} has no model. Leave --model away.")
        return None
    if model is None:
        raise ModelNotFoundError(
            "No upscaler comes with Histomend yet. Name the folder that `histomend train control` "
            "wrote (RUN/model): --model FOLDER. Or enlarge without a model: --method lanczos."
            if method == METHOD
            else "Name the weight file that its authors published: --model FILE."
        )
    if method == PUBLISHED:
        if isinstance(model, PublishedUpscaler):
            return model
        if isinstance(model, Upscaler):
            raise SettingError("An upscaler of ours is no published one: leave --method away.")
        return load_published(Path(model), torch_device(device))
    if isinstance(model, PublishedUpscaler):
        raise SettingError(f"A published upscaler needs the method {PUBLISHED}.")
    return model if isinstance(model, Upscaler) else load_upscaler(model, device)
