"""Runs of a few steps of a tiny denoiser on the latents of a tiny autoencoder."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from histomend.api import restore
from histomend.errors import ModelNotFoundError, SettingError, TrainingError, WeightsError
from histomend.models import load_model, read_config, vae_facts
from histomend.train import LatentArtifusionOptions, train

WEIGHT_FILE = "diffusion_pytorch_model.safetensors"
Train = Callable[..., Path]


@pytest.fixture
def run(data: Path, tiny_vae: Path) -> Train:
    def start(out: Path, **settings: Any) -> Path:
        defaults = {"arch": "tiny", "vae": tiny_vae, "versions": 2, "batch": 2, "crop": 32}
        cache = data.parent / "packed"
        given = {"device": "cpu", "cache": cache, **defaults, **settings}
        return train(LatentArtifusionOptions(data, out, **given))

    return start


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole") / "run"


@pytest.fixture
def whole(made: Path, run: Train) -> Path:
    """Return the folder of a run of four steps without interruption, made on first use."""
    if not made.exists():
        run(made, steps=4)
    return made


def test_a_run_writes_a_model_with_its_autoencoder(whole: Path, tiny_vae: Path) -> None:
    model = load_model(whole / "model", "cpu")
    assert (model.config.method, model.config.arch) == ("latent-artifusion", "tiny")
    assert model.config.vae_sha256 == vae_facts(tiny_vae).sha256
    assert (whole / "model" / "vae" / WEIGHT_FILE).is_file()
    with Image.open(whole / "samples" / "0000004.png") as sheet:
        assert sheet.size == (8 * 32, 4 * 32), "damaged, restored, decoded truth, truth"
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert lines[0]["step"] == 0
    assert math.isfinite(lines[0]["vae_psnr"]), "what the autoencoder alone loses"
    assert lines[-1]["step"] == 4
    assert math.isfinite(lines[-1]["mean_x0_error"])


def test_what_the_autoencoder_loses_is_said_once(whole: Path, run: Train) -> None:
    run(whole, steps=4, resume=True)
    lines = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    assert sum("vae_psnr" in line for line in lines) == 1


def test_without_context_everything_is_masked(run: Train, tmp_path: Path) -> None:
    model = run(tmp_path / "run", steps=1, context=False, prediction="epsilon")
    assert read_config(model).context is False


def test_init_starts_from_given_weights(whole: Path, run: Train, tmp_path: Path) -> None:
    run(tmp_path / "run", steps=1, lr=0, init=whole / "model")
    given = load_file(whole / "model" / "model.safetensors")
    after = load_file(tmp_path / "run" / "last" / "network.safetensors")
    assert all(torch.equal(after[key], tensor.float()) for key, tensor in given.items())


# What is refused


@pytest.fixture
def other_vae(tiny_vae: Path, tmp_path: Path) -> Path:
    """Return an autoencoder of the same size with other weights."""
    folder = Path(shutil.copytree(tiny_vae, tmp_path / "other"))
    tensors = load_file(folder / WEIGHT_FILE)
    save_file({name: tensor * 1.01 for name, tensor in tensors.items()}, folder / WEIGHT_FILE)
    return folder


def test_a_run_is_not_resumed_with_another_autoencoder(
    whole: Path, run: Train, other_vae: Path
) -> None:
    with pytest.raises(TrainingError, match="was trained with vae_sha256="):
        run(whole, steps=9, resume=True, vae=other_vae)


def test_first_weights_may_come_from_a_run_with_another_autoencoder(
    whole: Path, run: Train, other_vae: Path, tmp_path: Path
) -> None:
    model = run(tmp_path / "run", steps=1, init=whole / "model", vae=other_vae)
    assert read_config(model).vae_sha256 == vae_facts(other_vae).sha256


def test_first_weights_of_the_pixel_method(run: Train, untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="method=artifusion, and this run method=latent"):
        run(tmp_path / "run", steps=1, init=untrained)


def test_an_autoencoder_that_is_not_there(run: Train, data: Path, tmp_path: Path) -> None:
    for place in (tmp_path / "nowhere", data):
        with pytest.raises(ModelNotFoundError, match="holds no autoencoder"):
            run(tmp_path / "run", steps=1, vae=place)
    assert not (tmp_path / "run").exists()


def test_an_autoencoder_that_is_damaged(run: Train, other_vae: Path, tmp_path: Path) -> None:
    (other_vae / WEIGHT_FILE).write_bytes(b"half")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        run(tmp_path / "run", steps=1, vae=other_vae)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 36}, "--crop is 36, but must be a multiple of 8, from 32 on"),
        ({"crop": 24}, "--crop is 24"),
        ({"versions": 0}, "--versions is 0"),
        ({"arch": "huge"}, "No arch of latent-artifusion is called 'huge'"),
        ({"schedule": "square"}, "square"),
        ({"mpp": 0}, "--mpp"),
        ({"extra_share": 2}, "between 0 and 1"),
    ],
)
def test_settings_that_are_not_possible(
    change: dict[str, Any], message: str, run: Train, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        run(tmp_path / "run", steps=1, **change)
    assert not (tmp_path / "run").exists()


def test_the_model_restores_an_image(whole: Path) -> None:
    image = np.random.default_rng(0).integers(90, 200, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 24:44] = True
    result = restore(
        image, mask, method="latent-artifusion", model=whole / "model", steps=2, mpp=0.5
    )
    assert np.array_equal(result.pixels[~mask], image[~mask])
    assert not np.array_equal(result.pixels[mask], image[mask])
