from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from histomend.diffusion.schedule import cosine
from histomend.errors import SettingError
from histomend.models import read_config
from histomend.train import CalibratorOptions, RscdOptions, train
from histomend.train.camera import CameraCrops, DensityLight, DrawnLight, exposures
from histomend.train.channels import crops, open_fields
from histomend.train.data import Tiles


@pytest.fixture
def grey(tmp_path: Path) -> Path:
    folder = tmp_path / "grey"
    folder.mkdir()
    y, x = np.mgrid[:80, :80]
    for k in range(3):
        Image.fromarray((120 + 100 * np.sin(x / (4 + k) + y / 9)).astype(np.uint8)).save(
            folder / f"{k}.png"
        )
    return folder


def opened(grey: Path, **settings: Any) -> CameraCrops:
    given = {"channels": 1, "drawn_share": 0.0, "crop": 48, "device": "cpu", **settings}
    # Noise is half as strong as the range, as at the highest t of a calibrator.
    options = CalibratorOptions(grey, grey, stabilised=True, cache=grey.parent / "cache", **given)
    crops = open_fields(options, cosine(1000))
    assert isinstance(crops.every, CameraCrops)
    return crops.every


def test_crops_are_of_one_channel_in_the_models_range(grey: Path) -> None:
    x = crops(opened(grey), np.random.default_rng(0), 20, 48)
    assert x.shape == (20, 1, 48, 48)
    assert -1.01 < float(x.min()) < 0 < float(x.max()) < 1.4


def test_exposures_hold_noise_of_their_t(grey: Path) -> None:
    schedule = cosine(1000)
    x0, eps, t = exposures(opened(grey), np.random.default_rng(1), 60, 48, schedule)
    assert x0.shape == eps.shape == (60, 1, 48, 48)
    assert int(t.min()) >= 1
    # sigma at t = 300 is just above the strongest noise that is allowed, 0.5.
    assert int(t.max()) <= 300
    noisy = t > 20
    spread = eps[noisy].std((1, 2, 3))
    assert float(spread.mean()) == pytest.approx(1, abs=0.05)
    assert float(eps.mean((1, 2, 3)).abs().max()) < 0.2


def test_density_is_bright_where_tissue_is_dark(tmp_path: Path) -> None:
    pixels = np.full((80, 80, 3), 240, np.uint8)
    pixels[20:60, 20:60] = (120, 60, 140)
    (tmp_path / "he").mkdir()
    Image.fromarray(pixels).save(tmp_path / "he" / "a.png")
    source = DensityLight(Tiles(tmp_path / "he", tmp_path / "cache"))
    light = source.light(np.random.default_rng(0), 80)
    assert light[30:50, 30:50].mean() > light[:10].mean() + 0.2
    assert light.min() >= 0
    assert light.max() <= 1


def test_specimens_are_drawn_once(tmp_path: Path) -> None:
    first = DrawnLight(tmp_path, 2, 7)
    stamp = next(tmp_path.glob("*.npy")).stat().st_mtime_ns
    again = DrawnLight(tmp_path, 2, 7)
    assert next(tmp_path.glob("*.npy")).stat().st_mtime_ns == stamp
    assert np.array_equal(first.fields, again.fields)
    assert not np.array_equal(first.fields, DrawnLight(tmp_path, 2, 8).fields)


def test_shares_above_one_are_refused(grey: Path, data: Path) -> None:
    with pytest.raises(SettingError, match=r"--drawn-share are 1\.2 together"):
        opened(grey, extra=data, extra_share=0.9, drawn_share=0.3)


def test_stabilised_images_have_one_channel(grey: Path) -> None:
    with pytest.raises(SettingError, match="--stabilised is for one channel"):
        opened(grey, channels=3)


def test_a_step_without_any_exposure_is_a_step(
    grey: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small batch there is none in many steps."""
    monkeypatch.setattr("histomend.train.rscd.COUNTED_SHARE", 0.0)
    few = {"arch": "small", "channels": 1, "drawn_share": 0.0, "batch": 1, "crop": 32, "steps": 1}
    model = train(RscdOptions(grey, tmp_path / "run", stabilised=True, device="cpu", **few))  # type: ignore[arg-type]
    assert read_config(model).stabilised
