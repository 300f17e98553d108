"""Runs of a few steps of tiny restoring networks with a critic, and what they are used for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.errors import SettingError, TrainingError
from histomend.image import read_image
from histomend.models.restoration import load_restoration
from histomend.networks.rrdb import RRDB_ARCHS
from histomend.networks.swinir import SWINIR_ARCHS
from histomend.train import RrdbGanOptions, SwinirGanOptions, SwinirOptions, train

GANS = {"rrdb-gan": RrdbGanOptions, "swinir-gan": SwinirGanOptions}


def train_gan(data: Path, out: Path, method: str, **settings: Any) -> Path:
    return train(GANS[method](data, out, **settings))


FEW: dict[str, Any] = {"arch": "tiny", "batch": 2, "crop": 32, "device": "cpu"}
RRDB = {"channels": 8, "blocks": 1, "growth": 4, "unshuffle": 4, "skip": True}
SWIN = {"channels": 16, "depths": (2,), "heads": 2, "unshuffle": 4, "tail": 8, "skip": True}


@pytest.fixture(scope="module", autouse=True)
def tiny_networks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(RRDB_ARCHS, "tiny", RRDB)
        patch.setitem(SWINIR_ARCHS, "tiny", SWIN)
        patch.setattr("histomend.train.swinir.HELD_OUT", 4)
        yield


@pytest.fixture(scope="module")
def trained(smooth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two steps."""
    out = tmp_path_factory.mktemp("gan") / "run"
    train_gan(smooth, out, method="rrdb-gan", steps=2, **FEW)
    return out


def test_a_run_writes_the_restoring_network_alone(trained: Path) -> None:
    module = load_restoration(trained / "model")
    assert (module.config.method, module.config.arch) == ("rrdb-gan", "tiny")
    assert module(torch.rand(1, 3, 21, 50)).shape == (1, 3, 21, 50)
    assert not any("critic" in name for name in load_file(trained / "model" / "model.safetensors"))
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {"psnr_x4", "bicubic_x4", "sharpness_x4", "psnr", "given"} <= set(log[-1])


def test_a_run_goes_on_with_its_critic_only(trained: Path, smooth: Path) -> None:
    weights = load_file(trained / "last" / "network.safetensors")
    assert any(name.startswith("critic.") for name in weights)
    few = FEW | {"adversarial": 0.0}
    with pytest.raises(TrainingError, match="critic=True, not False"):
        train_gan(smooth, trained, method="rrdb-gan", steps=3, resume=True, **few)


def test_it_starts_from_the_first_stage_but_not_from_another_network(
    trained: Path, smooth: Path, tmp_path: Path
) -> None:
    first = train(SwinirOptions(smooth, tmp_path / "stage-1", steps=1, lr=1e-2, **FEW))
    more = {"steps": 1, "lr": 0.0, **FEW}
    model = train_gan(smooth, tmp_path / "gan", method="swinir-gan", init=first, **more)
    theirs, ours = (load_restoration(place).network.state_dict() for place in (first, model))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(TrainingError, match=r"SwinIR of the arch tiny, and .* RRDBNet"):
        train_gan(smooth, tmp_path / "no", method="rrdb-gan", init=first, **more)


@pytest.mark.parametrize(
    "wrong",
    [
        {"arch": "small-coarse"},
        {"degradation": "rain"},
        {"adversarial": -1.0},
        {"crop": 16},
    ],
    ids=str,
)
def test_impossible_settings_are_refused_before_any_work(
    wrong: dict[str, Any], smooth: Path, tmp_path: Path
) -> None:
    settings = {"method": "rrdb-gan", "steps": 1, **FEW, **wrong}
    with pytest.raises(SettingError):
        train_gan(smooth, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.stderr
    return result.output


@pytest.mark.parametrize("method", ["rrdb-gan", "swinir-gan"])
def test_the_verbs_train_what_upscale_takes(method: str, smooth: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    few = ("--arch", "tiny", "--steps", 1, "--batch", 2, "--crop", 32, "--device", "cpu")
    assert f"--method {method}" in run("train", method, "--data", smooth, "-o", out, *few)
    assert json.loads(run("models", out / "model", "--json"))["card"] == {"adversarial": 0.5}
    large = tmp_path / "large.png"
    chosen = ("--method", method, "--model", out / "model", "--scale", 1.7)
    run("upscale", smooth / "0.png", "-o", large, *chosen)
    assert read_image(large).pixels.shape == (163, 163, 3)
    record = json.loads((tmp_path / "large.ledger.json").read_text())
    assert (record["method"], record["model"]["method"]) == (method, method)
    assert record["model"]["sha256"] == load_restoration(out / "model").config.sha256
    assert np.asarray(read_image(large).pixels).std() > 10
