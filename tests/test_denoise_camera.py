"""Denoising what a camera counted: by models that know noise of one strength."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import nn
from typer.testing import CliRunner

from histomend import denoise
from histomend.cli.app import app
from histomend.damage.photons import counted
from histomend.diffusion.denoiser import Denoiser
from histomend.errors import SettingError, UnsupportedImageError
from histomend.models import Calibrator, CalibratorConfig, Model, ModelConfig, save_model

SIDE = 160
CONFIG = ModelConfig(
    "rscd", "small", "epsilon", channels=1, context=False, highest_t=300, window=64,
    fast_steps=1, poses=4, stabilised=True,
)  # fmt: skip
SCHEDULE = CONFIG.noise_schedule()


class Roughness(nn.Module):
    """Predicts t from the differences of neighbours, as a trained calibrator does."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bend = x[..., 2:] - 2 * x[..., 1:-1] + x[..., :-2]
        spread = bend.flatten(1).std(1) / 6**0.5
        return (SCHEDULE.sigma.float()[None] - spread[:, None]).abs().argmin(1).float()


class Blur(nn.Module):
    """Takes what differs from the mean of the neighbours for noise of sigma_t."""

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        smooth = nn.functional.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
        return (x - smooth) / SCHEDULE.sigma.float()[t].reshape(-1, 1, 1, 1)


def model(**changes: object) -> Model:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    calibrator = Calibrator(CalibratorConfig("small", 1, stabilised=True), Roughness())
    denoiser = Denoiser(Blur(), SCHEDULE, "epsilon")
    return Model("test", config, denoiser, torch.device("cpu"), calibrator=calibrator)


def light() -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE] / 30
    return (0.5 + 0.45 * np.sin(x) * np.cos(y))[..., None].astype(np.float32)


def exposed(photons: float, gain: float, offset: float) -> np.ndarray:
    seen = gain * counted(light(), photons, 1.5, np.random.default_rng(3)) + offset
    return np.clip(np.rint(seen), 0, 65535).astype(np.uint16)[..., 0]


def decibel(found: np.ndarray, photons: float, gain: float, offset: float) -> float:
    """Return the PSNR in photons, for the light's own range."""
    seen = (found.astype(np.float64) - offset) / gain
    return float(10 * np.log10(photons**2 / np.mean((seen - photons * light()[..., 0]) ** 2)))


@pytest.mark.parametrize("photons", [15, 60, 400])
def test_noise_goes_and_brightness_stays(photons: float) -> None:
    noisy = exposed(photons, 40.0, 100.0)
    result = denoise(noisy, model=model())
    before, after = (decibel(v, photons, 40.0, 100.0) for v in (noisy, result.pixels))
    assert after > before + 10
    seen = (result.pixels.astype(np.float64) - 100) / 40
    for low, high in ((0.1, 0.3), (0.4, 0.6), (0.8, 1.0)):
        place = (light()[..., 0] >= low) & (light()[..., 0] < high)
        wanted = photons * light()[..., 0][place].mean()
        assert seen[place].mean() == pytest.approx(wanted, rel=0.02, abs=0.15)


def test_the_same_exposure_in_other_bits_is_restored_alike() -> None:
    """12-bit values in a 16-bit file lost 4 dB where the type alone told the range."""
    reached = []
    for gain, offset in ((8.0, 20.0), (128.0, 320.0)):
        pixels = denoise(exposed(60, gain, offset), model=model()).pixels
        reached.append(decibel(pixels, 60, gain, offset))
    assert reached[0] == pytest.approx(reached[1], abs=0.1)


def test_each_pose_counts_as_a_call_and_the_record_says_what_was_assumed() -> None:
    record = denoise(exposed(60, 40.0, 100.0), model=model()).record
    assert record.figures["nfe_most"] == 4
    assert record.settings["poses"] == 4
    seen = record.figures["intensity"]
    assert seen["gain"] == pytest.approx(40, rel=0.2)
    assert seen["sigma"] == pytest.approx(2 / (seen["high"] - seen["low"]))


def test_a_named_camera_is_used_and_repeats() -> None:
    noisy = exposed(60, 40.0, 100.0)
    result = denoise(noisy, model=model(), gain=40.0, offset=100.0, read_noise=60.0)
    assert result.record.figures["intensity"]["gain"] == 40.0
    again = denoise(noisy, model=model(), seed=result.record.seed, **result.record.options)
    assert np.array_equal(again.pixels, result.pixels)


def test_without_stabilisation_the_model_sees_plain_values() -> None:
    record = denoise(exposed(60, 40.0, 100.0), model=model(), stabilise="none").record
    assert set(record.figures["intensity"]) == {"low", "high"}


def test_a_camera_needs_a_gain_and_a_model_that_knows_one() -> None:
    noisy = exposed(60, 40.0, 100.0)
    with pytest.raises(SettingError, match="without --gain"):
        denoise(noisy, model=model(), offset=100.0)
    with pytest.raises(SettingError, match="was not trained on such values"):
        denoise(noisy, model=model(stabilised=False), gain=40.0)
    with pytest.raises(SettingError, match="gain must be above 0"):
        denoise(noisy, model=model(), gain=-1.0)


def test_the_verb_takes_the_camera(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "noisy.tif", exposed(60, 40.0, 100.0))
    config = replace(CONFIG, arch="small")
    state = {name: tensor.detach() for name, tensor in config.network().state_dict().items()}
    save_model(tmp_path / "model", state, config)
    words = ["denoise", tmp_path / "noisy.tif", "-o", tmp_path / "out.tif", "--preset", "fixed_10"]
    words += ["--model", tmp_path / "model", "--gain", "40", "--offset", "100"]
    result = CliRunner().invoke(app, [*map(str, words), "--dry-run", "--json"])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(app, [*map(str, words), "--stabilise", "none"])
    assert wrong.exit_code == 2
    assert "--stabilise is none" in " ".join(wrong.output.split())


def test_channels_are_restored_one_by_one_each_with_the_noise_of_its_own_camera() -> None:
    bright, dim = exposed(2000, 10.0, 100), exposed(30, 40.0, 500)
    both = np.stack([bright, dim])  # CYX, as a file holds it
    result = denoise(both, model=model(), axes="CYX")
    assert (result.pixels.shape, result.pixels.dtype) == (both.shape, both.dtype)
    for channel, alone in zip(result.pixels, (bright, dim), strict=True):
        one = denoise(alone, model=model()).pixels
        # Only the noise that is drawn on the way may differ.
        assert np.abs(channel.astype(float) - one).mean() < 0.02 * one.std()
    first, second = result.record.figures["intensity"]
    assert (first["gain"], second["gain"]) == pytest.approx((10, 40), rel=0.2)
    assert any("one by one" in notice for notice in result.record.notices)


def test_five_channels_of_a_file_keep_their_place(tmp_path: Path) -> None:
    planes = [exposed(200 * k, 40.0, 500) for k in (1, 2, 3, 4, 5)]
    stack = np.stack([planes, planes[::-1]])  # two planes of a stack
    tifffile.imwrite(tmp_path / "five.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    result = denoise(tmp_path / "five.tif", model=model())
    assert result.pixels.shape == stack.shape
    for z, c in ((0, 1), (1, 4), (1, 0)):
        off = np.abs(result.pixels[z, c].astype(float) - stack[z, c]).mean()
        other = np.abs(result.pixels[z, c].astype(float) - stack[z, 2]).mean()
        assert off < other
    result.save(tmp_path / "new.tif")
    assert tifffile.imread(tmp_path / "new.tif").shape == stack.shape


def test_colours_go_together_unless_each_channel_is_asked_for() -> None:
    rgb = np.stack([exposed(100 * k, 40.0, 500) for k in (1, 2, 3)], 2)
    with pytest.raises(UnsupportedImageError, match="--per-channel"):
        denoise(rgb, model=model())
    apart = denoise(rgb, model=model(), per_channel=True)
    assert apart.pixels.shape == rgb.shape
    assert apart.record.options["per_channel"] is True


def test_planes_that_were_not_exposed_say_nothing_of_the_camera() -> None:
    plane = exposed(100, 20.0, 400)
    empty, even = np.zeros_like(plane), np.full_like(plane, 400)
    result = denoise(np.stack([plane, empty, plane, even]), model=model(), axes="ZYX")
    assert result.record.figures["intensity"]["gain"] == pytest.approx(20, rel=0.2)
    assert (result.pixels[1] == empty).all()
    assert (result.pixels[3] == even).all()


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"gain": 1e-9}, "times the noise that is seen"),
        ({"gain": 1e9}, "times the noise that is seen"),
        ({"gain": 20, "read_noise": 1e9}, "times the noise that is seen"),
        ({"gain": 20, "offset": 1e7}, "no value of the image is above it"),
    ],
)
def test_a_camera_that_cannot_have_taken_the_image_is_refused(
    camera: dict[str, float], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        denoise(exposed(100, 20.0, 400), model=model(), **camera)


def test_values_that_pile_up_at_any_limit_are_saturated() -> None:
    plane = exposed(100, 20.0, 400)
    limit = int(np.quantile(plane, 0.8))
    for image, told in ((plane, False), (np.minimum(plane, limit), True)):
        notices = denoise(image, model=model()).record.notices
        assert any("saturated" in notice for notice in notices) is told
