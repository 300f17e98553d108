"""Convolutions out of ncnn's files: a text that lists the layers, and their weights in order.

The format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. Only what an
RRDBNet needs is read; no library is asked, since ncnn's has no way to hand weights out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from histomend.errors import WeightsError
from histomend.image.regular_files import MOST_SETTINGS, read_at_most, read_text

MAGIC = "7767517"
# Before the weights of each layer: how they are stored. Others are quantised.
_FLOAT32, _FLOAT16 = 0, 0x01306B47
_MOST_WEIGHTS = 1 << 32
# Parameters of a convolution by their numbers.
_CHANNELS, _SIDE, _BIAS, _COUNT, _ACTIVATION, _SLOPE = "0", "1", "5", "6", "9", "-23310"
_LEAKY = "2"


@dataclass(frozen=True)
class Convolution:
    """A convolution of a file.

    Parameters
    ----------
    weight : (O, I, K, K) Tensor
    bias : (O,) Tensor
    slope : float, optional
        Of the leaky ReLU that follows it; None without one.
    """

    weight: Tensor
    bias: Tensor
    slope: float | None


def layers_in(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the kinds of all layers in their order, each with its parameters by number.

    Parameters
    ----------
    path : Path
        The text, `NAME.param`.

    Raises
    ------
    WeightsError
        It is missing, damaged or something else.
    """
    try:
        lines = read_text(path, MOST_SETTINGS, WeightsError, "a weights").split("\n")
        if lines[0].strip() != MAGIC:
            raise ValueError("it does not begin with ncnn's number")
        count = int(lines[1].split()[0])
        layers = [_layer(line.split()) for line in lines[2:] if line.strip()]
        if len(layers) != count:
            raise ValueError(f"it has {len(layers)} layers and not {count}")
    except (ValueError, IndexError) as error:
        raise WeightsError(
            f"{path} is damaged or no text of ncnn ({error}). Copy or download it again."
        ) from error
    return layers


def _layer(words: list[str]) -> tuple[str, dict[str, str]]:
    inputs, outputs = int(words[2]), int(words[3])
    pairs = [word.partition("=") for word in words[4 + inputs + outputs :]]
    return words[0], {number: value for number, _, value in pairs}


def convolutions_in(path: Path) -> list[Convolution]:
    """Return the convolutions of a network in the order in which they are called.

    Parameters
    ----------
    path : Path
        The text, `NAME.param`; the weights are in `NAME.bin` beside it.

    Raises
    ------
    WeightsError
        One of the files is missing or damaged, or weights are stored in another way than as floats
        of 32 or 16 bits.
    """
    layers = [settings for kind, settings in layers_in(path) if kind == "Convolution"]
    weights = path.with_suffix(".bin")
    data = read_at_most(weights, _MOST_WEIGHTS, WeightsError, "a weights")
    found, at = [], 0
    try:
        for settings in layers:
            channels, side, count = (int(settings[key]) for key in (_CHANNELS, _SIDE, _COUNT))
            values, at = _stored(data, at, count)
            bias = np.frombuffer(data, "<f4", channels, at)
            at += bias.nbytes
            weight = values.reshape(channels, -1, side, side)
            found.append(Convolution(_tensor(weight), _tensor(bias), _slope(settings)))
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes belong to no layer")
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsError(
            f"{weights} does not fit {path.name} ({error}). Copy or download both again."
        ) from error
    return found


def _stored(data: bytes, at: int, count: int) -> tuple[np.ndarray, int]:
    """Return the values at a place, and the place after them."""
    flag = int(np.frombuffer(data, "<u4", 1, at)[0])
    if flag not in {_FLOAT32, _FLOAT16}:
        raise ValueError(f"weights are stored in way {flag:#x}, neither in 32 nor in 16 bits")
    values = np.frombuffer(data, "<f4" if flag == _FLOAT32 else "<f2", count, at + 4)
    return values, at + 4 + -(-values.nbytes // 4) * 4


def _slope(settings: dict[str, str]) -> float | None:
    if settings.get(_BIAS) != "1":
        raise ValueError("a convolution has no bias")
    if _ACTIVATION not in settings:
        return None
    if settings[_ACTIVATION] != _LEAKY:
        raise ValueError("a convolution is followed by something else than a leaky ReLU")
    return float(settings[_SLOPE].split(",")[1])


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))
