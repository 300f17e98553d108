"""Checkpoints of others, which are pickles: opened without running anything that is in them.

`torch.load(weights_only=True)` builds tensors and plain containers alone. RSCD's authors saved
their calibrator as a whole module, which names some twenty classes besides; each of those that are
known gets a stand-in that keeps its attributes and does nothing, so that the tensors can be read
off. No class of the file is imported, and a file that names any other class is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from histomend.errors import UnsafeWeightsError, WeightsError
from histomend.models.weights import is_pickle, read_tensors

# Classes that a whole module of the authors may name: everything from these modules ...
_KNOWN_MODULES = ("torch.nn.modules.", "transformers.models.resnet.")
# ... and the module itself, wherever it was defined when it was saved.
_KNOWN_CLASSES = ("TClassifier",)
# What state dicts are often wrapped in; a running average of the weights comes first.
_WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model", "desc")
_EXPORT = (
    "In the authors' environment, where it was made and if you trust it, save its tensors alone: "
    'torch.save(torch.load("FILE", map_location="cpu", weights_only=False).state_dict(), '
    '"tensors.pt"). Then use tensors.pt.'
)


class _Inert:
    """Keeps the attributes of an object whose class is not imported."""


def tensors_in(path: Path) -> dict[str, Tensor]:
    """Return the tensors in a checkpoint by their names in it.

    Parameters
    ----------
    path : Path
        What torch.save wrote: a state dict, also one level down, or a whole module of known
        classes. Or safetensors.

    Raises
    ------
    UnsafeWeightsError
        If it cannot be opened without importing classes that are not known.
    WeightsError
        If it is missing or damaged, or holds no tensors.
    """
    if not is_pickle(path):
        return read_tensors(path)
    tensors = _opened(path)
    if isinstance(tensors, dict):
        tensors = next((tensors[name] for name in _WRAPPERS if name in tensors), tensors)
    if isinstance(tensors, _Inert):
        try:
            tensors = _tensors_of_module(tensors)
        except (AttributeError, RecursionError, TypeError) as error:
            raise _damaged(path, error) from error
    if not isinstance(tensors, dict) or not tensors:
        raise WeightsError(f"{path} holds no tensors by name. {_EXPORT}")
    named = {name: value for name, value in tensors.items() if isinstance(name, str)}
    if len(named) < len(tensors):
        other = next(name for name in tensors if name not in named)
        raise WeightsError(f"{path} holds something under {other!r}, which is no name. {_EXPORT}")
    found = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if len(found) < len(tensors):
        other = next(name for name in tensors if name not in found)
        raise WeightsError(f"{path} holds {other!r}, which is no tensor. {_EXPORT}")
    return found


def _opened(path: Path) -> Any:
    named: list[str] = []
    try:
        # Files from before PyTorch 1.6 are no archives, and their classes cannot be listed.
        if zipfile.is_zipfile(path):
            named = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        unknown = [name for name in named if not _is_known(name)]
        if unknown:
            raise UnsafeWeightsError(
                f"{path} is a pickle that needs {unknown[0]}, which Histomend does not import: "
                f"it could run any code. {_EXPORT}"
            )
        with torch.serialization.safe_globals([_stand_in(name) for name in named]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnsafeWeightsError:
        raise
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise UnsafeWeightsError(
            f"{path} cannot be opened as tensors alone ({reason}), and Histomend opens no pickle "
            f"otherwise: it could run any code. {_EXPORT}"
        ) from error
    except Exception as error:  # A damaged pickle breaks its reader in any way it likes.
        raise _damaged(path, error) from error


def _is_known(name: str) -> bool:
    return name.startswith(_KNOWN_MODULES) or name.rpartition(".")[2] in _KNOWN_CLASSES


def _stand_in(name: str) -> type[_Inert]:
    module, _, own = name.rpartition(".")
    return type(own, (_Inert,), {"__module__": module})


def _tensors_of_module(module: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return what `state_dict` of the module would."""
    held = {**module._parameters, **module._buffers}
    tensors = {f"{prefix}{name}": value for name, value in held.items() if value is not None}
    for name, child in module._modules.items():
        if child is not None:
            tensors |= _tensors_of_module(child, f"{prefix}{name}.")
    return tensors


def _damaged(path: Path, error: Exception) -> WeightsError:
    return WeightsError(
        f"{path} is damaged or not a checkpoint of PyTorch ({type(error).__name__}: {error}). Copy "
        "or download it again."
    )
