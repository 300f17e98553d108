"""Denoising with networks trained on pairs: conditional diffusion and Noise2Noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from histomend import denoise
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.errors import (
    ModelMismatchError,
    ModelNotFoundError,
    SettingError,
    UnsupportedImageError,
    WeightsError,
)
from histomend.methods.conditional import Conditional
from histomend.models import Model, ModelConfig, load_model, read_config, save_model
from histomend.networks.build import CALIBRATED_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet

METHODS = ["conditional", "noise2noise"]


class TellsTheImage(nn.Module):
    """Predicts the image that it is shown for the clean one, a little darker."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x.chunk(2, 1)[1] - 0.1


class TellsBlur(nn.Module):
    """Takes what differs from the mean of the neighbours for noise."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return x - nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)


def made(method: str, channels: int = 1, network: nn.Module | None = None) -> Model:
    """Return a model that needs no training."""
    kind, usual = {
        "conditional": ("x0", TellsTheImage()),
        "noise2noise": ("epsilon", TellsBlur()),
    }[method]
    config = ModelConfig(
        method, "small", kind, channels=channels, context=False, window=64, fast_steps=3
    )
    schedule = config.noise_schedule()
    denoiser = Denoiser(network or usual, schedule, config.prediction)
    return Model("test", config, denoiser, torch.device("cpu"))


def waves(channels: int, sigma: float = 0.0) -> np.ndarray:
    """Return a smooth image, with or without noise, float32 in [0, 1]."""
    y, x = np.mgrid[:64, :100] / 40
    clean = np.stack([0.5 + 0.3 * np.sin(x + c) * np.cos(y) for c in range(channels)], -1)
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape) if sigma else 0
    return (clean + noise).clip(0, 1).astype(np.float32)


def random_network(channels: int, inputs: int) -> nn.Module:
    network = ConvUNet(
        inputs, channels, channels=32, multipliers=(1, 2), blocks=1, patch=2, local=True
    )
    nn.init.normal_(network.head.weight, 0, 0.05)
    return network.requires_grad_(False)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_shape_and_type_are_kept_and_no_t_is_told(
    method: str, channels: int, dtype: type[np.integer[Any]]
) -> None:
    image = np.rint(waves(channels, 0.05) * np.iinfo(dtype).max).astype(dtype)
    result = denoise(image, model=made(method, channels), method=method)
    assert (result.pixels.shape, result.pixels.dtype) == (image.shape, image.dtype)
    assert result.t_map is None
    assert "t" not in result.record.figures
    assert result.record.figures["nfe_most"] == {"conditional": 3, "noise2noise": 1}[method]
    assert json.loads(result.record.to_json())["method"] == method


def test_conditional_diffusion_ends_at_what_the_network_makes_of_the_image() -> None:
    image = waves(2)
    for settings in ({}, {"preset": "paper", "steps": 5}, {"sampler": "ddpm"}):
        result = denoise(image, model=made("conditional", 2), method="conditional", **settings)
        # Nothing is passed on because it is clean: no calibrator says so.
        np.testing.assert_allclose(result.pixels, image - 0.05, atol=1e-4)


def test_conditional_diffusion_starts_from_noise_and_shows_the_image() -> None:
    image = torch.rand(2, 3, 64, 64)
    recipe = Conditional(image)
    noise = NoiseStream([NoiseField(0), NoiseField(1)], [(0, 0)] * 2)
    start = recipe.start(noise)
    assert float(start.std()) == pytest.approx(1, rel=0.02)
    stacked = torch.stack([start.flatten(), image.flatten()])
    assert abs(float(torch.corrcoef(stacked)[0, 1])) < 0.02
    assert recipe.condition.maps is image


def test_noise2noise_takes_away_what_the_network_tells_in_one_call() -> None:
    noisy, clean = waves(1, 0.1), waves(1)
    restored = denoise(noisy, model=made("noise2noise"), method="noise2noise").pixels
    before, after = (np.square(v - clean).mean() for v in (noisy, restored))
    assert after < 0.3 * before


def test_the_result_depends_on_the_seed_and_not_on_the_batch() -> None:
    model = made("conditional", network=random_network(1, 2))
    image = np.concatenate([waves(1, 0.05)] * 3, 1)
    settings = {"model": model, "method": "conditional", "sampler": "ddpm"}
    one, other = (denoise(image, seed=5, batch=batch, **settings).pixels for batch in (1, 3))
    np.testing.assert_array_equal(one, other)
    assert (denoise(image, seed=6, **settings).pixels != one).any()
    sure = {"model": made("noise2noise"), "method": "noise2noise"}
    first, second = (denoise(image, seed=seed, **sure).pixels for seed in (5, 6))
    np.testing.assert_array_equal(first, second)


def test_the_record_says_how_conditional_diffusion_was_sampled() -> None:
    model = made("conditional")
    record = denoise(waves(1), model=model, method="conditional", preset="paper", steps=4).record
    told = {key: record.settings[key] for key in ("preset", "sampler", "steps")}
    assert told == {"preset": "paper", "sampler": "ddpm", "steps": 4}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"model": None}, ModelNotFoundError, r"comes with Histomend\. .*histomend train {method}"),
        ({"preset": "author_code"}, SettingError, "author_code"),
        ({"method": "rscd"}, ModelMismatchError, "is for {method}, and rscd needs"),
        ({"method": "ccdf"}, ModelMismatchError, "is for {method}, and ccdf needs"),
        ({"image": waves(3)}, UnsupportedImageError, "3 channels, and the model is for 1"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(
    method: str, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"image": waves(1), "model": made(method), "method": method, **settings}
    with pytest.raises(error, match=words.replace("{method}", method)):
        denoise(given.pop("image"), **given)


@pytest.mark.parametrize(("one", "other"), [METHODS, METHODS[::-1]])
def test_a_model_of_the_other_kind_is_refused(one: str, other: str) -> None:
    with pytest.raises(ModelMismatchError, match=f"is for {one}, and {other} needs"):
        denoise(waves(1), model=made(one), method=other)


@pytest.mark.parametrize("settings", [{"steps": 4}, {"sampler": "ddim"}], ids=str)
def test_one_call_has_no_steps_and_no_sampler(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match="noise2noise has no such --steps or --sampler"):
        denoise(waves(1), model=made("noise2noise"), method="noise2noise", **settings)


@pytest.mark.parametrize("settings", [{"steps": 1001}, {"sampler": "euler"}], ids=str)
def test_steps_and_samplers_that_conditional_diffusion_does_not_have(
    settings: dict[str, Any],
) -> None:
    with pytest.raises(SettingError, match=r"1000|'euler'"):
        denoise(waves(1), model=made("conditional"), method="conditional", **settings)


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Return folders of models with random weights."""
    tiny = {"channels": 32, "multipliers": (2,), "blocks": 1, "patch": 4, "local": True}
    monkeypatch.setitem(CALIBRATED_ARCHS, "tiny", Arch(ConvUNet, tiny, "tests"))
    for method, kind in zip(METHODS, ("v", "epsilon"), strict=True):
        config = ModelConfig(method, "tiny", kind, channels=2, context=False)  # type: ignore[arg-type]
        save_model(tmp_path / method, config.network().state_dict(), config)
    return {method: tmp_path / method for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_model_comes_back_with_a_network_for_its_kind(
    method: str, saved: dict[str, Path]
) -> None:
    model = load_model(saved[method], "cpu")
    assert model.config.in_channels == {"conditional": 4, "noise2noise": 2}[method]
    assert model.calibrator is None
    assert denoise(waves(2), model=saved[method], method=method).pixels.shape == (64, 100, 2)


@pytest.mark.parametrize(
    ("method", "key", "value"),
    [
        ("conditional", "context", True),
        ("conditional", "highest_t", 200),
        ("noise2noise", "context", True),
        ("noise2noise", "prediction", "x0"),
        ("noise2noise", "learned_variance", True),
    ],
)
def test_a_config_that_its_method_cannot_have_is_refused(
    method: str, key: str, value: object, saved: dict[str, Path]
) -> None:
    path = saved[method] / "config.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps({**fields, key: value}))
    with pytest.raises(WeightsError, match=f"says {key}={value!r}"):
        read_config(saved[method])
