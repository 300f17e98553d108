"""Enlarging keeps to what the image shows, is reproducible, and leaves no seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PilImage
from torch.nn import functional as F

import histomend
from histomend.api import upscale
from histomend.baselines.published import PublishedUpscaler
from histomend.diffusion.space import LatentSpace
from histomend.errors import (
    ImageSizeError,
    InputError,
    ModelMismatchError,
    ModelNotFoundError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
)
from histomend.image import Image
from histomend.image.resampling import deviation, resized_to
from histomend.jobs.engines import run_stage
from histomend.methods import enlarging, histo_diffusion
from histomend.methods.decide import decide
from histomend.methods.enlarging import cleaning
from histomend.models.restoration import RestorationConfig, load_restoration, save_restoration
from histomend.models.upscaler import Upscaler, load_upscaler
from histomend.networks.rrdb import RRDB_ARCHS, RRDBNet
from histomend.slides.source import ArraySource


@pytest.fixture(scope="module")
def model(untrained_upscaler: Path) -> Upscaler:
    return load_upscaler(untrained_upscaler, "cpu")


@pytest.fixture(scope="module")
def small(tissue: np.ndarray) -> np.ndarray:
    return tissue[:40, :48].copy()


@pytest.mark.parametrize("scale", [1.6, 2, 3.7])
def test_any_scale_and_size(model: Upscaler, small: np.ndarray, scale: float) -> None:
    result = upscale(small, scale=scale, model=model, mpp=2.0)
    assert result.pixels.shape == (round(40 * scale), round(48 * scale), 3)
    assert result.pixels.dtype == np.uint8
    assert result.image.mpp == pytest.approx(2.0 / scale)
    assert result.record.nfe == 2


def test_the_scale_follows_from_pixel_sizes(model: Upscaler, small: np.ndarray) -> None:
    job = decide("upscale", small, target_mpp=0.5, model=model, mpp=1.0)
    assert (job.settings["scale"], job.output.height, job.output.width) == (2.0, 80, 96)
    assert job.notices == ()
    (notice,) = decide("upscale", small, scale=4, model=model, mpp=1.0).notices
    assert "0.25 um per pixel" in notice


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(
    model: Upscaler, small: np.ndarray
) -> None:
    one, same, other = (
        upscale(small, scale=2, model=model, seed=seed, colour="none").pixels for seed in (1, 1, 2)
    )
    assert one.tobytes() == same.tobytes()
    assert one.tobytes() != other.tobytes()


def test_sixteen_bits_stay(model: Upscaler, small: np.ndarray) -> None:
    deep = small.astype(np.uint16) * 257
    result = upscale(deep, scale=2, model=model, generation=0)
    eight = upscale(small, scale=2, model=model, generation=0)
    assert result.pixels.dtype == np.uint16
    difference = result.pixels / 257 - eight.pixels
    assert np.abs(difference).max() < 2


def test_the_dial_goes_from_the_cleaned_image_to_the_whole_generation(
    model: Upscaler, small: np.ndarray
) -> None:
    enlarged = ArraySource(Image(resized_to(small, (80, 96))))
    stage = cleaning(enlarged, model.restoration, model.device, last=False)
    cleaned = stage.place(run_stage(stage, model.device, 1, lambda: None), enlarged).about.pixels
    none = upscale(small, scale=2, model=model, generation=0)
    assert none.pixels.tobytes() == cleaned.tobytes()
    assert none.record.nfe == 0
    few, half, all_ = (
        upscale(small, scale=2, model=model, generation=g, steps=4, colour="none").record
        for g in (0.01, 0.5, 1.0)
    )
    assert [few.nfe, half.nfe, all_.nfe] == [1, 2, 4]
    assert [r.settings["times"][0] for r in (few, half, all_)] == [10, 500, 1000]


def test_the_wavelet_fix_keeps_the_colours_of_the_cleaned_image(
    model: Upscaler, small: np.ndarray
) -> None:
    cleaned = upscale(small, scale=2, model=model, generation=0).pixels
    off = {
        colour: np.abs(
            upscale(small, scale=2, model=model, colour=colour).pixels.mean((0, 1))
            - cleaned.mean((0, 1))
        ).max()
        for colour in ("wavelet", "adain", "none")
    }
    assert off["wavelet"] < 3 < off["none"]
    assert off["adain"] < 3


def test_what_the_diffusion_leaves_stays_as_it_was_cleaned(
    model: Upscaler, small: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The difference holds nothing of what the autoencoder itself loses or invents."""

    def nothing(denoiser: Any, recipe: Any, *_: Any) -> Any:
        return SimpleNamespace(x=recipe.control)

    monkeypatch.setattr(histo_diffusion, "sample", nothing)
    cleaned = upscale(small, scale=2, model=model, generation=0).pixels
    changed = upscale(small, scale=2, model=model, colour="difference").pixels
    assert np.abs(changed.astype(int) - cleaned).max() <= 1
    through = upscale(small, scale=2, model=model, colour="none").pixels
    assert np.abs(through.astype(int) - cleaned).max() > 10


@pytest.mark.parametrize("scale", [2, 4, 2.7])
def test_the_diffusion_draws_between_the_pixels_of_the_source_only(
    model: Upscaler, small: np.ndarray, scale: float
) -> None:
    """Scanned with the source's pixels, the result is what the cleaned image is."""

    def scanned(**settings: Any) -> np.ndarray:
        pixels = upscale(small, scale=scale, model=model, **settings).pixels
        field = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)
        return F.interpolate(field[None], small.shape[:2], mode="area").numpy()

    cleaned = scanned(generation=0)
    off, free = (np.abs(scanned(colour=c) - cleaned).mean() for c in ("difference", "wavelet"))
    assert off < 0.1 * free


def test_the_gain_of_a_model_multiplies_what_the_diffusion_drew(
    model: Upscaler, small: np.ndarray
) -> None:
    cleaned = upscale(small, scale=2, model=model, generation=0).pixels.astype(int)
    drawn = []
    for gain in (0.1, 0.05):
        weak = replace(model, config=replace(model.config, gain=gain))
        result = upscale(small, scale=2, model=weak, colour="difference")
        assert result.record.settings["gain"] == gain
        drawn.append(result.pixels - cleaned)
    inside = (cleaned > 40) & (cleaned < 215)
    twice, once = (d[inside] for d in drawn)
    assert np.abs(twice).mean() > 2
    assert np.abs(twice - 2 * once).mean() < 1.1


def test_the_record_says_how_far_the_result_is_off_its_source(small: np.ndarray) -> None:
    for image in (small, small.astype(np.uint16) * 257):
        as_it_is = np.repeat(np.repeat(image, 3, axis=0), 3, axis=1)
        assert deviation(image, as_it_is) == 0
        lighter = as_it_is + np.array(3 * (image.max() // small.max()), image.dtype)
        assert deviation(image, lighter) == pytest.approx(3, abs=0.02)
    assert 0 < upscale(small, scale=3, method="lanczos").record.figures["deviation"] < 3


def test_a_model_comes_with_histomend(small: np.ndarray) -> None:
    model = decide("upscale", small, scale=2, device="cpu").model
    assert model is not None
    assert model["name"] == "histo-diffusion-he"
    larger = histomend.upscale(small, scale=2, steps=1, device="cpu").pixels
    assert larger.shape == (80, 96, 3)


def test_presets_say_how_colours_are_fixed(model: Upscaler, small: np.ndarray) -> None:
    settings = [
        decide("upscale", small, scale=2, model=model, **how).settings["colour"]
        for how in ({}, {"preset": "paper"}, {"preset": "paper", "colour": "none"})
    ]
    assert settings == ["difference", "wavelet", "none"]


def test_the_control_can_be_kept(model: Upscaler, small: np.ndarray) -> None:
    result = upscale(small, scale=2, model=model, keep_control=True)
    assert result.control is not None
    assert result.control.shape == result.pixels.shape
    assert upscale(small, scale=2, model=model).control is None


def test_the_diffusion_of_a_field_of_several_windows_is_one(
    model: Upscaler, tissue: np.ndarray
) -> None:
    """Where windows overlap they are averaged at each step: the result has no jump there."""
    image = tissue[:64, :96]
    pixels = upscale(image, scale=2.5, model=model, colour="none").pixels.astype(float)
    across = np.abs(np.diff(pixels, axis=1)).mean((0, 2))
    # Windows of 64 px begin every 48 px.
    seams = across[[47, 95, 143]].mean()
    assert seams < 1.5 * np.median(across) + 1


def test_a_large_field_is_encoded_and_decoded_in_tiles(
    model: Upscaler, small: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = upscale(small, scale=2.2, model=model).pixels
    tiled = replace(model, space=LatentSpace(model.space.vae, tile=64))
    monkeypatch.setattr(enlarging, "CLEANED", 64)
    monkeypatch.setattr(histo_diffusion, "BAND", 16)
    cut = upscale(small, scale=2.2, model=tiled).pixels
    assert np.abs(cut.astype(int) - whole).mean() < 3


@pytest.mark.parametrize("method", ["bicubic", "lanczos"])
def test_methods_without_a_model(method: str, small: np.ndarray) -> None:
    result = upscale(small, scale=2.5, method=method)
    assert result.pixels.shape == (100, 120, 3)
    assert (result.record.method, result.record.model) == (method, None)


def test_published_networks_see_tiles(tissue: np.ndarray) -> None:
    torch.manual_seed(0)
    network = RRDBNet(channels=8, blocks=1, growth=4).eval()
    image = tissue[:70, :150]
    result = upscale(image, scale=4, method="published", model=PublishedUpscaler(network, 4))
    whole = PublishedUpscaler(network, 4)(image)
    assert result.pixels.shape == (280, 600, 3)
    assert np.abs(result.pixels.astype(int) - whole).mean() < 1
    with pytest.raises(SettingError, match="enlarge 4 times"):
        decide("upscale", image, scale=2, method="published", model=PublishedUpscaler(network, 4))


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an untrained RRDBNet, which changes its input."""
    folder = tmp_path_factory.mktemp("gan")
    torch.manual_seed(0)
    network = RRDBNet(channels=8, blocks=1, growth=4, unshuffle=4)
    save_restoration(folder, network.state_dict(), RestorationConfig("tiny", method="rrdb-gan"))
    return folder


@pytest.fixture
def tiny_rrdb(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"channels": 8, "blocks": 1, "growth": 4, "unshuffle": 4}
    monkeypatch.setitem(RRDB_ARCHS, "tiny", settings)


@pytest.mark.parametrize(("scale", "mpp"), [(1.5, 0.75), (4, 2.0), (8, 2.0)])
def test_restoring_networks_take_any_scale(
    gan: Path, tiny_rrdb: None, tissue: np.ndarray, scale: float, mpp: float
) -> None:
    result = upscale(tissue[:44, :49], scale=scale, method="rrdb-gan", model=gan, mpp=mpp)
    assert result.pixels.shape == (round(44 * scale), round(49 * scale), 3)
    assert (result.record.method, result.record.nfe) == ("rrdb-gan", 0)
    assert result.record.model is not None
    assert result.record.model["arch"] == "tiny"
    # It was trained for 0.5 um.
    assert bool(result.record.notices) is (scale == 8)


def test_restoring_networks_see_tiles_without_seams(
    gan: Path, tiny_rrdb: None, tissue: np.ndarray
) -> None:
    image, module = tissue[:16, :150], load_restoration(gan)
    parts: list[tuple[int, int]] = []
    result = upscale(
        image, scale=8, method="rrdb-gan", model=module, progress=lambda *done: parts.append(done)
    )
    assert parts == [(1, 3), (2, 3), (3, 3)]
    enlarged = torch.from_numpy(resized_to(image, (128, 1200))).permute(2, 0, 1)[None]
    whole = (module(enlarged / 255)[0] * 255).permute(1, 2, 0).numpy()
    assert np.abs(result.pixels - whole).max() < 4


def test_a_restoring_network_needs_its_own_method(
    gan: Path, tiny_rrdb: None, model: Upscaler, small: np.ndarray, untrained_prior: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match="histomend train rrdb-gan"):
        decide("upscale", small, scale=2, method="rrdb-gan")
    with pytest.raises(ModelNotFoundError, match=r"no config\.json in it"):
        decide("upscale", small, scale=2, method="rrdb-gan", model=gan / "nowhere")
    with pytest.raises(ModelMismatchError, match=r"is for rrdb-gan, .* train swinir-gan"):
        decide("upscale", small, scale=2, method="swinir-gan", model=gan)
    with pytest.raises(ModelMismatchError, match="model of latent-artifusion"):
        decide("upscale", small, scale=2, method="rrdb-gan", model=untrained_prior)
    with pytest.raises(ModelMismatchError, match=r"is for histo-diffusion, .* train rrdb-gan"):
        decide("upscale", small, scale=2, method="rrdb-gan", model=model)
    with pytest.raises(SettingError, match="no such --steps"):
        decide("upscale", small, scale=2, method="rrdb-gan", model=gan, steps=5)


WRONG: dict[str, tuple[dict[str, Any], type[InputError], str]] = {
    "no scale": ({}, SettingError, "--scale 4"),
    "two scales": ({"scale": 2, "target_mpp": 0.5}, SettingError, "not both"),
    "under 1": ({"scale": 0.5}, SettingError, "between 1 and 8"),
    "over 8": ({"scale": 8.1}, SettingError, "between 1 and 8"),
    "nan": ({"scale": float("nan")}, SettingError, "between 1 and 8"),
    "unknown mpp": ({"target_mpp": 0.5}, PixelSizeError, "--mpp"),
    "coarser": ({"target_mpp": 0.5, "mpp": 0.25}, SettingError, "between 1 and 8"),
    "small": ({"scale": 1.5}, ImageSizeError, "60 px; at least 64"),
    "method": ({"scale": 2, "method": "magic"}, SettingError, "'magic'"),
    "generation": ({"scale": 2, "generation": 1.5}, SettingError, "between 0"),
    "colour": ({"scale": 2, "colour": "sepia"}, SettingError, "'sepia'"),
    "preset": ({"scale": 2, "preset": "author_code"}, SettingError, "author_code"),
    "steps": ({"scale": 2, "method": "bicubic", "steps": 3}, SettingError, "no such --steps"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_enlarged_is_refused_before_any_work(
    case: str, model: Upscaler, small: np.ndarray
) -> None:
    settings, error, words = WRONG[case]
    chosen = None if "method" in settings else model
    with pytest.raises(error, match=words):
        decide("upscale", small[:, :40], **{"model": chosen} | settings)


def test_grey_and_transparent_images_are_refused(model: Upscaler, small: np.ndarray) -> None:
    see_through = np.dstack([small, np.full(small.shape[:2], 200, np.uint8)])
    for image, words in ((see_through, "transparency"), (small[..., 0], "grey|one channel")):
        with pytest.raises(UnsupportedImageError, match=words):
            decide("upscale", image, scale=2, model=model)
    assert decide("upscale", PilImage.fromarray(small), scale=2, model=model).output.height == 80


def test_an_image_in_memory_can_be_enlarged_again(model: Upscaler, small: np.ndarray) -> None:
    once = upscale(Image(small, mpp=2.0), scale=2, method="bicubic").image
    assert upscale(once, scale=2, method="bicubic").image.mpp == 0.5


def test_models_of_another_kind_are_refused(untrained_prior: Path, small: np.ndarray) -> None:
    with pytest.raises(ModelNotFoundError, match="No model for rrdb-gan comes with"):
        histomend.upscale(small, scale=2, method="rrdb-gan")
    with pytest.raises(ModelMismatchError, match="no upscaler"):
        histomend.upscale(small, scale=2, model=untrained_prior, device="cpu")
    with pytest.raises(SettingError, match="has no model"):
        histomend.upscale(small, scale=2, method="bicubic", model=untrained_prior)
