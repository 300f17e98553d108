from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from histomend import doctor
from histomend.cli.app import app
from histomend.errors import ModelMismatchError, WeightsError
from histomend.models import load_denoiser
from histomend.models.loading import is_upscaler
from histomend.models.priors import load_prior
from histomend.models.upscaler import UpscalerConfig, load_upscaler, save_upscaler


@pytest.fixture
def copied(untrained_upscaler: Path, tmp_path: Path) -> Path:
    shutil.copytree(untrained_upscaler, tmp_path / "up")
    return tmp_path / "up"


def rewrite(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_everything_that_belongs_to_an_upscaler_lies_in_its_folder(copied: Path) -> None:
    model = load_upscaler(copied, "cpu")
    parts = {"config.json", "control", "prior", "restoration"}
    assert {path.name for path in copied.iterdir()} == parts
    assert (model.space.factor, model.config.window) == (8, 64)
    entry, t = torch.randn(1, 4, 8, 8), torch.tensor([500])
    told = model.denoiser.network(torch.cat([entry, entry], 1), t)
    assert told.shape == (1, 4, 8, 8)
    assert model.record()["sha256"] == model.config.sha256 != ""


def test_parts_that_do_not_belong_together_are_refused(copied: Path) -> None:
    for key, word in (
        ("prior_sha256", "a prior of sha256"),
        ("vae_sha256", "autoencoder"),
        ("restoration_sha256", "restoration module"),
    ):
        before = (copied / "config.json").read_text()
        rewrite(copied, **{key: "0" * 64})
        with pytest.raises(ModelMismatchError, match=word):
            load_upscaler(copied, "cpu")
        (copied / "config.json").write_text(before)
    rewrite(copied, sha256="0" * 64)
    with pytest.raises(WeightsError, match="control branch"):
        load_upscaler(copied, "cpu")


@pytest.mark.parametrize(
    "wrong", [{"fast_steps": 0}, {"sampler": "euler"}, {"mpp": "big"}, {"window": 100}]
)
def test_a_config_that_cannot_be_is_refused(copied: Path, wrong: dict[str, Any]) -> None:
    rewrite(copied, **wrong)
    with pytest.raises(WeightsError, match=next(iter(wrong))):
        load_upscaler(copied, "cpu")


def test_upscalers_and_other_models_are_told_apart(
    untrained_upscaler: Path, untrained_prior: Path
) -> None:
    assert is_upscaler(untrained_upscaler)
    assert not is_upscaler(untrained_prior)
    with pytest.raises(ModelMismatchError, match="no upscaler"):
        load_upscaler(untrained_prior, "cpu")
    with pytest.raises(ModelMismatchError, match="histomend upscale"):
        load_denoiser(untrained_upscaler, "cpu")


def test_a_prior_is_one_of_latent_artifusion_with_a_unet_of_diffusers(
    untrained: Path, untrained_latent: Path
) -> None:
    with pytest.raises(ModelMismatchError, match="is for artifusion"):
        load_prior(untrained)
    with pytest.raises(ModelMismatchError, match="has the arch tiny"):
        load_prior(untrained_latent)


def test_a_bundled_upscaler_is_listed_and_checked(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("names", "upscaler"):
        monkeypatch.setattr(f"histomend.models.{module}.WEIGHTS", copied.parent)
    result = CliRunner().invoke(app, ["models", "--json"])
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads(result.stdout)
    assert (row["name"], row["method"]) == ("up", "histo-diffusion")
    assert doctor._model("up").status == "ok"
    shutil.rmtree(copied / "restoration")
    assert doctor._model("up").status == "fail"


def test_a_bundled_prior_is_named_and_not_copied(
    untrained_prior: Path,
    untrained_restoration: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in ("names", "upscaler"):
        monkeypatch.setattr(f"histomend.models.{module}.WEIGHTS", untrained_prior.parent)
    prior = load_prior(untrained_prior.name)
    config = UpscalerConfig.of(prior, untrained_restoration)
    parts = (prior.branch(), prior, untrained_prior.name, untrained_restoration, config)
    assert save_upscaler(tmp_path / "up", *parts).prior == untrained_prior.name
    assert not (tmp_path / "up" / "prior").exists()
    assert load_upscaler(tmp_path / "up", "cpu").config.arch == "tiny-unet"
