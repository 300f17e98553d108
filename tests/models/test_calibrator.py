from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from histomend.errors import (
    ModelError,
    ModelMismatchError,
    ModelNotFoundError,
    UnsafeWeightsError,
    WeightsError,
)
from histomend.models import (
    CalibratorConfig,
    ModelConfig,
    fit_to_calibrator,
    load_calibrator,
    load_model,
    save_calibrator,
    save_model,
    shards,
    weights_sha256,
)
from histomend.networks.build import CALIBRATED_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet

CONFIG = ModelConfig("rscd", "tiny", "epsilon", channels=2, context=False, highest_t=200)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"channels": 32, "multipliers": (2,), "blocks": 1, "patch": 4}
    monkeypatch.setitem(CALIBRATED_ARCHS, "tiny", Arch(ConvUNet, settings, "tests"))


@pytest.fixture
def calibrator(tmp_path: Path) -> Path:
    config = CalibratorConfig("small", channels=2)
    save_calibrator(tmp_path / "calibrator", config.network().state_dict(), config, half=True)
    return tmp_path / "calibrator"


@pytest.fixture
def folder(calibrator: Path, tmp_path: Path) -> Path:
    config = fit_to_calibrator(CONFIG, calibrator)
    state = config.network().state_dict()
    save_model(tmp_path / "model", state, config, calibrator=calibrator, half=True)
    return tmp_path / "model"


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def test_a_model_brings_its_calibrator_and_the_ledger_names_it(folder: Path) -> None:
    model = load_model(folder, "cpu")
    assert model.calibrator is not None
    assert model.calibrator(torch.zeros(3, 2, 64, 80)).shape == (3,)
    record = model.record()
    assert record["highest_t"] == 200
    assert record["calibrator_sha256"] == weights_sha256(shards(folder / "calibrator"))


def test_a_denoiser_can_do_without(tmp_path: Path) -> None:
    save_model(tmp_path, CONFIG.network().state_dict(), CONFIG)
    model = load_model(tmp_path, "cpu")
    assert model.calibrator is None
    assert "calibrator_sha256" not in model.record()


def test_a_calibrator_is_found_by_itself_and_in_a_model(folder: Path, calibrator: Path) -> None:
    x = torch.randn(1, 2, 64, 64)
    assert torch.equal(load_calibrator(folder)(x), load_calibrator(calibrator)(x))


def test_saving_again_keeps_the_calibrator(folder: Path) -> None:
    model = load_model(folder, "cpu")
    save_model(folder, model.denoiser.network.state_dict(), model.config)
    assert load_model(folder, "cpu").calibrator is not None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"channels": 3}, "2 channels, but the denoiser is for 3.*--channels 3"),
        ({"schedule": "linear"}, "t of the schedule cosine with 1000.*is linear"),
        ({"steps": 500}, "with 1000 steps.*cosine with 500"),
    ],
    ids=str,
)
def test_a_calibrator_for_other_images_or_noise_is_refused(
    calibrator: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModelMismatchError, match=says):
        fit_to_calibrator(replace(CONFIG, **change), calibrator)


def exchange(folder: Path) -> None:
    config = CalibratorConfig("small", channels=2)
    torch.manual_seed(5)
    save_calibrator(folder, config.network().state_dict(), config)


def damage(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def other_channels(folder: Path) -> None:
    edit(folder, channels=1)


def unknown_arch(folder: Path) -> None:
    edit(folder, arch="huge")


def unknown_field(folder: Path) -> None:
    edit(folder, colour="red")


def no_size(folder: Path) -> None:
    edit(folder, channels="two")


def pickled(folder: Path) -> None:
    torch.save({}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (exchange, WeightsError, "damaged or was exchanged"),
        (damage, WeightsError, "damaged or was exchanged"),
        (other_channels, ModelMismatchError, "images of 1 channels"),
        (unknown_arch, WeightsError, "says arch='huge'"),
        (unknown_field, WeightsError, "not the config of a calibrator"),
        (no_size, WeightsError, "says channels='two'"),
        (pickled, UnsafeWeightsError, "run any code"),
        (shutil.rmtree, ModelNotFoundError, "holds no calibrator"),
    ],
)
def test_a_model_with_a_wrong_or_damaged_calibrator_is_refused(
    folder: Path, change: Any, error: type[ModelError], says: str
) -> None:
    change(folder / "calibrator")
    with pytest.raises(error, match=says):
        load_model(folder, "cpu")


def test_a_folder_without_a_calibrator(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"holds no calibrator.*train calibrator"):
        load_calibrator(tmp_path)


def test_a_highest_t_beyond_the_schedule(folder: Path) -> None:
    edit(folder, highest_t=1001)
    with pytest.raises(WeightsError, match="highest_t=1001"):
        load_model(folder, "cpu")
