"""RSCD's published step calibrator, converted to a calibrator's folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from histomend.errors import WeightsError
from histomend.models.calibrator import CalibratorConfig, house_time, save_calibrator
from histomend.models.checkpoints import tensors_in
from histomend.models.weights import fill, weights_sha256

# Largest index of time that the authors' training draws.
AUTHORS_HIGHEST = 500.0
# Names of transformers' ResNet -> torchvision's, which ours has. Both count differently.
_STAGE = r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
_PARTS = {"convolution": ("conv", "0"), "normalization": ("bn", "1")}


def convert_calibrator(source: Path, out: Path) -> CalibratorConfig:
    """Convert the authors' calibrator, and return the config with its hash.

    What it tells is an index of the authors' schedule; the calibrator in `out` tells the t of our
    cosine schedule at which an image is as noisy (`house_time`).

    Parameters
    ----------
    source : Path
        Their checkpoint, a whole module, or its state dict; the ResNet's tensors named as
        transformers or as torchvision names them, the head's ``head.0`` and ``head.2``.
    out : Path
        Folder to write to.

    Raises
    ------
    UnsafeWeightsError, WeightsError
        See `tensors_in`; also if tensors are missing, unknown or of another shape.

    Notes
    -----
    The published class adds 1 to the head's output, an earlier one does not, and the weights do
    not say for which of them they were trained: t of an earlier one is told one step too large.
    """
    tensors = house_names(tensors_in(source))
    config = CalibratorConfig(
        "paper",
        channels=2,
        author_code=True,
        card={
            "source": f"{source.name}, converted",
            "source_sha256": weights_sha256([source]),
            "data": "by RSCD's authors on stimulated Raman histology; see their paper",
            "licence": "the authors' code is under MIT; ask them about the weights",
        },
    )
    highest = float(house_time(torch.tensor([AUTHORS_HIGHEST]), config))
    config = replace(config, highest_t=round(highest))
    with torch.device("meta"):
        network = config.network()
    network.to_empty(device="cpu")
    fill(network, tensors, str(source))
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{source} holds weights that are no numbers. Copy it again.")
    return save_calibrator(out, network.state_dict(), config)


def house_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of a ResNet-50 with a head under the names of `ResNetCalibrator`.

    Names that are neither transformers' nor torchvision's stay as they are.
    """
    return {_house_name(name): tensor for name, tensor in tensors.items()}


def _house_name(name: str) -> str:
    for wrapper in ("module.", "resnet."):
        name = name.removeprefix(wrapper)
    name = name.replace("embedder.embedder.convolution.", "conv1.")
    name = name.replace("embedder.embedder.normalization.", "bn1.")
    if found := re.match(_STAGE + r"shortcut\.(convolution|normalization)\.", name):
        stage, layer, part = found.groups()
        place = f"layer{int(stage) + 1}.{layer}.downsample.{_PARTS[part][1]}."
    elif found := re.match(_STAGE + r"layer\.(\d+)\.(convolution|normalization)\.", name):
        stage, layer, number, part = found.groups()
        place = f"layer{int(stage) + 1}.{layer}.{_PARTS[part][0]}{int(number) + 1}."
    else:
        return name
    return place + name[found.end() :]
