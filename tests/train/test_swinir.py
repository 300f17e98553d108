from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.damage.degradations import PIPELINES
from histomend.errors import ModelNotFoundError, SettingError, TrainingError, WeightsError
from histomend.models.restoration import load_restoration
from histomend.networks.swinir import SWINIR_ARCHS
from histomend.train import SwinirOptions, train
from histomend.train.option import declared


def train_restoration(data: Path, out: Path, report: Any = None, **settings: Any) -> Path:
    return train(SwinirOptions(data, out, **settings), report)


TINY = {
    "channels": 16,
    "depths": (2,),
    "heads": 2,
    "unshuffle": 4,
    "tail": 8,
    "drop_path": 0.0,
    "skip": True,
}
FEW: dict[str, Any] = {"arch": "tiny", "batch": 2, "crop": 32, "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def tiny_swinir() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SWINIR_ARCHS, "tiny", TINY)
        patch.setattr("histomend.train.swinir.HELD_OUT", 4)
        yield


@pytest.fixture(scope="module")
def trained(smooth: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of a few steps."""
    out = tmp_path_factory.mktemp("swinir") / "run"
    train_restoration(smooth, out, steps=2, mpp=0.25, **FEW)
    return out


def test_a_trained_module_cleans_images_of_any_size(trained: Path) -> None:
    module = load_restoration(trained / "model")
    assert (module.config.degradation, module.config.mpp) == ("mixed", 0.25)
    cleaned = module(torch.rand(2, 3, 21, 50))
    assert cleaned.shape == (2, 3, 21, 50)
    assert 0 <= float(cleaned.min()) <= float(cleaned.max()) <= 1


def test_the_log_lays_its_figures_beside_those_of_bicubic(trained: Path) -> None:
    log = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert {"psnr_x4", "bicubic_x4", "sharpness_x4", "psnr", "given"} <= set(log[-1])
    # It starts as the identity.
    assert log[-1]["psnr_x4"] == pytest.approx(log[-1]["bicubic_x4"], abs=1)
    sheet = np.asarray(Image.open(trained / "samples" / "0000002.png"))
    assert sheet.shape == (3 * 32, 8 * 32, 3)


def test_a_run_is_resumed_with_the_same_degradation_only(trained: Path, smooth: Path) -> None:
    with pytest.raises(TrainingError, match="degradation=mixed, not scanner"):
        train_restoration(smooth, trained, steps=3, resume=True, degradation="scanner", **FEW)


def test_first_weights_must_be_of_the_same_arch(
    trained: Path, smooth: Path, tmp_path: Path
) -> None:
    first = trained / "model"
    train_restoration(smooth, tmp_path / "more", steps=1, init=first, **FEW)
    few = FEW | {"arch": "small"}
    with pytest.raises(TrainingError, match=r"SwinIR of the arch tiny, and .* arch small"):
        train_restoration(smooth, tmp_path / "other", steps=1, init=first, **few)


@pytest.mark.parametrize("wrong", [{"arch": "huge"}, {"degradation": "rain"}, {"crop": 16}])
def test_impossible_settings_are_refused(
    wrong: dict[str, Any], smooth: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError):
        train_restoration(smooth, tmp_path / "run", steps=1, **(FEW | wrong))


def test_a_folder_that_is_no_module_or_was_changed_is_refused(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match="no restoration module"):
        load_restoration(tmp_path)
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained / "model" / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    # As earlier versions wrote it.
    (tmp_path / "config.json").write_text(
        json.dumps({k: config[k] for k in config.keys() - ["method"]})
    )
    assert load_restoration(tmp_path).config.method == "swinir"
    for change, word in (({"sha256": "0" * 64}, "exchanged"), ({"arch": "huge"}, "huge")):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(WeightsError, match=word):
            load_restoration(tmp_path)


def test_the_verb(smooth: Path, tmp_path: Path) -> None:
    words = ("train", "swinir", "--data", smooth, "-o", tmp_path / "run", "--arch", "tiny")
    more = ("--steps", 1, "--batch", 2, "--crop", 32, "--degradation", "codeformer")
    result = CliRunner().invoke(app, [str(word) for word in (*words, *more)])
    assert result.exit_code == 0, result.stderr
    assert load_restoration(tmp_path / "run" / "model").config.degradation == "codeformer"
    (choices,) = (each.choices for each in declared(SwinirOptions) if each.name == "degradation")
    assert set(choices) == set(PIPELINES)
