"""Encoders in timm's format, in a folder or on the Hugging Face hub: UNI and many others.

Only the network's code is timm's. Weights are opened as tensors alone, since several of these
encoders are published as pickles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from histomend.errors import ModelNotFoundError, WeightsError
from histomend.evaluate.square_encoder import SquareEncoder
from histomend.models.checkpoints import tensors_in
from histomend.models.hub import download
from histomend.models.part import CONFIG
from histomend.models.weights import fill

_FILES = ("model.safetensors", "pytorch_model.bin")


def timm_encoder(timm: Any, weights: str | Path, device: torch.device) -> SquareEncoder:
    """Load an encoder that was saved in timm's format.

    Parameters
    ----------
    timm : module
    weights : str or Path
        A folder with config.json, and model.safetensors or pytorch_model.bin; or a name on the
        hub, which is downloaded unless it is in the local cache.

    Raises
    ------
    ModelNotFoundError
        There is neither such a folder nor such a name, or its licence must be agreed to first.
    WeightsError
        Config or weights are damaged, or of an arch that timm does not know.
    UnsafeWeightsError
        The weights are a pickle of more than tensors.
    """
    folder = Path(weights)
    if not folder.is_dir():
        folder = download(str(weights), "encoder", [CONFIG, *_FILES])
    elif not (folder / CONFIG).is_file():
        raise ModelNotFoundError(
            f"{folder} holds no encoder in timm's format: there is no {CONFIG} in it. Name a "
            "folder as it is downloaded from the Hugging Face hub, or the encoder's name there."
        )
    try:
        fields = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        arch = str(fields["architecture"])
        seen = fields.get("pretrained_cfg", fields)
        arguments = {**fields.get("model_args", {}), "num_classes": 0}
        side, mean, spread = int(seen["input_size"][-1]), *(list(seen[k]) for k in ("mean", "std"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise WeightsError(
            f"{folder / CONFIG} is not the config of an encoder in timm's format ({error!r}). "
            "Download it again."
        ) from error
    tensors = _without_classifier(_tensors(folder), seen.get("classifier"))
    if any(name.endswith(".ls1.gamma") for name in tensors):
        # The config of UNI does not say that its blocks have such scales.
        arguments.setdefault("init_values", 1e-5)
    try:
        network = timm.create_model(arch, pretrained=False, **arguments)
    except (RuntimeError, TypeError, ValueError) as error:
        raise WeightsError(
            f"timm {timm.__version__} cannot make the network {arch!r} of {folder / CONFIG} "
            f"({str(error).splitlines()[0]}). Update timm, or name another encoder."
        ) from error
    fill(network, tensors, str(weights))
    network.eval().requires_grad_(False).to(device)
    # A hub name, or the folder's own: not the whole path, which says nothing to others.
    name = str(weights) if not Path(weights).is_dir() else folder.name
    return SquareEncoder(network, side, mean, spread, int(network.num_features), device, name)


def _tensors(folder: Path) -> dict[str, Tensor]:
    for file in _FILES:
        if (folder / file).is_file():
            return tensors_in(folder / file)
    raise WeightsError(f"{folder} holds neither {' nor '.join(_FILES)}. Download it again.")


def _without_classifier(tensors: dict[str, Tensor], named: Any) -> dict[str, Tensor]:
    """Return the tensors of the features alone."""
    heads = tuple(f"{name}." for name in ([named] if isinstance(named, str) else named or []))
    return {name: value for name, value in tensors.items() if not name.startswith(heads)}
