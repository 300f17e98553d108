from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from histomend.errors import (
    ImageSizeError,
    ModelNotFoundError,
    SettingError,
    TrainingError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.evaluate.encoder import EncoderNetwork, load_encoder
from histomend.train import EncoderOptions, train
from histomend.train.data import Tiles
from histomend.train.encoder import recognised, vicreg, views


def train_encoder(data: Path, out: Path, report: Any = None, **settings: Any) -> Path:
    return train(EncoderOptions(data, out, **settings), report)


@pytest.fixture(scope="module")
def trained(smooth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of a few steps."""
    out = tmp_path_factory.mktemp("encoder") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("histomend.train.encoder.HELD_OUT", 4)
        train_encoder(smooth, out, features=16, steps=50, batch=4, crop=32)
    return out


def test_a_trained_encoder_describes_images(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert "loss" in log[0]
    assert 0 <= log[-1]["recognised"] <= 1
    encoder = load_encoder(trained / "model")
    assert encoder.name == "histology encoder, 16 features"
    images = np.random.default_rng(0).integers(0, 256, (20, 40, 48, 3)).astype(np.uint8)
    features = encoder(images)
    assert (features.shape, features.dtype) == ((20, 16), np.float64)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(encoder(images[:3]), features[:3], atol=1e-5)
    assert encoder(images[:0]).shape == (0, 16)


def test_a_run_goes_on_with_the_same_features_only(
    trained: Path, smooth: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="features=16, not 8"):
        train_encoder(smooth, trained, features=8, steps=60, batch=4, crop=32, resume=True)


def test_views_agree_vary_and_do_not_repeat_each_other() -> None:
    rng = torch.Generator().manual_seed(0)
    apart = 2 * torch.randn(64, 8, generator=rng)
    assert float(vicreg(apart, apart)) < float(vicreg(apart, torch.roll(apart, 1, 0)))
    assert float(vicreg(apart, apart)) < float(vicreg(0.01 * apart, 0.01 * apart))
    repeated = apart[:, :1].expand(-1, 8)
    assert float(vicreg(apart, apart)) < float(vicreg(repeated, repeated))


def test_views_of_a_field_are_not_the_same_crop(smooth: Path, tmp_path: Path) -> None:
    tiles = Tiles(smooth, tmp_path)
    one, other = views(tiles, np.random.default_rng(0), 6, 40)
    assert one.shape == other.shape == (6, 40, 40, 3)
    assert one.dtype == np.uint8
    assert all((a != b).any() for a, b in zip(one, other, strict=True))
    again = views(tiles, np.random.default_rng(0), 6, 40)
    np.testing.assert_array_equal(one, again[0])


def test_who_sees_nothing_recognises_nothing(smooth: Path, tmp_path: Path) -> None:
    blind = EncoderNetwork(4)
    for parameter in blind.parameters():
        torch.nn.init.zeros_(parameter)
    assert recognised(blind, Tiles(smooth, tmp_path), 32) == pytest.approx(1 / 64)


@pytest.mark.parametrize("wrong", [{"features": 65}, {"crop": 16}, {"batch": 1}])
def test_impossible_settings_are_refused(
    wrong: dict[str, int], smooth: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError):
        train_encoder(smooth, tmp_path / "run", steps=1, **wrong)


def test_other_images_are_refused(trained: Path) -> None:
    encoder = load_encoder(trained / "model")
    with pytest.raises(UnsupportedImageError, match="grey"):
        encoder(np.zeros((2, 64, 64, 1), np.uint8))
    with pytest.raises(ImageSizeError, match="32 px"):
        encoder(np.zeros((2, 20, 64, 3), np.uint8))


def test_a_folder_that_is_no_encoder_or_was_changed_is_refused(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match="no encoder"):
        load_encoder(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / "model" / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    for change, word in (({"sha256": "0" * 64}, "exchanged"), ({"features": 900}, "900")):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=word):
            load_encoder(tmp_path)
