"""New pyramids: all levels in all readers, the right values, pixel size and colours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histomend.errors import (
    HistomendError,
    ImageSizeError,
    OutputError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
)
from histomend.slides.appended import AppendedSlide
from histomend.slides.pyramid import write_pyramid
from histomend.slides.undo import verify


@pytest.fixture(scope="module")
def large(tissue: np.ndarray) -> np.ndarray:
    """Return 1301 x 700 px of tissue: three levels, whose sizes do not divide."""
    return np.tile(tissue, (2, 3, 1))[:700, :1301]


def write(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    height, width = pixels.shape[:2]
    options.setdefault("mpp", 0.25)
    write_pyramid(path, (width, height), lambda start, stop: pixels[start:stop], **options)
    return path


def halved(pixels: np.ndarray) -> np.ndarray:
    h, w = pixels.shape[0] // 2, pixels.shape[1] // 2
    cells = pixels[: 2 * h, : 2 * w].astype(float).reshape(h, 2, w, 2, -1)
    return cells.mean((1, 3)).reshape(h, w, *pixels.shape[2:])


@pytest.mark.parametrize("lossless", [True, False])
def test_all_readers_see_all_levels(
    large: np.ndarray, tmp_path: Path, lossless: bool, reader: Callable[[Path], list[np.ndarray]]
) -> None:
    path = write(tmp_path / "slide.tif", large, lossless=lossless)
    levels = reader(path)
    assert [level.shape[:2] for level in levels] == [(700, 1301), (350, 650), (175, 325)]
    expected = large.astype(float)
    for level in levels:
        error = np.abs(level.astype(float) - expected)
        if lossless:
            assert error.max() <= 0.5 + 1 / 64  # each level is rounded once
        else:
            assert error.mean() < 5  # JPEG; the coarsest level is the sharpest
        expected = halved(expected)


def test_ome_readers_see_one_pyramid(large: np.ndarray, tmp_path: Path) -> None:
    path = write(tmp_path / "slide.ome.tif", large, mpp=0.2525, name="a & b", fields={"By": "us"})
    with tifffile.TiffFile(path) as file:
        assert file.is_bigtiff
        (series,) = file.series
        assert series.kind == "ome"
        assert len(series.levels) == 3
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
        assert pixels["PhysicalSizeX"] == pixels["PhysicalSizeY"] == 0.2525
        assert pixels["PhysicalSizeXUnit"] == "µm"
        assert "Restored, not for diagnosis|By = us" in file.ome_metadata
        assert 'Name="a &amp; b"' in file.ome_metadata
        # The same directories, not copies of them.
        offsets = [page.offset for page in file.pages]
        assert list(file.pages[0].subifds) == offsets[1:]


def test_pixel_size_and_profile_are_read_back(large: np.ndarray, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    profile = b"\0" * 36 + b"acsp" + b"\0" * 100
    path = write(tmp_path / "slide.tif", large, mpp=0.2525, icc=profile)
    with openslide.OpenSlide(str(path)) as slide:
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.2525, rel=1e-6)
        assert slide.level_downsamples[1:] == pytest.approx([2, 4], rel=2e-3)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].iccprofile == profile
        assert file.pages[2].resolution[0] == pytest.approx(10_000 / 1.01, rel=2e-3)
        assert file.pages[0].subsampling is None or file.pages[0].subsampling == (1, 1)


@pytest.mark.parametrize(
    ("size", "dtype", "samples"),
    [
        ((600, 1), np.uint8, 3),
        ((1, 1100), np.uint8, 3),
        ((1, 1), np.uint8, 3),
        ((600, 530), np.uint16, 3),
        ((513, 700), np.uint8, 1),
        ((700, 513), np.uint16, 1),
    ],
)
def test_other_shapes_and_types(
    tmp_path: Path, size: tuple[int, int], dtype: Any, samples: int
) -> None:
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    pixels = rng.integers(0, top + 1, (size[1], size[0], samples)).astype(dtype)
    path = tmp_path / "slide.tif"
    write_pyramid(
        path,
        size,
        lambda a, b: pixels[a:b],
        mpp=None,
        dtype=dtype,
        samples=samples,
        lossless=True,
    )
    with tifffile.TiffFile(path) as file:
        levels = [page.asarray() for page in file.pages]
    assert (levels[0].reshape(pixels.shape) == pixels).all()
    assert max(levels[-1].shape[:2]) <= 512
    if min(size) > 1:
        expected = np.rint(halved(pixels)).reshape(levels[1].shape)
        assert np.abs(levels[1].astype(int) - expected).max() <= 1
    if dtype == np.uint8 and samples == 1:
        write_pyramid(path, size, lambda a, b: pixels[a:b], mpp=1, samples=1, force=True)
        assert tifffile.imread(path).shape == pixels.shape[:2]


def test_rows_are_asked_for_once_and_in_order(large: np.ndarray, tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def rows(start: int, stop: int) -> np.ndarray:
        asked.append((start, stop))
        return large[start:stop]

    write_pyramid(tmp_path / "a.tif", (1301, 700), rows, mpp=0.5)
    assert asked == [(0, 256), (256, 512), (512, 700)]
    write(tmp_path / "b.tif", large, mpp=0.5)
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_a_new_pyramid_can_be_restored_by_appending(
    large: np.ndarray, blob: Any, tmp_path: Path
) -> None:
    path, target = write(tmp_path / "a.ome.tif", large), tmp_path / "b.ome.tif"
    with AppendedSlide(path, target) as out:
        assert [level.factor for level in out.levels] == [1, 2, 4]
        out.put(*blob(out, 200, 300))
        out.finish()
    assert verify(target, path).ok
    with tifffile.TiffFile(target) as file:
        assert list(file.pages[0].subifds) == [page.offset for page in file.pages][1:]
        (series,) = file.series
        assert series.kind == "ome"
        assert len(series.levels) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"size": (0, 5)}, ImageSizeError),
        ({"samples": 2}, UnsupportedImageError),
        ({"dtype": np.float32}, UnsupportedImageError),
        ({"dtype": np.uint16}, SettingError),
        ({"quality": 0}, SettingError),
        ({"mpp": -1.0}, PixelSizeError),
        ({"mpp": float("nan")}, PixelSizeError),
        ({"fields": {"a": "b|"}}, SettingError),
        ({"size": (50, 41)}, UnsupportedImageError),  # rows come 40 at a time
    ],
)
def test_refusals_leave_nothing(
    tmp_path: Path, options: dict[str, Any], error: type[HistomendError]
) -> None:
    settings = {"size": (50, 40), "mpp": 0.5} | options
    with pytest.raises(error):
        write_pyramid(
            tmp_path / "out.tif", rows=lambda a, b: np.zeros((40, 50, 3), np.uint8), **settings
        )
    assert not list(tmp_path.iterdir())


def test_existing_files_are_kept(large: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "out.tif"
    path.write_bytes(b"kept")
    with pytest.raises(OutputError, match="--force"):
        write(path, large)
    with pytest.raises(ZeroDivisionError):
        write_pyramid(path, (5, 5), lambda a, b: np.zeros(1 // 0), mpp=None, force=True)
    assert path.read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == [path]
