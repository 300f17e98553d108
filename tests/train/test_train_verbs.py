"""The trainings of the latent system as they are started from the command line."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.evaluate.encoder import load_encoder
from histomend.models import load_model


def train(*words: object) -> Result:
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_an_autoencoder_and_then_a_denoiser_on_its_latents(
    data: Path, tiny_vaes: None, tmp_path: Path
) -> None:
    few = ("--data", data, "--arch", "tiny", "--steps", 1, "--batch", 2, "--crop", 32)
    first = train("vae", *few, "--channels", 3, "-o", tmp_path / "vae", "--device", "cpu")
    assert first.exit_code == 0, first.stderr
    assert "--vae" in first.stderr, "it says how to go on"
    place = ("--vae", tmp_path / "vae" / "model", "-o", tmp_path / "run", "--versions", 1)
    second = train("latent-artifusion", *few, *place, "--device", "cpu")
    assert second.exit_code == 0, second.stderr
    assert load_model(tmp_path / "run" / "model", "cpu").config.latent_channels == 3


def test_an_autoencoder_that_is_not_there_is_one_message(data: Path, tmp_path: Path) -> None:
    place = ("--vae", tmp_path / "nowhere", "-o", tmp_path / "run")
    result = train("latent-artifusion", "--data", data, *place)
    assert result.exit_code == 2
    assert "holds no autoencoder" in " ".join(result.stderr.replace("│", " ").split())


def test_what_judges_images_is_trained_by_name(data: Path, tmp_path: Path) -> None:
    few = ("--data", data, "--steps", 1, "--batch", 2, "--crop", 32, "--device", "cpu")
    first = train("encoder", *few, "--features", 4, "-o", tmp_path / "encoder")
    assert first.exit_code == 0, first.stderr
    assert load_encoder(tmp_path / "encoder" / "model").config.features == 4
    second = train("iqa", *few, "--blur", "motion", "-o", tmp_path / "iqa")
    assert second.exit_code == 2
    assert "gaussian" in second.stderr
