"""Training of conditional diffusion and of Noise2Noise, and what comes of it in `denoise`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.errors import PixelSizeError, SettingError, TrainingError
from histomend.models import ModelConfig, load_model
from histomend.train import ConditionalOptions, Noise2NoiseOptions, train
from histomend.train.conditional import Conditioning
from histomend.train.noise2noise import NoisyPairs

QUICK = {"arch": "tiny", "batch": 2, "crop": 32, "device": "cpu"}
TRAIN = {"conditional": ConditionalOptions, "noise2noise": Noise2NoiseOptions}


def run(method: str, data: Path, out: Path, **settings: object) -> Path:
    return train(TRAIN[method](data, out, **{**QUICK, **settings}))


@pytest.mark.parametrize("method", TRAIN)
@pytest.mark.parametrize("channels", [1, 2])
def test_a_run_leaves_a_model_a_log_and_a_picture(
    method: str, channels: int, smooth: Path, tmp_path: Path
) -> None:
    model = load_model(run(method, smooth, tmp_path / "run", channels=channels, steps=1), "cpu")
    assert (model.config.method, model.config.channels) == (method, channels)
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert 0 < log[-1]["psnr_damaged"] < 60
    assert np.isfinite(log[-1]["psnr"])
    assert list((tmp_path / "run/samples").glob("*.png"))


def test_noise2noise_learns_to_clean_without_clean_images(smooth: Path, tmp_path: Path) -> None:
    run("noise2noise", smooth, tmp_path / "run", channels=1, steps=60, batch=4, lr=3e-3, ema=0.9)
    figures = json.loads((tmp_path / "run/log.jsonl").read_text().splitlines()[-1])
    assert figures["psnr"] > figures["psnr_damaged"] + 1


class Watched(nn.Module):
    """Tells nothing, and remembers what it was shown."""

    def __init__(self, half: bool):
        super().__init__()
        self.halved = half

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        self.x, self.t = x, t
        return torch.zeros_like(x[:, : x.shape[1] // 2] if self.halved else x)


def test_the_network_is_shown_the_degraded_image_and_never_the_clean_one() -> None:
    config = ModelConfig("conditional", "tiny", "v", context=False)
    lesson, network = Conditioning(config), Watched(half=True)
    clean = torch.rand(4, 3, 32, 32) - 0.5
    lesson.loss(network, clean, np.random.default_rng(0))
    x, shown = network.x.chunk(2, 1)
    assert torch.equal(shown, lesson.damaged(clean, np.random.default_rng(0)))
    for part in (x, shown):
        assert float((part - clean).square().mean((1, 2, 3)).min()) > 1e-4
    assert len(set(network.t.tolist())) > 1


def test_the_error_of_noise2noise_is_that_of_another_noisy_image() -> None:
    network, clean = Watched(half=False), torch.zeros(8, 1, 32, 32)
    loss = NoisyPairs().loss(network, clean, np.random.default_rng(0))
    # The network answers nothing, and both images are as noisy.
    own = float((network.x - clean).square().mean())
    assert float(loss) == pytest.approx(2 * own, rel=0.1)


@pytest.mark.parametrize("method", TRAIN)
def test_what_does_not_go_together_is_refused(method: str, smooth: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--channels is 4"):
        run(method, smooth, tmp_path / "run", steps=1, channels=4)
    with pytest.raises(SettingError, match=f"No arch of {method} is called 'huge'"):
        run(method, smooth, tmp_path / "run", steps=1, arch="huge")
    first = run(method, smooth, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="holds a run already"):
        run(method, smooth, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="channels=3, not 1"):
        run(method, smooth, tmp_path / "run", steps=2, channels=1, resume=True)
    with pytest.raises(TrainingError, match="channels=3, and this run channels=2"):
        run(method, smooth, tmp_path / "other", steps=1, channels=2, init=first)


def test_a_run_of_one_kind_is_not_resumed_as_another(smooth: Path, tmp_path: Path) -> None:
    first = run("noise2noise", smooth, tmp_path / "run", steps=1)
    with pytest.raises(TrainingError, match="prediction=epsilon, not v"):
        run("conditional", smooth, tmp_path / "run", steps=2, resume=True)
    with pytest.raises(TrainingError, match="method=noise2noise, and this run method=conditional"):
        run("conditional", smooth, tmp_path / "other", steps=1, init=first)


def test_a_pixel_size_for_which_no_blur_is_known(smooth: Path, tmp_path: Path) -> None:
    with pytest.raises(PixelSizeError, match="mpp"):
        run("conditional", smooth, tmp_path / "run", steps=1, mpp=0.01)


def said(result: Result) -> str:
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("method", TRAIN)
def test_trained_and_used_from_the_command_line(
    method: str, smooth: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def histomend(*words: object) -> Result:
        return CliRunner().invoke(app, [*map(str, words), "--device", "cpu"])

    few = ("--steps", 1, "--batch", 2, "--crop", 64, "--arch", "tiny")
    trained = histomend("train", method, "--data", smooth, "-o", "run", *few)
    assert trained.exit_code == 0, trained.stderr
    assert f"--method {method} --model run/model" in said(trained)
    words = ("denoise", smooth / "0.png", "-o", "new.png", "--method", method)
    done = histomend(*words, "--model", "run/model", "--json")
    assert done.exit_code == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert "t" not in record
    assert record["nfe_most"] == {"conditional": 8, "noise2noise": 1}[method]
    assert not Path("new.t-map.tif").exists()
    without = histomend(*words, "--force")
    assert without.exit_code == 2
    assert f"`histomend train {method}` wrote" in said(without)
    other = histomend(*words, "--force", "--method", "rscd", "--model", "run/model")
    assert other.exit_code == 2
    assert f"is for {method}, and rscd needs one for rscd" in said(other)
