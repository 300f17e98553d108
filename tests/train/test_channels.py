from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from histomend.errors import SettingError, TrainingError
from histomend.image.simulated_srh import simulated_srh
from histomend.train import RscdOptions
from histomend.train.channels import ChannelCrops, crops, open_channels, sharpest
from histomend.train.data import Tiles, vary_signal


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def opened(data: Path, channels: int, best_share: float = 1.0) -> ChannelCrops:
    cache = data.parent / "cache"
    options = RscdOptions(
        data, data, cache=cache, channels=channels, crop=48, best_share=best_share, device="cpu"
    )
    return open_channels(options, channels, best_share=best_share)


def write_grey(path: Path, level: int, dtype: type[np.generic] = np.uint8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((70, 80), level, dtype)).save(path)


@pytest.mark.parametrize("channels", [2, 3])
def test_crops_have_the_channels_that_are_asked_for(data: Path, channels: int) -> None:
    x = crops(opened(data, channels).every, rng(), 3, 48)
    assert x.shape == (3, channels, 48, 48)
    assert x.dtype == torch.float32
    assert -1 <= float(x.min()) < float(x.max()) <= 1


def test_grey_images_of_8_and_16_bits_fill_their_range(tmp_path: Path) -> None:
    write_grey(tmp_path / "t" / "a.png", 255)
    write_grey(tmp_path / "t" / "b.png", 65535, np.uint16)
    write_grey(tmp_path / "t" / "c.tif", 1000, np.uint16)
    tiles = Tiles(tmp_path / "t", tmp_path / "cache", grey=True)
    assert tiles.pixels.dtype == np.uint16
    assert [int(tile.max()) for tile in tiles.pixels] == [65535, 65535, 1000]
    assert crops(tiles, rng(), 2, 48).shape == (2, 1, 48, 48)


def test_exposure_varies_and_never_burns_out() -> None:
    crop = np.linspace(0, 40000, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    varied = [vary_signal(crop, np.random.default_rng(k)) for k in range(50)]
    peaks = [int(v.max()) for v in varied]
    assert 40000 / 3 - 1 <= min(peaks) < 25000
    assert 50000 < max(peaks) <= 65535
    assert all(np.corrcoef(v.ravel(), crop.ravel())[0, 1] > 0.999 for v in varied)


def test_the_background_is_not_always_black() -> None:
    """Noise on a bright field was taken for none, by a calibrator that knew black ones only."""
    crop = np.linspace(0, 40000, 64 * 64).reshape(64, 64, 1).astype(np.uint16)
    darkest = [int(vary_signal(crop, np.random.default_rng(k)).min()) for k in range(50)]
    assert 25 <= darkest.count(0) <= 45
    assert max(darkest) > 20000


def test_a_manifest_without_slides_will_do_for_grey_images_and_splits_them(tmp_path: Path) -> None:
    names = {"a": "train", "b": "train", "c": "val"}
    for k, name in enumerate(names):
        write_grey(tmp_path / "t" / f"{name}.png", 50 * (k + 1))
    rows = [f"{name}.png,{split}" for name, split in names.items()]
    (tmp_path / "t" / "manifest.csv").write_text("\n".join(["file,split", *rows]) + "\n")
    sources = opened(tmp_path / "t", 1)
    assert isinstance(sources.held_out, Tiles)
    assert [path.name for path in sources.held_out.files] == ["c.png"]
    x = crops(sources.every, rng(), 8, 48)
    assert float(x.max()) < 2 * 3 * 100 / 255 - 1 + 1e-3, "at most three times as bright as b"
    with pytest.raises(TrainingError, match="no column slide"):
        opened(tmp_path / "t", 3)


def test_the_best_tiles_are_sharp_and_have_signal(tmp_path: Path) -> None:
    detail = rng().integers(40, 220, (80, 80, 3), dtype=np.uint8)
    detail = cv2.GaussianBlur(detail, None, 1.5)
    blurred = cv2.GaussianBlur(detail, None, 6)
    empty = np.full_like(detail, 240)
    for slide in ("1", "2"):
        (tmp_path / "t" / slide).mkdir(parents=True)
        for name, pixels in {"a": blurred, "b": detail, "c": empty}.items():
            Image.fromarray(pixels).save(tmp_path / "t" / slide / f"{name}.png")
    tiles = Tiles(tmp_path / "t", tmp_path / "cache")
    best = sharpest(tiles, 0.3)
    kept = [str(tiles.files[k].relative_to(tmp_path / "t")) for s in best.slides for k in s]
    assert kept == ["1/b.png", "2/b.png"], "as many of each slide"
    assert len(tiles.slides[0]) == 3, "the tiles themselves are as they were"


def test_unrelated_images_are_ranked_together(data: Path, tmp_path: Path) -> None:
    tiles = Tiles(data, tmp_path / "cache")
    assert [len(slide) for slide in sharpest(tiles, 0.5).slides] == [1, 1]


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"channels": 4}, "--channels is 4"), ({"best_share": 0.0}, "--best-share is 0")],
    ids=str,
)
def test_settings_that_cannot_be(data: Path, settings: dict[str, float], says: str) -> None:
    with pytest.raises(SettingError, match=says):
        opened(data, **{"channels": 3, **settings})  # type: ignore[arg-type]


def test_simulated_raman_shows_nuclei_in_the_difference_of_its_channels() -> None:
    """Glass, eosin and haematoxylin, in colours as they are in H&E."""
    colours = np.array([[[250, 250, 250], [230, 140, 190], [80, 50, 140]]], np.uint8)
    channels = simulated_srh(colours.repeat(16, 0).repeat(16, 1))
    assert channels.shape == (16, 48, 2)
    assert channels.dtype == np.float32
    assert 0 <= channels.min() < channels.max() <= 1
    glass, cytoplasm, nucleus = channels[8, 8::16]
    assert glass.max() < 0.1
    assert cytoplasm[0] > 0.3
    difference = [float(c[1] - c[0]) for c in (glass, cytoplasm, nucleus)]
    assert difference[2] > max(difference[:2]) + 0.1


def test_the_blocks_in_which_jpeg_keeps_colour_are_no_edges_in_simulated_raman() -> None:
    """A network trained on them would paint the grid."""
    two_blocks = np.array([[[190, 140, 190], [160, 150, 200]]], np.uint8).repeat(16, 0)
    row = simulated_srh(two_blocks.repeat(16, 1))[8, :, 0]
    assert abs(float(row[0] - row[-1])) > 0.05
    assert np.abs(np.diff(row)).max() < 0.6 * abs(float(row[0] - row[-1]))
