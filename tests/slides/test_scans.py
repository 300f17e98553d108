"""Scans at any coarser pixel size, from the level of a slide that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tifffile

from histomend.errors import PixelSizeError
from histomend.slides.scans import open_scan
from histomend.slides.whole import _StoredReader, _TiffReader


@pytest.fixture
def read_levels(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note which levels are read; nothing may read the finest one behind our back."""
    seen: list[int] = []
    real = _StoredReader.read

    def read(self: Any, region: Any, level: int = 0) -> Any:
        seen.append(level)
        return real(self, region, level)

    monkeypatch.setattr(_StoredReader, "read", read)
    monkeypatch.setattr(_TiffReader, "read", None)
    return seen


@pytest.mark.parametrize("kind", ["deflate", "raw", "jpeg-444", "ome", "aperio", "deflate-16"])
def test_the_overview_of_any_pyramid_is_its_coarse_level(
    make_slide: Any, tmp_path: Path, kind: str, read_levels: list[int]
) -> None:
    path = make_slide(tmp_path / "a.tif", kind)
    with open_scan(path, source_mpp=0.5) as scan:
        assert [level.factor for level in scan.levels] == [1, 2, 4]
        assert [(level.width, level.height) for level in scan.levels] == [
            (500, 420), (250, 210), (125, 105),
        ]  # fmt: skip
        overview = scan.read((10, 20, 60, 50), 2.0)
        finest = scan.read((40, 80, 240, 200), 0.5)
        between = scan.read((0, 0, 100, 100), 1.5)
    assert read_levels == [2, 0, 1]
    with tifffile.TiffFile(path) as file:
        series = file.series[0].levels
        levels = [level.asarray() for level in series]
    if kind == "deflate-16":
        levels = [level >> 8 for level in levels]
    if kind != "aperio":  # of which tifffile numbers the pages otherwise
        assert (overview == levels[2][20:70, 10:70]).all()
        # 1.5 pixels of the level at 1/2 go into one, along each side.
        cells = levels[1][:150, :150].astype(float).reshape(50, 3, 50, 3, 3)
        assert abs(cells[:, :2, :, :2].mean() - between[::2, ::2].mean()) < 1
    assert (finest == levels[0][80:280, 40:280]).all()


def test_an_overview_is_refused_though_a_pixel_size_is_given(shared_data: Path) -> None:
    pytest.importorskip("openslide")
    path = shared_data / "slides" / "camelyon_multiframe.dcm"
    with pytest.raises(PixelSizeError, match="but of an overview"), open_scan(path, source_mpp=0.5):
        pass
