from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from histomend.api import upscale
from histomend.cli.app import app
from histomend.errors import ModelMismatchError, SettingError, TrainingError
from histomend.models.upscaler import load_upscaler
from histomend.train import ControlOptions, train


def train_control(data: Path, out: Path, report: Any = None, **settings: Any) -> Path:
    return train(ControlOptions(data, out, **settings), report)


FEW: dict[str, Any] = {"batch": 2, "crop": 64, "versions": 1, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def few_held_out() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("histomend.train.control.HELD_OUT", 2)
        patch.setattr("histomend.train.control.SHOWN", 2)
        patch.setattr("histomend.train.control.STEPS", 2)
        yield


@pytest.fixture
def parts(untrained_prior: Path, untrained_restoration: Path) -> dict[str, Any]:
    return FEW | {"prior": untrained_prior, "restoration": untrained_restoration}


@pytest.fixture(scope="module")
def trained(
    smooth: Path,
    untrained_prior: Path,
    untrained_restoration: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the folder of a run of a few steps."""
    out = tmp_path_factory.mktemp("control") / "run"
    given = {"prior": untrained_prior, "restoration": untrained_restoration}
    train_control(smooth, out, steps=2, mpp=0.25, lr=1e-2, **given, **FEW)
    return out


def test_what_was_trained_enlarges_images_and_the_prior_is_as_it_was(
    trained: Path, untrained_prior: Path
) -> None:
    model = load_upscaler(trained / "model", "cpu")
    assert model.config.mpp == 0.25
    weights = [
        (folder / "model.safetensors").read_bytes()
        for folder in (untrained_prior, trained / "model" / "prior")
    ]
    assert weights[0] == weights[1]
    branch = model.denoiser.network.branch
    assert any(conv.weight.any() for conv in branch.zero_convs), "it has learned to steer"
    image = np.full((32, 40, 3), 200, np.uint8)
    assert upscale(image, scale=2, model=model).pixels.shape == (64, 80, 3)


def test_the_log_and_the_pictures(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {"mean_x0_error", "x0_error_0.2", "psnr", "psnr_cleaned"} <= set(log[-1])
    sheet = np.asarray(Image.open(trained / "samples" / "0000002.png"))
    assert sheet.shape == (4 * 64, 2 * 64, 3)


def test_a_run_goes_on_as_if_it_had_not_been_stopped(
    smooth: Path, tmp_path: Path, parts: dict[str, Any]
) -> None:
    train_control(smooth, tmp_path / "whole", steps=2, **parts)
    train_control(smooth, tmp_path / "parts", steps=1, **parts)
    train_control(smooth, tmp_path / "parts", steps=2, resume=True, **parts)
    whole, halves = (load_upscaler(tmp_path / run / "model", "cpu") for run in ("whole", "parts"))
    assert whole.config.sha256 == halves.config.sha256
    more = parts | {"degradation": "scanner"}
    with pytest.raises(TrainingError, match="degradation=mixed, not scanner"):
        train_control(smooth, tmp_path / "parts", steps=3, resume=True, **more)


def test_first_weights_may_be_those_of_another_branch(
    smooth: Path, trained: Path, tmp_path: Path, parts: dict[str, Any]
) -> None:
    train_control(smooth, tmp_path / "more", steps=1, init=trained / "model", **parts)
    assert load_upscaler(tmp_path / "more" / "model", "cpu").config.sha256
    with pytest.raises(ModelMismatchError, match="no upscaler"):
        train_control(smooth, tmp_path / "other", steps=1, init=parts["prior"], **parts)


@pytest.mark.parametrize("wrong", [{"crop": 60}, {"versions": 0}, {"degradation": "rain"}])
def test_impossible_settings_are_refused(
    wrong: dict[str, Any], smooth: Path, tmp_path: Path, parts: dict[str, Any]
) -> None:
    with pytest.raises(SettingError):
        train_control(smooth, tmp_path / "run", steps=1, **(parts | wrong))


def test_the_verb(smooth: Path, tmp_path: Path, parts: dict[str, Any]) -> None:
    words = ["train", "control", "--data", smooth, "-o", tmp_path / "run", "--steps", 1]
    words += ["--prior", parts["prior"], "--restoration", parts["restoration"], "--crop", 64]
    words += ["--versions", 1, "--batch", 2, "--degradation", "scanner", "--device", "cpu"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    assert "histomend upscale" in result.stderr
