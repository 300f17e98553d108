"""Encoders in timm's format, with a stand-in for timm that makes a tiny network."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import GatedRepoError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from histomend.errors import MissingDependencyError, ModelNotFoundError, WeightsError
from histomend.evaluate.pretrained import UNI_NAME, features

CONFIG = {
    "architecture": "tiny",
    "num_features": 8,
    "model_args": {"width": 8, "num_classes": 1000},
    "pretrained_cfg": {
        "input_size": [3, 16, 16],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.25, 0.25, 0.25],
        "classifier": "head",
    },
}


class Tiny(nn.Module):
    """Features with a classifier, which is left out for no classes, and scales where asked for."""

    def __init__(self, width: int, num_classes: int, init_values: float | None = None):
        super().__init__()
        self.num_features = width
        self.body = nn.Linear(3, width)
        self.head = nn.Linear(width, num_classes) if num_classes else nn.Identity()
        if init_values is not None:
            self.block = nn.Module()
            self.block.ls1 = nn.Module()
            self.block.ls1.gamma = nn.Parameter(init_values * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 16, 16)
        return self.head(self.body(x.mean((2, 3))))


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def create_model(arch: str, pretrained: bool, **arguments: object) -> nn.Module:
        assert not pretrained
        if arch != "tiny":
            raise RuntimeError(f"Unknown model ({arch})")
        return Tiny(**arguments)  # type: ignore[arg-type]

    module = ModuleType("timm")
    module.create_model, module.__version__ = create_model, "1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "timm", module)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in timm's format, with a classifier."""
    place = tmp_path / "tiny-encoder"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(CONFIG))
    save_file(Tiny(8, 1000).state_dict(), place / "model.safetensors")
    return place


def grey(*levels: int) -> np.ndarray:
    return np.stack([np.full((20, 30, 3), level, np.uint8) for level in levels])


def test_the_features_before_the_classifier_describe_an_image(folder: Path) -> None:
    encoder = features("timm", folder)
    assert encoder.name == "tiny-encoder"
    found = encoder(grey(0, 255))
    network = Tiny(8, 1000)
    network.load_state_dict(torch.load(pickled(folder), weights_only=True))
    with torch.no_grad():
        expected = network.body(torch.tensor([[-2.0] * 3, [2.0] * 3]))  # (0 and 1 - mean) / std
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def pickled(folder: Path) -> Path:
    """Write the folder's weights as PyTorch's pickle in place of safetensors."""
    path = folder / "pytorch_model.bin"
    torch.save(load_file(folder / "model.safetensors"), path)
    (folder / "model.safetensors").unlink()
    return path


def test_pickled_tensors_with_scales_of_blocks_are_opened_as_those_of_uni(folder: Path) -> None:
    save_file(Tiny(8, 1000, 1.0).state_dict(), folder / "model.safetensors")
    before = features("timm", folder)(grey(9))
    pickled(folder)
    np.testing.assert_array_equal(features("timm", folder)(grey(9)), before)


def test_folders_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        features("timm", tmp_path / "empty")
    for change, said in (
        ({"architecture": "other"}, "cannot make the network 'other'"),
        ({"pretrained_cfg": {}}, "not the config of an encoder"),
        ({"model_args": {"width": 4}}, "body.weight has shape"),
    ):
        (folder / "config.json").write_text(json.dumps(CONFIG | change))
        with pytest.raises(WeightsError, match=said):
            features("timm", folder)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="neither"):
        features("timm", folder)


def test_encoders_of_the_hub_that_cannot_be_had_are_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gated(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        # Without the response, whose class is another from version to version of the hub's package.
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", gated)
    with pytest.raises(ModelNotFoundError, match=r"MahmoodLab/uni .*licence.*hf auth login"):
        features("timm", UNI_NAME)

    def absent(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", absent)
    with pytest.raises(ModelNotFoundError, match=r"no folder no/such.*OSError.*connection"):
        features("timm", "no/such")


def test_without_timm_the_pip_line_is_named(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"timm.*histomend\[eval\]"):
        features("timm", folder)
