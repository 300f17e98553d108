"""Denoising whole fields: what comes back, what stays as it was, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from histomend import denoise
from histomend.diffusion.denoiser import Denoiser
from histomend.diffusion.noise import NoiseField, NoiseStream
from histomend.diffusion.schedule import cosine
from histomend.diffusion.trajectory import Step
from histomend.errors import (
    HistomendError,
    ImageSizeError,
    ModelMismatchError,
    ModelNotFoundError,
    SettingError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.methods.ccdf import CCDF, low_frequencies
from histomend.methods.rrd import RRD
from histomend.models import Calibrator, CalibratorConfig, Model, ModelConfig
from histomend.networks.conv_unet import ConvUNet

DTYPES = [np.uint8, np.uint16, np.float32]


class Roughness(nn.Module):
    """Tells t from the differences of neighbours: a calibrator that needs no training."""

    def __init__(self, sigma: torch.Tensor):
        super().__init__()
        self.register_buffer("sigma", sigma)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bend = x[..., 2:] - 2 * x[..., 1:-1] + x[..., :-2]
        spread = bend.flatten(1).std(1) / 6**0.5
        return (self.sigma[None] - spread[:, None]).abs().argmin(1).float()


class Blur(nn.Module):
    """Takes what differs from the mean of the neighbours for noise."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        smooth = nn.functional.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
        return (x - smooth) / (0.0015 * t.reshape(-1, 1, 1, 1) + 0.006)


def made(channels: int, network: nn.Module | None = None) -> Model:
    config = ModelConfig(
        "rscd", "small", "epsilon", channels=channels, context=False, highest_t=200, window=64,
        fast_steps=4,
    )  # fmt: skip
    schedule = config.noise_schedule()
    denoiser = Denoiser(network or Blur(), schedule, "epsilon")
    tells = Calibrator(CalibratorConfig("small", channels), Roughness(schedule.sigma.float()))
    return Model("test", config, denoiser, torch.device("cpu"), calibrator=tells)


def clean(channels: int, height: int = 96, width: int = 130) -> np.ndarray:
    """Return a smooth image in [0, 1]."""
    y, x = np.mgrid[:height, :width] / 40
    return np.stack([0.5 + 0.3 * np.sin(x + c) * np.cos(y) for c in range(channels)], -1)


def stored(values: np.ndarray, dtype: type) -> np.ndarray:
    if dtype is np.float32:
        return values.clip(0, 1).astype(dtype)
    return np.rint(values.clip(0, 1) * np.iinfo(dtype).max).astype(dtype)


def noisy(channels: int, dtype: type = np.uint16, sigma: float = 0.03, **size: int) -> np.ndarray:
    truth = clean(channels, **size)
    return stored(truth + np.random.default_rng(0).normal(0, sigma, truth.shape), dtype)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_shape_type_and_range_are_kept_and_the_image_becomes_cleaner(channels, dtype):
    image = noisy(channels, dtype)
    result = denoise(image, model=made(channels), seed=1)
    assert (result.pixels.shape, result.pixels.dtype) == (image.shape, image.dtype)
    truth = stored(clean(channels), dtype).astype(float)
    before, after = (np.square(v.astype(float) - truth).mean() for v in (image, result.pixels))
    assert after < 0.6 * before
    assert (result.t_map.shape, result.t_map.dtype) == (image.shape[:2], np.float32)
    assert result.t_map.min() > 5


def test_a_grey_image_without_a_channel_axis_and_a_pillow_image():
    image = noisy(1, np.uint8)[..., 0]
    result = denoise(image, model=made(1))
    assert result.pixels.shape == image.shape
    pictured = denoise(PIL.Image.fromarray(image), model=made(1))
    np.testing.assert_array_equal(pictured.pixels, result.pixels)


def test_a_stack_is_restored_plane_by_plane_with_one_intensity():
    stack = np.stack([noisy(2), stored(clean(2), np.uint16) // 8, noisy(2)])
    result = denoise(stack, model=made(2), sampler="ddpm")
    assert (result.pixels.shape, result.t_map.shape) == (stack.shape, stack.shape[:3])
    assert result.record.figures["intensity"] == {"low": 0.0, "high": 65535.0}
    np.testing.assert_array_equal(result.pixels[1], stack[1], "the clean plane")
    assert (result.pixels[0] != result.pixels[2]).any(), "each plane has noise of its own"
    of_list = denoise(list(stack), model=made(2), sampler="ddpm")
    np.testing.assert_array_equal(of_list.pixels, result.pixels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_clean_goes_through_byte_for_byte(dtype):
    image = stored(clean(1), dtype)
    image[:, 90:] = noisy(1, dtype)[:, 90:]
    result = denoise(image, model=made(1))
    untouched = np.rint(result.t_map) == 0
    assert untouched[:, :20].all()
    assert not untouched[:, -20:].any()
    assert result.pixels[untouched].tobytes() == image[untouched].tobytes()
    assert (result.pixels[~untouched] != image[~untouched]).any()
    assert 0 < result.record.figures["unchanged_share"] < 1


@pytest.mark.parametrize(("channels", "name"), [(1, "rscd-fluo"), (2, "rscd-fluo"), (3, "rscd-he")])
def test_the_model_that_comes_with_it_fits_the_channels_and_takes_noise_away(channels, name):
    image = noisy(channels, np.uint8, sigma=0.1)
    result = denoise(image)
    assert result.record.model["name"] == name
    assert gain_db(image, result.pixels, stored(clean(channels), np.uint8).astype(float)) > 3


def test_the_result_depends_on_the_seed_and_not_on_the_batch():
    torch.manual_seed(0)
    network = ConvUNet(1, 1, channels=32, multipliers=(1, 2), blocks=1, patch=2, local=True)
    network.requires_grad_(False)
    nn.init.normal_(network.head.weight, 0, 0.05)
    model = made(1, network)
    image = noisy(1, height=128, width=160)
    image[:, 80:] = noisy(1, sigma=0.01, height=128, width=160)[:, 80:]
    one, other = (
        denoise(image, model=model, sampler="ddpm", seed=5, batch=batch) for batch in (1, 3)
    )
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.t_map.max() > 2 * one.t_map.min(), "tiles at different t went through together"
    again = denoise(image, model=model, sampler="ddpm", seed=6)
    assert (again.pixels != one.pixels).any()


def test_no_seam_shows_where_tiles_meet():
    image = noisy(1, np.float32, height=64, width=256)
    steps = np.abs(np.diff(denoise(image, model=made(1)).pixels[..., 0], axis=1)).mean(0)
    assert steps.max() < 3 * np.median(steps)


def test_a_dim_image_is_shown_stretched_and_comes_back_dim():
    full = noisy(1)
    dim = (full // 40).astype(np.uint16)
    bright, dark = (denoise(image, model=made(1)) for image in (full, dim))
    assert dark.record.figures["intensity"]["high"] == pytest.approx(3 * dim.max(), rel=0.1)
    assert any("less than a third" in notice for notice in dark.record.notices)
    # Signal and noise are as large beside each other as before, but for the headroom.
    assert dark.t_map.mean() > bright.t_map.mean() / 5
    assert dark.pixels.max() <= dim.max() * 1.1
    eight = denoise((noisy(3) // 40).astype(np.uint16), model=made(3))
    assert eight.record.figures["intensity"]["high"] == 65535, (
        "the brightness of RGB means something"
    )


def test_the_record_says_what_was_done():
    image = noisy(1)
    done = []
    result = denoise(image, model=made(1), seed=3, progress=lambda now, of: done.append((now, of)))
    assert done[-1][0] == done[-1][1] == len(done)
    data = json.loads(result.record.to_json())
    assert data["seed"] == 3
    assert data["settings"]["preset"] == "fast"
    assert data["figures"]["nfe_most"] <= 4
    assert data["figures"]["t"]["max"] == pytest.approx(result.t_map.max())
    assert (data["source"]["height"], data["source"]["width"], data["source"]["axes"]) == (
        96,
        130,
        "YXC",
    )
    assert "sha256" in data["model"]
    assert "not for diagnosis" in data["note"]


def test_saturation_is_told():
    image = noisy(1)
    image[:20] = 65535
    notices = denoise(image, model=made(1)).record.notices
    assert any("saturated" in notice for notice in notices)


def with_nan() -> np.ndarray:
    image = noisy(1, np.float32)
    image[3, 4] = np.nan
    return image


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (noisy(3), UnsupportedImageError, "3 channels, and the model is for 1.*--per-channel"),
        (np.full((80, 80), 7, np.uint8), ValueRangeError, "every value is 7"),
        (with_nan(), ValueRangeError, "NaN or infinity at x=4, y=3"),
        (noisy(1, np.float32) - 0.9, ValueRangeError, "never negative"),
        (noisy(1, np.float32) * 400, ValueRangeError, "range is not known"),
        (noisy(1, height=40), ImageSizeError, "at least 64"),
        ([noisy(1), noisy(1, width=90)], ImageSizeError, "plane 1.*one shape"),
        (np.zeros((0, 80, 80, 1), np.uint8), ImageSizeError, "too small"),
        ("nothing", HistomendError, "nothing"),
        (PIL.Image.new("CMYK", (80, 80)), UnsupportedImageError, "CMYK"),
        (42, UnsupportedImageError, "int"),
    ],
)
def test_what_cannot_be_restored_is_refused_by_name(image, error, words):
    with pytest.raises(error, match=words):
        denoise(image, model=made(1))


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"method": "magic"}, SettingError, "'magic'.*rscd"),
        ({"preset": "slow"}, SettingError, "'slow'"),
        ({"batch": 0}, SettingError, "batch=0"),
        ({"model": "rscd-xx"}, ModelNotFoundError, "rscd-he"),
        ({"model": replace(made(1), calibrator=None)}, ModelMismatchError, "no calibrator"),
        (
            {"model": replace(made(1), config=ModelConfig("artifusion", "small"))},
            ModelMismatchError,
            "is for artifusion",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_any_work(settings, error, words):
    with pytest.raises(error, match=words):
        denoise(noisy(1), **{"model": made(1), **settings})


# The methods that RSCD is compared with

SCHEDULE = cosine(1000)
STREAM = NoiseStream([NoiseField(0)], [(0, 0)])


def gain_db(image: np.ndarray, restored: np.ndarray, truth: np.ndarray) -> float:
    before, after = (np.square(v.astype(float) - truth).mean() for v in (image, restored))
    return 10 * np.log10(before / after)


@pytest.mark.parametrize(
    ("settings", "t"),
    [
        ({"method": "ccdf", "steps": 5}, 100),
        ({"method": "rrd", "steps": 5}, None),
        ({"preset": "no_recalibration", "sampler": "ddim"}, None),
        ({"preset": "fixed_10"}, 10),
        ({"preset": "fixed_50"}, 50),
        ({"preset": "noise_estimate"}, None),
    ],
    ids=str,
)
def test_every_diffusion_method_and_ablation_cleans_and_says_its_t(settings, t):
    image = noisy(1, np.float32, height=64, width=64)
    result = denoise(image, model=made(1), **settings)
    assert gain_db(image, result.pixels, clean(1, 64, 64)) > 1
    if t is not None:
        np.testing.assert_allclose(result.t_map, t, atol=0.01)
    else:
        assert result.t_map.mean() > 5


@pytest.mark.parametrize(("method", "steps"), [("median", None), ("deep-image-prior", 40)])
def test_methods_without_a_model_know_no_t(method, steps):
    image = noisy(2, np.float32, sigma=0.15, height=64, width=64)
    result = denoise(image, method=method, steps=steps)
    assert result.t_map is None
    assert result.record.model is None
    assert "t" not in result.record.figures
    assert gain_db(image, result.pixels, clean(2, 64, 64)) > 1


def test_ccdf_starts_from_the_image_noised_to_t_and_holds_on_to_its_low_frequencies():
    image = torch.rand(1, 1, 64, 64)
    recipe = CCDF(image, torch.tensor([100.0]), SCHEDULE)
    start = recipe.start(STREAM)
    assert float((start - SCHEDULE.alpha[100] * image).std()) == pytest.approx(
        float(SCHEDULE.sigma[100]), rel=0.1
    )
    end = recipe.after(torch.zeros_like(image), Step(torch.tensor([1]), torch.tensor([0])))
    torch.testing.assert_close(end, low_frequencies(image), rtol=0, atol=1e-5)
    resting = recipe.after(image, Step(torch.tensor([0]), torch.tensor([0])))
    assert torch.equal(resting, image)


def test_rrd_starts_from_the_image_and_draws_the_low_frequencies_halfway():
    image = torch.rand(1, 1, 64, 64)
    recipe = RRD(image, torch.tensor([100.0]), SCHEDULE)
    torch.testing.assert_close(recipe.start(STREAM), float(SCHEDULE.alpha[100]) * image)
    end = recipe.after(torch.zeros_like(image), Step(torch.tensor([1]), torch.tensor([0])))
    torch.testing.assert_close(end, 0.5 * low_frequencies(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "ccdf", "preset": "paper"}, "No preset of ccdf"),
        ({"method": "ccdf", "steps": 500}, "1 to 200"),
        ({"method": "median", "model": None, "steps": 3}, "no such --steps"),
        ({"method": "median"}, "has no model"),
    ],
    ids=str,
)
def test_options_that_a_method_does_not_have_are_refused(settings, words):
    image = noisy(1, height=64, width=64)
    with pytest.raises(SettingError, match=words):
        denoise(image, **{"model": made(1), **settings})
