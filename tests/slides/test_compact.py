"""Slides written anew: the same pixels, and nothing of what was to go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.errors import OutputError, SettingError, UnsupportedImageError
from histomend.slides.appended import AppendedSlide
from histomend.slides.compact import compact
from histomend.slides.tiff_levels import LevelPixels, pyramid_levels
from histomend.slides.tiff_structure import TiffStructure


def restore(slide: Path, target: Path, blob: Any, **options: Any) -> list[bytes]:
    """Restore a slide, and return the compressed tiles that were replaced."""
    with AppendedSlide(slide, target, **options) as out:
        out.put(*blob(out, 100, 120))
        levels = {level.factor: LevelPixels(out.tiff, level) for level in out.levels}
        changes = out.finish().changes
        return [levels[c.factor].stored(c.tile) for c in changes]


def test_pixels_stay_and_replaced_bytes_go(
    slide: Path, blob: Any, tmp_path: Path, reader: Callable[[Path], list[np.ndarray]]
) -> None:
    if not reader(slide):
        pytest.skip("not a kind that this reader opens")
    target, small = tmp_path / slide.name, tmp_path / f"small-{slide.name}"
    replaced = restore(slide, target, blob)
    report = compact(target, small)
    assert report.dropped == ()
    assert not report.promoted
    for one, other in zip(reader(target), reader(small), strict=True):
        assert (one == other).all()
    data = small.read_bytes()
    assert all(tile in target.read_bytes() for tile in replaced)
    assert not any(tile in data for tile in replaced)
    assert len(data) < target.stat().st_size
    compact(small, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == data


def test_the_label_is_gone_from_the_file(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    slide, target, small = (tmp_path / name for name in ("a.svs", "out.svs", "small.svs"))
    make_slide(slide)
    restore(slide, target, blob)
    written = b"".join(bytes([letter]) * 9 for letter in b"NAME OF")
    assert written in slide.read_bytes()
    assert written in target.read_bytes()
    report = compact(target, small, drop=("label", "macro"))
    assert report.dropped == ("label",)
    assert written not in small.read_bytes()
    with openslide.OpenSlide(str(small)) as out:
        assert set(out.associated_images) == {"thumbnail"}
        assert out.level_count == 3
    compact(target, small, drop=("label", "thumbnail"), force=True)
    with openslide.OpenSlide(str(small)) as out:
        assert not out.associated_images


def test_it_becomes_a_bigtiff_where_it_must(slide: Path, tmp_path: Path) -> None:
    small = tmp_path / slide.name
    report = compact(slide, small, classic_limit=1000)
    assert report.promoted == (slide.stem != "raw-bigtiff")
    with small.open("rb") as file, slide.open("rb") as source:
        new, old = TiffStructure(file, str(small)), TiffStructure(source, str(slide))
        assert new.big
        for one, other in zip(pyramid_levels(old), pyramid_levels(new), strict=True):
            before, after = LevelPixels(old, one), LevelPixels(new, other)
            assert all(before.stored(t) == after.stored(t) for t in range(len(one.offsets)))


def test_shared_and_empty_tiles_stay_so(make_slide: Any, tmp_path: Path) -> None:
    slide, small = make_slide(tmp_path / "a.svs"), tmp_path / "small.svs"
    with slide.open("r+b") as file:
        tiff = TiffStructure(file, str(slide))
        level = pyramid_levels(tiff)[0]
        for tag, values in ((324, level.offsets), (325, level.counts)):
            entry = tiff.chain[0].entries[tag]
            for tile, value in ((9, int(values[10])), (12, 0)):
                file.seek(entry.offset + 4 * tile)
                file.write(value.to_bytes(4, "little"))
    compact(slide, small)
    with small.open("rb") as file:
        level = pyramid_levels(TiffStructure(file, str(small)))[0]
    assert level.offsets[9] == level.offsets[10] != 0
    assert level.offsets[12] == level.counts[12] == 0


def test_refusals(make_slide: Any, tmp_path: Path) -> None:
    slide, plain = make_slide(tmp_path / "a.svs"), make_slide(tmp_path / "b.tif", "raw")
    with pytest.raises(SettingError, match="'name' is not one of"):
        compact(slide, tmp_path / "out.svs", drop=("name",))
    with pytest.raises(UnsupportedImageError, match="which is the label"):
        compact(plain, tmp_path / "out.svs", drop=("label",))
    with pytest.raises(OutputError, match="itself"):
        compact(slide, slide, force=True)
    with pytest.raises(OutputError, match="--force"):
        compact(slide, plain)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svs", "b.tif"]
