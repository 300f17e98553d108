from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from histomend.errors import (
    ModelError,
    ModelMismatchError,
    ModelNotFoundError,
    UnsafeWeightsError,
    WeightsError,
)
from histomend.models import (
    ModelConfig,
    fit_to_vae,
    load_model,
    load_vae,
    read_config,
    save_model,
    vae_facts,
    weights_sha256,
)

WEIGHT_FILE = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def vae(tiny_vae: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_vae, tmp_path / "vae"))


@pytest.fixture
def folder(untrained_latent: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(untrained_latent, tmp_path / "model"))


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


# What works


def test_a_latent_model_brings_its_autoencoder(folder: Path, tiny_vae: Path) -> None:
    model = load_model(folder, "cpu")
    assert (model.config.latent_channels, model.config.factor) == (4, 8)
    assert model.space.factor == 8
    assert model.space.encode(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 8, 8)
    record = model.record()
    assert record["vae_sha256"] == vae_facts(tiny_vae).sha256


def test_an_autoencoder_is_found_beside_others_of_its_pipeline(vae: Path) -> None:
    loaded = load_vae(vae.parent)
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert all(
        torch.equal(loaded.state_dict()[k], t) for k, t in load_file(vae / WEIGHT_FILE).items()
    )


def test_half_precision_is_loaded_in_full(vae: Path) -> None:
    tensors = {key: tensor.half() for key, tensor in load_file(vae / WEIGHT_FILE).items()}
    save_file(tensors, vae / WEIGHT_FILE, {"format": "pt"})
    assert {t.dtype for t in load_vae(vae).state_dict().values()} == {torch.float32}


def test_one_shaped_and_named_like_stable_diffusions_loads(tmp_path: Path) -> None:
    """It has attention in the middle, and old names for its tensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL

        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 32, 32),
            layers_per_block=2,
            latent_channels=4,
        )
        vae.save_pretrained(tmp_path)
    edit(tmp_path, shift_factor=None)
    config = json.loads((tmp_path / "config.json").read_text())
    # As the published file is: older than some of the settings.
    for key in ("shift_factor", "mid_block_add_attention", "use_quant_conv", "latents_mean"):
        del config[key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(tmp_path / WEIGHT_FILE)
    for new, before in old.items():
        tensors = {key.replace(new, before): tensor for key, tensor in tensors.items()}
    assert any("proj_attn" in key for key in tensors)
    save_file(tensors, tmp_path / WEIGHT_FILE, {"format": "pt"})
    facts = vae_facts(tmp_path)
    assert (facts.channels, facts.factor, facts.scaling, facts.shift) == (4, 8, 0.18215, 0.0)
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(load_vae(tmp_path).encode(x).latent_dist.mean, vae.encode(x)[0].mean)


def test_saving_again_keeps_the_autoencoder(folder: Path) -> None:
    config = read_config(folder)
    state = load_model(folder, "cpu").denoiser.network.state_dict()
    assert save_model(folder, state, config).vae_sha256 == config.vae_sha256
    load_model(folder, "cpu")


# What does not fit the denoiser


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"latent_channels": 8}, ModelMismatchError, "has 8 latent channels.*with 4"),
        ({"block_out_channels": [8, 8, 8]}, ModelMismatchError, "has 4 pixels per latent cell"),
        ({"scaling_factor": 0.18215}, ModelMismatchError, "has 0.18215 as scaling factor"),
        ({"shift_factor": 0.1}, ModelMismatchError, "has 0.1 as shift factor"),
        ({"scaling_factor": None}, WeightsError, "scaling_factor=None"),
        ({"scaling_factor": 0}, WeightsError, "positive scaling factor"),
        ({"scaling_factor": -1.0}, WeightsError, "positive scaling factor"),
        ({"scaling_factor": "1"}, WeightsError, "scaling_factor='1'"),
        ({"block_out_channels": None}, WeightsError, "not the config of an autoencoder"),
        ({"latent_channels": "many"}, WeightsError, "not the config of an autoencoder"),
    ],
    ids=str,
)
def test_an_autoencoder_that_does_not_fit_is_refused_before_any_work(
    folder: Path, change: dict[str, Any], error: type[ModelError], says: str
) -> None:
    edit(folder / "vae", **change)
    # Reading the denoiser would fail: the autoencoder is looked at first.
    with (folder / "model.safetensors").open("r+b") as file:
        file.write(b"broken")
    edit(folder, sha256=weights_sha256([folder / "model.safetensors"]))
    with pytest.raises(error, match=says):
        load_model(folder, "cpu")


def test_other_weights_than_the_denoiser_was_trained_with(folder: Path) -> None:
    path = folder / "vae" / WEIGHT_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match="damaged or was exchanged"):
        load_model(folder, "cpu")


def test_training_cannot_save_with_another_autoencoder(folder: Path, vae: Path) -> None:
    config, state = read_config(folder), load_model(folder, "cpu").denoiser.network.state_dict()
    edit(vae, scaling_factor=2.0)
    with pytest.raises(ModelMismatchError, match="as scaling factor"):
        save_model(folder, state, config, vae=vae)


@pytest.mark.parametrize(
    "change",
    [{"latent_channels": 0}, {"factor": 1}, {"window": 100}, {"vae_scaling": 0.0}],
    ids=str,
)
def test_a_latent_config_with_a_value_that_no_model_has(
    folder: Path, change: dict[str, Any]
) -> None:
    edit(folder, **change)
    with pytest.raises(WeightsError, match=f"says {next(iter(change))}="):
        load_model(folder, "cpu")


# What is no autoencoder


def no_weights(folder: Path) -> None:
    (folder / WEIGHT_FILE).unlink()


def pickle_beside(folder: Path) -> None:
    no_weights(folder)
    torch.save({}, folder / "diffusion_pytorch_model.bin")


def pickle_in_disguise(folder: Path) -> None:
    torch.save({}, folder / WEIGHT_FILE)


def truncated(folder: Path) -> None:
    path = folder / WEIGHT_FILE
    path.write_bytes(path.read_bytes()[:-100])


def a_tensor_less(folder: Path) -> None:
    tensors = load_file(folder / WEIGHT_FILE)
    del tensors["quant_conv.weight"]
    save_file(tensors, folder / WEIGHT_FILE, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (no_weights, WeightsError, "holds no diffusion_pytorch_model"),
        (pickle_beside, UnsafeWeightsError, "run any code"),
        (pickle_in_disguise, UnsafeWeightsError, "run any code"),
        (truncated, WeightsError, "cannot be loaded"),
        (a_tensor_less, WeightsError, r"lacks the tensor quant_conv\.weight"),
    ],
)
def test_damaged_autoencoders_are_refused(
    vae: Path, change: Callable[[Path], None], error: type[ModelError], says: str
) -> None:
    change(vae)
    with pytest.raises(error, match=says):
        load_vae(vae)


def test_a_latent_model_without_its_autoencoder(folder: Path) -> None:
    shutil.rmtree(folder / "vae")
    with pytest.raises(WeightsError, match="not the config of an autoencoder"):
        load_model(folder, "cpu")


def test_a_folder_without_an_autoencoder(tmp_path: Path, untrained: Path) -> None:
    for place in (tmp_path, untrained, tmp_path / "nowhere"):
        with pytest.raises(ModelNotFoundError, match="RUN/model"):
            load_vae(place)


def test_a_name_that_the_hub_does_not_give(monkeypatch: pytest.MonkeyPatch, vae: Path) -> None:
    import huggingface_hub

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        assert all(pattern.endswith((".json", ".safetensors")) for pattern in allow_patterns)
        if name == "stain/vae":
            return str(vae)
        raise OSError("no connection")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert load_vae("stain/vae").config.latent_channels == 4
    with pytest.raises(ModelNotFoundError, match=r"stain/none.*OSError.*connection"):
        load_vae("stain/none")


def test_the_config_says_what_the_autoencoder_is(tiny_vae: Path) -> None:
    config = fit_to_vae(ModelConfig("latent-artifusion", "small"), tiny_vae)
    assert (config.latent_channels, config.factor, config.vae_scaling) == (4, 8, 0.5)
    with torch.device("meta"):
        network = config.network()
    assert network.get_parameter("conv_in.weight").shape[1] == 9
    assert network.get_parameter("conv_out.weight").shape[0] == 4
