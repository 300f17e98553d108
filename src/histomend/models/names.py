"""Models by name: bundled, in a folder, or on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from histomend.errors import ModelNotFoundError, UnsafeWeightsError
from histomend.models.hub import download, is_hub_name
from histomend.models.part import CONFIG, told_in

WEIGHTS = Path(__file__).parents[1] / "weights"


def bundled() -> list[str]:
    """Return the names of the models that come with the package."""
    return sorted(p.parent.name for p in WEIGHTS.glob(f"*/{CONFIG}"))


def locate(name_or_folder: str | Path) -> Path:
    """Return the folder of a model: bundled, the user's own, or on the hub.

    Parameters
    ----------
    name_or_folder : str or Path
        OWNER/NAME is looked for on the Hugging Face hub where there is no such folder, and
        OWNER/NAME@REVISION is a branch, a tag or a commit of it.

    Raises
    ------
    ModelNotFoundError
        If it is none of these.
    HubError
        If the hub cannot be reached.
    UnsafeWeightsError
        If a pickle (.pt, .pth, .ckpt, .bin) is named.
    """
    own = Path(name_or_folder)
    if own.suffix in {".pt", ".pth", ".ckpt", ".bin", ".pkl"}:
        raise UnsafeWeightsError(
            f"{own} is a pickle, which can run any code when it is opened. Histomend opens "
            "safetensors only. Convert it with safetensors.torch.save_file and name the folder."
        )
    if (WEIGHTS / str(name_or_folder) / CONFIG).is_file():
        return WEIGHTS / str(name_or_folder)
    if (own / CONFIG).is_file():
        return own
    if own.is_dir():
        raise ModelNotFoundError(
            f"The folder {own} holds no {CONFIG}, so it is not a model. Name the folder that "
            "`histomend train` wrote (RUN/model), or one downloaded from the hub."
        )
    if is_hub_name(name_or_folder):
        return download(str(name_or_folder), "model")
    raise ModelNotFoundError(
        f"No model is called {name_or_folder!r}: there is no such folder, and the bundled models "
        f"are {', '.join(bundled()) or 'none'}. Name one of them, a folder, or OWNER/NAME on the "
        "Hugging Face hub."
    )


def bundled_sampling(method: str, channels: int | None = None) -> dict[str, Any]:
    """Return how the bundled model of a method is sampled: `sampler` and `extra_noise`.

    They were chosen by measurement, so models that a user trains are sampled alike. Empty where
    no model of the method, for images of so many channels, is bundled.
    """
    for name in bundled():
        told = told_in(WEIGHTS / name)
        if told.get("method") == method and told.get("channels") == channels:
            return {key: told[key] for key in ("sampler", "extra_noise") if key in told}
    return {}
