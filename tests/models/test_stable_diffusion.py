"""Stable Diffusion as prior, end to end, with a tiny checkpoint in its own folder format."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from histomend.api import upscale
from histomend.errors import ModelMismatchError, ModelNotFoundError, WeightsError
from histomend.image import write_image
from histomend.models.priors import load_prior
from histomend.models.stable_diffusion import PROMPT, StableDiffusion, is_pipeline
from histomend.models.upscaler import UpscalerConfig, load_upscaler, save_upscaler
from histomend.networks.stable_diffusion import load_controlnet
from histomend.train import ControlOptions, train

SCHEDULER: dict[str, Any] = {
    "_class_name": "PNDMScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "num_train_timesteps": 1000,
}


def write_unet(folder: Path, width: int = 16) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import UNet2DConditionModel

        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(width, width),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            norm_num_groups=4,
            cross_attention_dim=8,
            attention_head_dim=(2, 2),
            use_linear_projection=True,
        )
        unet.save_pretrained(folder)


@pytest.fixture(scope="module")
def pipeline(tiny_vae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a pipeline without text encoder, the blank prompt beside it."""
    folder = tmp_path_factory.mktemp("sd")
    write_unet(folder / "unet")
    shutil.copytree(tiny_vae, folder / "vae")
    (folder / "scheduler").mkdir()
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER))
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    save_file({"prompt": torch.ones(1, 5, 8)}, folder / PROMPT)
    return folder


@pytest.fixture
def copied(pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pipeline, tmp_path / "sd"))


@pytest.fixture(scope="module")
def upscaler(
    pipeline: Path, untrained_restoration: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    prior = load_prior(pipeline)
    branch = prior.branch()
    for parameter in branch.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    folder = tmp_path_factory.mktemp("sd-upscaler")
    config = UpscalerConfig.of(prior, untrained_restoration, fast_steps=2)
    save_upscaler(folder, branch, prior, pipeline, untrained_restoration, config)
    return folder


def test_it_is_read_as_a_prior(pipeline: Path) -> None:
    prior = load_prior(pipeline)
    assert isinstance(prior, StableDiffusion)
    assert (prior.schedule.name, prior.prediction) == ("scaled_linear", "epsilon")
    assert (prior.channels, prior.space.factor, prior.window) == (4, 8, 64)
    assert is_pipeline(pipeline)
    assert not is_pipeline("latent-artifusion-he")


def test_a_fresh_controlnet_sees_the_control_and_changes_nothing(pipeline: Path) -> None:
    prior = load_prior(pipeline)
    assert isinstance(prior, StableDiffusion)
    branch: Any = prior.branch()
    assert branch.conv_in.in_channels == 8
    assert not branch.conv_in.weight[:, 4:].any()
    x, control = torch.randn(2, 4, 8, 16), torch.randn(2, 4, 8, 16)
    t = torch.tensor([1, 1000])
    with torch.no_grad():
        steered = prior.controlled(branch)(torch.cat([x, control], 1), t)
        alone = prior.network(x, t - 1, prior.prompt.expand(2, -1, -1)).sample
    torch.testing.assert_close(steered, alone)


def test_an_upscaler_names_it_and_keeps_its_controlnet_in_diffusers_format(
    upscaler: Path, pipeline: Path
) -> None:
    assert {path.name for path in (upscaler / "control").iterdir()} == {
        "config.json", "diffusion_pytorch_model.safetensors", PROMPT
    }  # fmt: skip
    assert not (upscaler / "prior").exists()
    model = load_upscaler(upscaler, "cpu")
    assert model.config.prior == str(pipeline)
    assert load_controlnet(upscaler / "control")[0].config.in_channels == 8
    image = np.random.default_rng(0).integers(0, 256, (40, 70, 3), dtype=np.uint8)
    one, other = (upscale(image, scale=2, model=model, colour=c) for c in ("none", "wavelet"))
    assert one.pixels.shape == (80, 140, 3)
    assert (one.pixels != other.pixels).any()


def test_its_controlnet_can_be_trained(
    pipeline: Path,
    untrained_restoration: Path,
    tissue: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "tiles").mkdir()
    for number in range(3):
        write_image(tmp_path / "tiles" / f"{number}.png", tissue[:64, 64 * number :][:, :64])
    for name in ("HELD_OUT", "SHOWN", "STEPS"):
        monkeypatch.setattr(f"histomend.train.control.{name}", 1)
    parts: dict[str, Any] = {"prior": pipeline, "restoration": untrained_restoration}
    few: dict[str, Any] = {"batch": 1, "crop": 64, "versions": 1, "device": "cpu"}
    train(ControlOptions(tmp_path / "tiles", tmp_path / "run", steps=2, **parts, **few))
    assert load_upscaler(tmp_path / "run" / "model", "cpu").config.arch == "stable-diffusion"


def test_a_controlnet_that_does_not_fit_its_unet_is_refused(
    upscaler: Path, copied: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(upscaler, tmp_path / "up"))
    shutil.rmtree(copied / "unet")
    write_unet(copied / "unet", width=32)
    config = json.loads((folder / "config.json").read_text())
    other = {"prior": str(copied), "prior_sha256": load_prior(copied).sha256}
    (folder / "config.json").write_text(json.dumps(config | other))
    with pytest.raises(ModelMismatchError, match=r"block_out_channels=\[16, 16\]"):
        load_upscaler(folder, "cpu")


def test_a_prior_that_is_gone_or_was_exchanged_is_named(
    upscaler: Path, tmp_path: Path, copied: Path
) -> None:
    folder = Path(shutil.copytree(upscaler, tmp_path / "up"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"prior": str(tmp_path / "gone")}))
    with pytest.raises(ModelNotFoundError, match="gone"):
        load_upscaler(folder, "cpu")
    (folder / "config.json").write_text(json.dumps(config | {"prior_sha256": "0" * 64}))
    with pytest.raises(ModelMismatchError, match="a prior of sha256"):
        load_upscaler(folder, "cpu")


def test_v_prediction_is_taken_from_the_scheduler(copied: Path) -> None:
    path = copied / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(SCHEDULER | {"prediction_type": "v_prediction"}))
    assert load_prior(copied).prediction == "v"
    path.write_text(json.dumps(SCHEDULER | {"beta_schedule": "squaredcos_cap_v2"}))
    with pytest.raises(ModelMismatchError, match="squaredcos_cap_v2"):
        load_prior(copied)
    path.write_text("{}")
    with pytest.raises(ModelMismatchError, match="beta_schedule"):
        load_prior(copied)


def test_what_lacks_is_named(copied: Path) -> None:
    (copied / PROMPT).unlink()
    with pytest.raises(WeightsError, match="blank prompt"):
        load_prior(copied)
    (copied / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="holds no diffusion_pytorch_model"):
        load_prior(copied)


def test_the_blank_prompt_is_embedded_by_the_text_encoder(copied: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers")
        (copied / PROMPT).unlink()
        (copied / "tokenizer").mkdir()
        words = ["<|startoftext|>", "<|endoftext|>", "!", "a</w>"]
        vocabulary = copied / "tokenizer" / "vocab.json"
        vocabulary.write_text(json.dumps({word: k for k, word in enumerate(words)}))
        (copied / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
        (copied / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 7}')
        config = transformers.CLIPTextConfig(
            vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=7, bos_token_id=0, eos_token_id=1,
        )  # fmt: skip
        transformers.CLIPTextModel(config).save_pretrained(copied / "text_encoder")
    prior = load_prior(copied)
    assert isinstance(prior, StableDiffusion)
    assert prior.prompt.shape == (1, 7, 8)
