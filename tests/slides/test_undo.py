"""Undo and verify from the appended file alone, and what they say of one that was tampered with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.errors import OutputError, UnreadableImageError, UnsupportedImageError
from histomend.slides.appended import AppendedReport, AppendedSlide
from histomend.slides.tiff_levels import pyramid_levels
from histomend.slides.tiff_structure import TiffStructure
from histomend.slides.undo import undo, verify


@pytest.fixture
def restored(make_slide: Any, blob: Any, tmp_path: Path) -> tuple[Path, Path, AppendedReport]:
    """Return a slide, the same restored in one place, and the report of that."""
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    with AppendedSlide(slide, target) as out:
        out.put(*blob(out, 100, 120))
        report = out.finish()
    return slide, target, report


def overwrite(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def flip(path: Path, at: int) -> None:
    overwrite(path, at, bytes([path.read_bytes()[at] ^ 1]))


def structure(path: Path) -> TiffStructure:
    return TiffStructure(path.open("rb"), str(path))


def test_one_bit_of_the_source_region_is_noticed(restored: Any, tmp_path: Path) -> None:
    slide, target, _ = restored
    for at in (9, slide.stat().st_size // 2, slide.stat().st_size - 1):
        flip(target, at)
        proof = verify(target)
        assert not proof.ok
        assert "bytes of the source" in proof.problems[0]
        with pytest.raises(UnreadableImageError, match="damaged"):
            undo(target, tmp_path / "back.svs")
        flip(target, at)
    assert verify(target).ok
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svs", "out.svs"]


def test_an_untouched_tile_that_leads_elsewhere_is_noticed(restored: Any) -> None:
    _, target, report = restored
    with target.open("rb") as file:
        tiff = TiffStructure(file, str(target))
        level = pyramid_levels(tiff)[0]
        entry = tiff.chain[0].entries[324]
    assert 0 not in {c.tile for c in report.changes if c.factor == 1}
    overwrite(target, entry.offset, int(level.offsets[1]).to_bytes(4, "little"))
    proof = verify(target)
    assert not proof.ok
    assert "1 tiles of image 0 are not the source's, tile 0 first" in proof.problems[0]


def test_a_changed_tag_is_noticed(restored: Any) -> None:
    _, target, _ = restored
    with target.open("rb") as file:
        tiff = TiffStructure(file, str(target))
        label = tiff.chain[-1]
    raw = target.read_bytes()
    at = raw.index(b"\x01\x01\x04\x00", label.offset)  # height of the label
    overwrite(target, at + 8, (39).to_bytes(4, "little"))
    proof = verify(target)
    assert any("tag 257 of image" in problem for problem in proof.problems)


def test_pixels_outside_of_the_grown_mask_are_noticed(restored: Any) -> None:
    """The tile as it was restored elsewhere, in place of the one that the file tells of."""
    _, target, report = restored
    with target.open("rb") as file:
        tiff = TiffStructure(file, str(target))
        level = pyramid_levels(tiff)[0]
        entry = tiff.chain[0].entries[324]
        lengths = tiff.chain[0].entries[325]
    tile = next(c.tile for c in report.changes if c.factor == 1 and not c.grown().all())
    place = int(level.offsets[0]).to_bytes(4, "little")
    overwrite(target, entry.offset + 4 * tile, place)
    overwrite(target, lengths.offset + 4 * tile, int(level.counts[0]).to_bytes(4, "little"))
    proof = verify(target)
    assert not proof.ok
    assert "changed outside of the mask" in proof.problems[0]


def test_another_source_is_noticed(restored: Any, make_slide: Any, tmp_path: Path) -> None:
    slide, target, _ = restored
    assert verify(target, slide).ok
    other = make_slide(tmp_path / "other.tif", "raw")
    assert "is not the slide" in verify(target, other).problems[0]


def test_what_is_not_appended_is_refused(restored: Any, tmp_path: Path) -> None:
    slide, target, _ = restored
    with pytest.raises(UnsupportedImageError, match=r"a\.svs.*not written by appending"):
        undo(slide, tmp_path / "back.svs")
    with pytest.raises(UnsupportedImageError, match="appending"):
        verify(slide)
    data = target.read_bytes()
    cut = tmp_path / "cut.svs"
    for size in (0, 5, len(data) // 2, len(data) - 1):
        cut.write_bytes(data[:size])
        with pytest.raises(UnsupportedImageError):
            verify(cut)
    damaged = bytearray(data)
    damaged[-40] ^= 1
    cut.write_bytes(bytes(damaged))
    with pytest.raises(UnreadableImageError, match="damaged"):
        verify(cut)
    with pytest.raises(UnreadableImageError, match="no such file"):
        verify(tmp_path / "missing.svs")


def test_undo_replaces_nothing_unasked(restored: Any, tmp_path: Path) -> None:
    slide, target, _ = restored
    before = slide.read_bytes()
    with pytest.raises(OutputError, match="--force"):
        undo(target, slide)
    with pytest.raises(OutputError, match="itself"):
        undo(target, target, force=True)
    undo(target, slide, force=True)
    assert slide.read_bytes() == before


def test_grown_masks_tell_cells_and_halo() -> None:
    from histomend.slides.trailer import TileChange, pack_cells

    cells = np.zeros((4, 4), bool)
    cells[1, 2] = True
    region = (100, 200, 60, 50)  # the last cells lie partly outside of the level
    change = TileChange(0, 3, 1, region, (16, 16), 1, pack_cells(cells, region, (16, 16)))
    expected = np.zeros((50, 60), bool)
    expected[15:33, 31:49] = True
    assert (change.grown() == expected).all()
