from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile

from histomend.errors import SettingError, TrainingError
from histomend.train.data import Mixed, Tiles, batch, vary_stain

Write = Callable[..., Path]


def manifest(folder: Path, rows: list[tuple[str, str]], header: str = "file,slide") -> None:
    lines = [header, *(",".join(row) for row in rows)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")


def test_slides_are_sampled_evenly_whatever_their_tile_counts(
    tmp_path: Path, tiles_in: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("histomend.train.data.LIGHT_SHARE", 0)
    folder = tiles_in(tmp_path / "t", {"rare.png": 220, **{f"{k}.png": 60 for k in range(9)}})
    manifest(folder, [("rare.png", "A"), *((f"{k}.png", "B") for k in range(9))])
    tiles = Tiles(folder, tmp_path / "cache")
    rng = np.random.default_rng(0)
    rare = [tiles.crop(rng, 32).mean() > 140 for _ in range(300)]
    assert 0.4 < np.mean(rare) < 0.6


def test_without_a_manifest_folders_are_slides(tmp_path: Path, tiles_in: Write) -> None:
    folder = tiles_in(tmp_path / "t", {"a/1.png": 50, "a/2.png": 50, "b/1.png": 50})
    assert [len(s) for s in Tiles(folder, tmp_path / "cache").slides] == [2, 1]


def test_in_a_flat_folder_every_file_is_a_slide(data: Path, tmp_path: Path) -> None:
    assert [len(s) for s in Tiles(data, tmp_path / "cache").slides] == [1, 1, 1, 1]


def test_crops_are_turned_and_their_stain_varies_but_tissue_stays_tissue(
    data: Path, tmp_path: Path
) -> None:
    tiles = Tiles(data, tmp_path / "cache")
    crops = [tiles.crop(np.random.default_rng(k), 48) for k in range(20)]
    assert all(c.shape == (48, 48, 3) and c.dtype == np.uint8 for c in crops)
    assert len({c.tobytes() for c in crops}) == 20
    white = np.full_like(tiles.pixels, 255)
    tiles.pixels = white
    assert (tiles.crop(np.random.default_rng(0), 48) == 255).all(), "glass stays white"


def test_a_foreign_stain_changes_colours_and_keeps_glass_and_structure() -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (40, 40), dtype=np.uint8)
    crop = np.stack([grey, grey // 2 + 100, 255 - (255 - grey) // 3], -1)
    crop[:5] = 255
    varied = [vary_stain(crop, np.random.default_rng(k)) for k in range(100)]
    hue = [v[20:, :, 0].mean() - v[20:, :, 2].mean() for v in varied]
    own = float(crop[20:, :, 0].mean()) - crop[20:, :, 2].mean()
    foreign = [abs(h - own) > 0.5 * abs(own) for h in hue]
    assert 3 <= sum(foreign) <= 20, "about one in seven has other colours"
    for v in varied:
        assert (v[:5] == 255).all()
        assert np.corrcoef(v[5:].mean(-1).ravel(), crop[5:].mean(-1).ravel())[0, 1] > 0.95


def test_light_places_come_up_more_often_than_they_are(tmp_path: Path, tiles_in: Write) -> None:
    """Tiles picked for their tissue hardly hold bare glass, and artifacts lie on glass too."""
    folder = tiles_in(tmp_path / "t", {"light.png": 240, **{f"{k}.png": 90 for k in range(11)}})
    tiles = Tiles(folder, tmp_path / "cache")
    rng = np.random.default_rng(0)
    light = np.mean([tiles.crop(rng, 32).mean() > 190 for _ in range(2000)])
    assert 0.09 < light < 0.14, "one in twelve, and three more chances for one crop in ten"


def test_further_tiles_are_a_share_of_the_crops(tmp_path: Path, tiles_in: Write) -> None:
    main = Tiles(tiles_in(tmp_path / "a", {"1.png": 60}), tmp_path / "cache")
    extra = Tiles(tiles_in(tmp_path / "b", {"1.png": 220}), tmp_path / "cache")
    rng = np.random.default_rng(0)
    both = Mixed(main, extra, 0.25)
    assert 0.2 < np.mean([both.crop(rng, 32).mean() > 140 for _ in range(600)]) < 0.3
    with pytest.raises(SettingError, match="between 0 and 1"):
        Mixed(main, extra, 1.5)


def test_a_batch_is_a_function_of_its_generator(data: Path, tmp_path: Path) -> None:
    tiles = Tiles(data, tmp_path / "cache")
    images, masks = batch(tiles, np.random.default_rng(3), 5, 32, 0.2)
    again = batch(tiles, np.random.default_rng(3), 5, 32, 0.2)
    assert np.array_equal(images, again[0])
    assert np.array_equal(masks, again[1])
    assert (images.shape, masks.shape) == ((5, 3, 32, 32), (5, 1, 32, 32))
    assert images.dtype == masks.dtype == np.float32
    assert -1 <= images.min() < images.max() <= 1
    assert set(np.unique(masks)) == {0, 1}


def test_the_share_without_context_has_everything_masked(data: Path, tmp_path: Path) -> None:
    tiles = Tiles(data, tmp_path / "cache")
    for share in (0.0, 1.0):
        _, masks = batch(tiles, np.random.default_rng(0), 8, 32, share)
        assert bool(masks.reshape(8, -1).all(1).all()) is bool(share)


def test_tiles_are_packed_once_and_again_when_they_change(
    tmp_path: Path, tiles_in: Write, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tiles_in(tmp_path / "t", {"1.png": 50, "2.png": 200})
    caplog.set_level("INFO", "histomend")
    for _ in range(2):
        Tiles(folder, tmp_path / "cache")
    assert len(caplog.messages) == 1
    assert "packing 2 tiles" in caplog.messages[0]
    tiles_in(folder, {"1.png": 90})
    assert Tiles(folder, tmp_path / "cache").pixels[0].mean() > 80
    assert len(caplog.messages) == 2


def test_folders_with_equal_names_and_sizes_are_not_mixed_up(
    tmp_path: Path, tiles_in: Write
) -> None:
    """Uncompressed files of one size all have the same length."""
    dark, light = (tiles_in(tmp_path / str(k), {"1.tif": k}) for k in (40, 200))
    assert (dark / "1.tif").stat().st_size == (light / "1.tif").stat().st_size
    means = [Tiles(f, tmp_path / "cache").pixels.mean() for f in (dark, light)]
    assert means[0] < 60 < 180 < means[1]


def test_tiles_of_several_sizes_are_cut_to_the_smallest(tmp_path: Path, tiles_in: Write) -> None:
    folder = tiles_in(tmp_path / "t", {"1.png": 50}, side=80)
    tiles_in(folder, {"2.png": 50}, side=64)
    assert Tiles(folder, tmp_path / "cache").pixels.shape == (2, 64, 72, 3)


# What cannot be trained on


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda path: None])
def test_no_images(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = tmp_path / "t"
    make(folder)
    with pytest.raises(TrainingError, match="No images were found"):
        Tiles(folder, tmp_path / "cache")


def test_a_manifest_that_names_only_other_files(tmp_path: Path) -> None:
    manifest(tmp_path, [("notes.txt", "A")])
    with pytest.raises(TrainingError, match="No images were found"):
        Tiles(tmp_path, tmp_path / "cache")


def test_a_manifest_without_slides(tmp_path: Path, tiles_in: Write) -> None:
    tiles_in(tmp_path, {"1.png": 50})
    manifest(tmp_path, [("1.png", "A")], header="file,patient")
    with pytest.raises(TrainingError, match="no column slide"):
        Tiles(tmp_path, tmp_path / "cache")


def test_a_manifest_with_files_that_are_gone(tmp_path: Path, tiles_in: Write) -> None:
    tiles_in(tmp_path, {"1.png": 50})
    manifest(tmp_path, [("1.png", "A"), ("2.png", "A")])
    with pytest.raises(TrainingError, match=r"1 files that are not there.*2\.png"):
        Tiles(tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_a_damaged_tile_is_named_and_nothing_half_packed_stays(
    tmp_path: Path, tiles_in: Write, content: bytes | None
) -> None:
    folder = tiles_in(tmp_path / "t", {"1.png": 50, "2.png": 60})
    damaged = folder / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:2000] if content is None else content)
    with pytest.raises(TrainingError, match=r"2\.png cannot be read as an image"):
        Tiles(folder, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_tiles_that_are_too_small(tmp_path: Path, tiles_in: Write) -> None:
    folder = tiles_in(tmp_path / "t", {"1.png": 50}, side=40)
    with pytest.raises(TrainingError, match="at least 64×64"):
        Tiles(folder, tmp_path / "cache")


def test_tiles_of_sixteen_bits_and_of_floats_are_read_like_any_other_image(tmp_path: Path) -> None:
    eight = np.random.default_rng(0).integers(0, 256, (70, 80, 3), np.uint8)
    folder = tmp_path / "t"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", eight.astype(np.uint16) * 257, photometric="rgb")
    tifffile.imwrite(folder / "b.tif", (eight / 255).astype(np.float32), photometric="rgb")
    tifffile.imwrite(folder / "c.tif", eight, photometric="rgb")
    for tile in Tiles(folder, tmp_path / "cache").pixels:
        assert (tile == eight).all()
    grey = eight[..., 1].astype(np.uint16) * 257
    tifffile.imwrite(folder / "a.tif", grey)
    tifffile.imwrite(folder / "b.tif", eight[..., 1])
    tifffile.imwrite(folder / "c.tif", np.repeat(eight[..., 1:2], 3, 2), photometric="rgb")
    for tile in Tiles(folder, tmp_path / "cache", grey=True).pixels:
        assert (tile[..., 0] == grey).all()
