"""Runs of a few steps of a tiny autoencoder, and what its loss measures."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from histomend.errors import SettingError, TrainingError, WeightsError
from histomend.networks.autoencoder import Autoencoding, build_vae
from histomend.train import VaeOptions, train
from histomend.train.adversarial import adversarial_loss
from histomend.train.autoencoder import reconstruction_loss
from histomend.train.data import Tiles

WEIGHT_FILE = "diffusion_pytorch_model.safetensors"

FILES = ["last", "log.jsonl", "model", "run.json", "samples"]


def run(data: Path, out: Path, **settings: Any) -> Path:
    defaults = {"arch": "tiny", "channels": 4, "batch": 2, "crop": 32, "device": "cpu"}
    given = {**defaults, "cache": data.parent / "packed", **settings}
    return train(VaeOptions(data, out, **given))


def opened(folder: Path) -> Any:
    """Open a folder as anyone who has diffusers would."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL

        return AutoencoderKL.from_pretrained(folder).eval()


@pytest.fixture(scope="module")
def whole(data: Path, tiny_vaes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of four steps without interruption."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(data, out, steps=4)
    return out


def test_a_run_writes_what_diffusers_opens_and_pictures_and_figures(whole: Path) -> None:
    assert sorted(p.name for p in whole.iterdir()) == [
        "last",
        "log.jsonl",
        "model",
        "run.json",
        "samples",
    ]
    vae = opened(whole / "model")
    assert (vae.config.latent_channels, len(vae.config.block_out_channels)) == (4, 4)
    with Image.open(whole / "samples" / "0000004.png") as sheet:
        assert sheet.size == (8 * 32, 2 * 32), "reconstructions above, originals below"
    figures = json.loads((whole / "log.jsonl").read_text().splitlines()[-1])
    assert figures["step"] == 4
    assert math.isfinite(figures["psnr"])
    assert figures["laplacian_ratio"] > 0


@torch.no_grad()
def test_the_scaling_factor_brings_latents_to_a_deviation_of_one(whole: Path, data: Path) -> None:
    vae = opened(whole / "model")
    tiles = Tiles(data, data.parent / "packed")
    rng = np.random.default_rng(5)
    crops = torch.from_numpy(np.stack([tiles.crop(rng, 32) for _ in range(64)]))
    pixels = crops.permute(0, 3, 1, 2) / 127.5 - 1
    scaled = vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor
    assert 0.7 < float(scaled.std()) < 1.4


def test_init_starts_from_a_written_folder(whole: Path, data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "run", steps=1, lr=0, init=whole / "model")
    given = load_file(whole / "model" / WEIGHT_FILE)
    after = load_file(tmp_path / "run" / "last" / "network.safetensors")
    assert {name.removeprefix("vae.") for name in after} == set(given)
    assert all(torch.equal(after[f"vae.{k}"], tensor.float()) for k, tensor in given.items())


def test_first_weights_of_other_channels_give_all_but_the_layers_beside_the_latent(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    run(data, tmp_path / "run", steps=1, lr=0, channels=6, init=whole / "model")
    given, after = (load_file(f / "model" / WEIGHT_FILE) for f in (whole, tmp_path / "run"))
    fresh = {name for name in given if not torch.equal(given[name], after[name])}
    assert {name.rpartition(".")[0] for name in fresh} == {
        "encoder.conv_out", "quant_conv", "post_quant_conv", "decoder.conv_in"
    }  # fmt: skip


def test_a_shrunk_latent_is_decoded_to_a_shrunk_image(tiny_vaes: None) -> None:
    network = Autoencoding(build_vae("tiny", 4))
    x, noise = torch.rand(2, 3, 32, 32), torch.zeros(2, 4, 4, 4)
    made = network(x, noise, 2)
    assert made.y.shape == (2, 3, 16, 16)
    halved = torch.nn.functional.avg_pool2d(made.mean, 2)
    assert torch.allclose(made.y, network.vae.decode(halved).sample)


def test_a_decoder_alone_leaves_the_latents_as_they_are(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    """Or every denoiser that was trained on them would be worth nothing."""
    run(data, tmp_path / "run", steps=2, lr=0.01, init=whole / "model", decoder_only=True)
    before, after = (load_file(f / "model" / WEIGHT_FILE) for f in (whole, tmp_path / "run"))
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}
    scaling = [opened(f / "model").config.scaling_factor for f in (whole, tmp_path / "run")]
    assert scaling[0] == scaling[1]


def test_a_critic_helps_and_is_not_part_of_the_model(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    run(data, tmp_path / "run", steps=2, init=whole / "model", adversarial=0.5)
    state = load_file(tmp_path / "run" / "last" / "network.safetensors")
    assert any(name.startswith("critic.") for name in state)
    assert set(load_file(tmp_path / "run" / "model" / WEIGHT_FILE)) == set(
        load_file(whole / "model" / WEIGHT_FILE)
    )
    run(data, tmp_path / "run", steps=3, init=whole / "model", adversarial=0.5, resume=True)
    with pytest.raises(TrainingError, match="critic=True, not False"):
        run(data, tmp_path / "run", steps=4, resume=True)


# What the loss measures


def judged(share: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.nn.Module]:
    """Return the gradients of error and of pull at the same reconstruction, and the critic's."""
    torch.manual_seed(0)
    network = Autoencoding(build_vae("tiny", 4), critic=True)
    assert network.critic is not None
    x = torch.rand(2, 3, 64, 64) * 2 - 1
    made = network(x, torch.zeros(2, 4, 8, 8))
    error = reconstruction_loss(made.y, x, made.mean, made.log_variance)
    (alone,) = torch.autograd.grad(error, made.y, retain_graph=True)
    extra = adversarial_loss(made.y, made.verdict, error, share)
    (pull,) = torch.autograd.grad(extra, made.y, retain_graph=True)
    extra.backward()
    return alone, pull, extra, network


def test_the_critic_pulls_as_strongly_as_is_said(tiny_vaes: None) -> None:
    alone, pull, extra, network = judged(0.25)
    assert math.isclose(float(pull.norm() / alone.norm()), 0.25, rel_tol=1e-4)
    assert abs(float(extra.detach()) - 2) < 0.5, "a critic that knows nothing has a hinge loss of 2"
    assert all(p.grad is not None for p in network.critic.parameters())


def parts(y: torch.Tensor, x: torch.Tensor) -> float:
    """Return the loss with a latent that is a standard normal, whose divergence is zero."""
    latent = torch.zeros(len(x), 4, 1, 1)
    return float(reconstruction_loss(y, x, latent, latent))


def test_the_loss_is_zero_for_the_original_and_grows_with_the_error() -> None:
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert parts(x, x) == 0
    assert 0 < parts(x + 0.1, x) < parts(x + 0.2, x)


def test_errors_that_the_eye_sees_cost_more() -> None:
    """A pattern of the same mean error as a shift of all pixels is lost or invented detail."""
    x = torch.zeros(1, 3, 16, 16)
    shift = torch.full_like(x, 0.1)
    grain = shift * torch.tensor([1.0, -1.0]).repeat(8)
    assert parts(grain, x) > 1.5 * parts(shift, x)


def test_a_wrong_hue_costs_more_than_a_wrong_brightness() -> None:
    """Red cells among violet tissue are few pixels, and must not be painted violet."""
    x = torch.zeros(1, 3, 16, 16)
    brighter = torch.full_like(x, 0.2)
    redder = brighter * torch.tensor([1.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
    assert parts(redder, x) > 1.5 * parts(brighter, x)


def test_latents_far_from_a_standard_normal_cost_a_little() -> None:
    x, zero = torch.zeros(1, 3, 16, 16), torch.zeros(1, 4, 2, 2)
    near, far = (float(reconstruction_loss(x, x, zero + mean, zero)) for mean in (0.5, 5.0))
    assert 0 < near < far < 0.01


# What is refused


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop": 36}, "--crop is 36, but must be a multiple of 8"),
        ({"crop": 24}, "--crop is 24, but must be 32 or more"),
        ({"arch": "huge"}, "No autoencoder is called 'huge'"),
        ({"channels": 0}, "0 latent channels"),
        ({"decoder_only": True}, "add --init"),
        ({"adversarial": -1}, "--adversarial is -1, but must be 0 or more"),
    ],
)
def test_settings_that_are_not_possible(
    change: dict[str, Any], message: str, tiny_vaes: None, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingError, match=message):
        run(data, tmp_path / "run", steps=1, **change)


def test_first_weights_that_are_not_there(tiny_vaes: None, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=f"There is no {WEIGHT_FILE} in .*nowhere"):
        run(data, tmp_path / "run", steps=1, init=tmp_path / "nowhere")


def test_first_weights_that_are_damaged(tiny_vaes: None, data: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHT_FILE).write_bytes(b"half")
    with pytest.raises(WeightsError, match="is damaged or not a safetensors file"):
        run(data, tmp_path / "run", steps=1, init=tmp_path)


def test_an_encoder_that_is_to_stay_has_its_channels(
    whole: Path, data: Path, tmp_path: Path
) -> None:
    settings = {"channels": 6, "init": whole / "model", "decoder_only": True}
    with pytest.raises(WeightsError, match=r"the tensor vae\.\S+ has shape"):
        run(data, tmp_path / "run", steps=1, **settings)


def test_a_run_of_other_channels_is_not_resumed(whole: Path, data: Path) -> None:
    with pytest.raises(TrainingError, match="channels=4, not 6"):
        run(data, whole, steps=9, channels=6, resume=True)


def test_crops_that_do_not_fit_the_tiles(tiny_vaes: None, data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="Crops of 96 px do not fit into tiles of 72×64"):
        run(data, tmp_path / "run", steps=1, crop=96)
