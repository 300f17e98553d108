"""Networks of published metrics, tiny or stood in for, in the formats of their weights."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histomend.errors import (
    MissingDependencyError,
    ModelNotFoundError,
    SettingError,
    UnsafeWeightsError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.evaluate.distances import Sets, cmmd, fid
from histomend.evaluate.encoder import EncoderConfig, save_encoder
from histomend.evaluate.pretrained import features


def images(count: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 40, 56, 3)).astype(np.uint8)


class StandIn(nn.Module):
    """Takes and gives what torch-fidelity's Inception does, in the shapes of a tiny network."""

    def __init__(self, name: str, wanted: list[str], feature_extractor_weights_path: Any):
        super().__init__()
        assert wanted == ["2048"]
        self.fc = nn.Linear(3, 2048)
        # As the package does, which would run whatever a pickle holds.
        self.load_state_dict(torch.load(feature_extractor_weights_path, weights_only=False))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        assert x.dtype == torch.uint8
        return (self.fc(x.float().mean((2, 3))),)


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file of weights for a stand-in of torch-fidelity."""
    module = ModuleType("torch_fidelity")
    module.FeatureExtractorInceptionV3 = StandIn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch_fidelity", module)
    torch.save(nn.Linear(3, 2048).state_dict(), tmp_path / "other.pth")
    state = {f"fc.{k}": v for k, v in nn.Linear(3, 2048).state_dict().items()}
    torch.save(state, tmp_path / "inception.pth")
    return tmp_path / "inception.pth"


def test_inception_describes_images_for_fid(inception: Path) -> None:
    encoder = features("inception", inception)
    assert encoder.name == "Inception-v3"
    found = encoder(images(20))  # More than are seen at once.
    assert (found.shape, found.dtype) == ((20, 2048), np.float64)
    np.testing.assert_allclose(found[:5], encoder(images(20)[:5]), rtol=1e-6)
    assert fid(Sets(found, found), draws=4).value == pytest.approx(0, abs=1e-6)


class RunsCode:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('it ran')",))


def test_weights_of_inception_are_opened_as_tensors_alone(inception: Path) -> None:
    torch.save({"fc.weight": RunsCode()}, inception)
    with pytest.raises(UnsafeWeightsError, match="could run any code"):
        features("inception", inception)
    with pytest.raises(WeightsError, match="does not hold FID's Inception-v3"):
        features("inception", inception.with_name("other.pth"))
    with pytest.raises(ModelNotFoundError, match=r"no file .*nowhere\.pth.*torch-fidelity"):
        features("inception", inception.with_name("nowhere.pth"))


@pytest.mark.parametrize(
    ("name", "package"), [("inception", "torch-fidelity"), ("clip", "transformers")]
)
def test_a_missing_package_comes_with_the_pip_line(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package.replace("-", "_"), None)
    with pytest.raises(MissingDependencyError, match=rf"{package}.*histomend\[eval\]"):
        features(name, "anything")


def test_our_own_encoder_is_found_by_the_same_door(tmp_path: Path) -> None:
    config = EncoderConfig(features=8)
    save_encoder(tmp_path, config.network().state_dict(), config)
    assert features("histology", tmp_path)(images()).shape == (5, 8)


def test_features_that_do_not_exist_are_refused() -> None:
    with pytest.raises(SettingError, match=r"'vgg'.*inception, clip, timm, histology"):
        features("vgg", "anything")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Return the folder of a tiny CLIP image encoder in transformers' format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        config = transformers.CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
            projection_dim=8,
        )
        transformers.CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "tiny-clip")
    return tmp_path / "tiny-clip"


@pytest.mark.filterwarnings("ignore")  # Its own, of its own future.
def test_clip_describes_the_middle_square_for_cmmd(clip: Path) -> None:
    encoder = features("clip", clip)
    assert encoder.name == "CLIP tiny-clip"
    found = encoder(images())
    assert found.shape == (5, 8)
    assert cmmd(Sets(found, encoder(images(5, seed=1))), draws=4).value > 0
    np.testing.assert_allclose(found, encoder(images()[:, :, 8:48]), rtol=1e-5)
    with pytest.raises(UnsupportedImageError, match="8-bit RGB"):
        encoder(images()[..., :1])


@pytest.mark.filterwarnings("ignore")
def test_a_folder_without_clip_is_refused(clip: Path, tmp_path: Path) -> None:
    (clip / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelNotFoundError, match="no CLIP that can be loaded"):
        features("clip", clip)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFoundError, match="Hugging Face hub such as openai/clip"):
        features("clip", tmp_path / "empty")
