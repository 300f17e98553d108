"""Tensors out of a model of TensorFlow.js: `model.json`, and files of numbers beside it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from histomend.errors import WeightsError
from histomend.image.regular_files import MOST_SETTINGS, read_at_most, read_text

_MOST_WEIGHTS = 1 << 32


def model_in(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the layers of a Keras model, kinds by name, and its tensors by name.

    Parameters
    ----------
    path : Path
        `model.json`. Its other files must lie beside it.

    Returns
    -------
    dict of str
        "Conv2D" and the like, by the names of layers, in their order.
    dict of Tensor
        As they are stored: kernels are (K, K, I, O).

    Raises
    ------
    WeightsError
        A file is missing or damaged, or tensors are not stored as floats of 32 bits.
    """
    try:
        told = json.loads(read_text(path, MOST_SETTINGS, WeightsError, "a weights"))
        layers = told["modelTopology"]["model_config"]["config"]["layers"]
        kinds = {str(layer["config"]["name"]): str(layer["class_name"]) for layer in layers}
        tensors: dict[str, Tensor] = {}
        for group in told["weightsManifest"]:
            tensors |= _group(group, path)
    except (KeyError, TypeError, ValueError, IndexError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged or no model of TensorFlow.js with its layers "
            f"({type(error).__name__}: {error}). Copy or download the folder again."
        ) from error
    return kinds, tensors


def _group(group: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """Return the tensors of files that are one after cutting."""
    parts = []
    for name in group["paths"]:
        if Path(name).name != name:
            raise ValueError(f"it names a file elsewhere, {name!r}")
        parts.append(read_at_most(path.parent / name, _MOST_WEIGHTS, WeightsError, "a weights"))
    data, at, found = b"".join(parts), 0, {}
    for told in group["weights"]:
        if told["dtype"] != "float32" or "quantization" in told:
            raise ValueError(f"{told['name']} is not stored as floats of 32 bits")
        shape = tuple(int(side) for side in told["shape"])
        values = np.frombuffer(data, "<f4", math.prod(shape), at)
        at += values.nbytes
        found[str(told["name"])] = torch.from_numpy(values.reshape(shape).copy())
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes belong to no tensor")
    return found
