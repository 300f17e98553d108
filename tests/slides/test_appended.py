"""Slides restored by appending: what changes, what does not, and what readers make of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histomend.errors import (
    RegionError,
)
from histomend.slides.appended import PROMOTED_START, AppendedReport, AppendedSlide
from histomend.slides.tiff_levels import Level, LevelPixels, pyramid_levels
from histomend.slides.tiff_structure import TiffStructure
from histomend.slides.undo import undo, verify

PLACES = ((30, 40), (210, 300), (405, 325), (140, 150))
LOSSLESS = ("deflate", "lzw", "raw", "jpeg2000")


def restore(
    source: Path, target: Path, blob: Any, places: Any = PLACES, **options: Any
) -> AppendedReport:
    with AppendedSlide(source, target, **options) as out:
        for seed, (x, y) in enumerate(places):
            out.put(*blob(out, x, y, seed=seed))
        return out.finish({"Restored by": "histomend tests"})


def level_tiles(path: Path) -> list[tuple[Level, list[bytes]]]:
    """Return the levels of a slide, each with its compressed tiles."""
    with path.open("rb") as file:
        tiff = TiffStructure(file, str(path))
        levels = pyramid_levels(tiff)
        return [
            (level, [LevelPixels(tiff, level).stored(t) for t in range(len(level.offsets))])
            for level in levels
        ]


def decoded(path: Path) -> list[np.ndarray]:
    """Return all levels, (height, width, samples)."""
    with path.open("rb") as file:
        tiff = TiffStructure(file, str(path))
        return [
            LevelPixels(tiff, level).read((0, 0, level.width, level.height))[0]
            for level in pyramid_levels(tiff)
        ]


def grown(report: AppendedReport, levels: list[np.ndarray]) -> list[np.ndarray]:
    """Return where each level may have changed."""
    factors = sorted({change.factor for change in report.changes})
    masks = [np.zeros(level.shape[:2], bool) for level in levels]
    for change in report.changes:
        x, y, w, h = change.region
        masks[factors.index(change.factor)][y : y + h, x : x + w] = change.grown()
    return masks


def wanted(source: Path, blob: Any, places: Any = PLACES) -> tuple[np.ndarray, np.ndarray]:
    """Return level 0 as it should become, and the mask."""
    pixels = decoded(source)[0]
    mask = np.zeros(pixels.shape[:2], bool)
    with AppendedSlide(source, source.parent / "unused") as slide:
        for seed, (x, y) in enumerate(places):
            (_, _, w, h), new, own = blob(slide, x, y, seed=seed)
            pixels[y : y + h, x : x + w][own] = new[own]
            mask[y : y + h, x : x + w] |= own
    return pixels, mask


def test_only_the_grown_mask_changes_in_every_reader(
    slide: Path, blob: Any, tmp_path: Path, reader: Callable[[Path], list[np.ndarray]]
) -> None:
    before = reader(slide)
    if not before:
        pytest.skip("not a kind that this reader opens")
    target = tmp_path / slide.name
    report = restore(slide, target, blob)
    after = reader(target)
    assert [level.shape for level in after] == [level.shape for level in before]
    masks = {mask.shape: mask for mask in grown(report, decoded(slide))}
    compared = 0
    for one, other in zip(before, after, strict=True):
        differs = (one != other).reshape(*one.shape[:2], -1).any(2)
        mask = masks.get(differs.shape)
        if mask is None:  # the label
            assert not differs.any()
            continue
        assert not (differs & ~mask).any()
        compared += differs.any()
    # OpenSlide and the chain have no SubIFDs.
    assert compared == (1 if slide.stem == "ome" and len(before) == 1 else 3)


def test_the_mask_holds_what_was_put(slide: Path, blob: Any, tmp_path: Path) -> None:
    target = tmp_path / slide.name
    report = restore(slide, target, blob)
    expected, mask = wanted(slide, blob)
    level, *coarser = decoded(target)
    before = decoded(slide)[0]
    grown_mask = grown(report, [level, *coarser])[0]
    assert (mask & ~grown_mask).sum() == 0
    difference = np.abs(level.astype(int) - expected)
    if slide.stem.startswith(LOSSLESS):
        assert difference.max() == 0
        assert (grown_mask == mask).all()
        return
    assert np.abs(level.astype(int) - before)[~mask].max() <= 4
    subsampled = slide.stem in ("ome", "jpeg-420", "jpeg-422")
    assert difference[mask].mean() < (6 if subsampled else 0.5)
    # Two MCUs at most around the mask.
    assert grown_mask.sum() < mask.sum() * 1.9


def test_untouched_tiles_are_the_same_bytes(slide: Path, blob: Any, tmp_path: Path) -> None:
    target = tmp_path / slide.name
    report = restore(slide, target, blob)
    changed = {(change.factor, change.tile) for change in report.changes}
    assert {factor for factor, _ in changed} == {1, 2, 4}
    kept = 0
    for (level, old), (_, new) in zip(level_tiles(slide), level_tiles(target), strict=True):
        for tile, (one, other) in enumerate(zip(old, new, strict=True)):
            assert (one != other) == ((level.factor, tile) in changed)
            kept += one == other
    assert kept > 30
    source, out = slide.read_bytes(), target.read_bytes()
    header = 16 if source[2:4] in (b"\x2b\0", b"\0\x2b") else 8
    assert out[header : len(source)] == source[header:]


@pytest.mark.parametrize("limit", [1 << 32, 1000], ids=["as it is", "as BigTIFF"])
def test_undo_gives_the_source_back(slide: Path, blob: Any, tmp_path: Path, limit: int) -> None:
    target, back = tmp_path / slide.name, tmp_path / "back"
    report = restore(slide, target, blob, classic_limit=limit)
    assert report.promoted == (limit == 1000 and slide.stem != "raw-bigtiff")
    sha256 = hashlib.sha256(slide.read_bytes()).hexdigest()
    assert undo(target, back) == sha256 == report.sha256
    assert back.read_bytes() == slide.read_bytes()
    proof = verify(target, slide)
    assert proof.ok, proof.problems
    assert proof.changes == report.changes
    assert proof.tiles >= sum(len(tiles) for _, tiles in level_tiles(slide))


def test_a_promoted_file_shows_the_same_pixels(slide: Path, blob: Any, tmp_path: Path) -> None:
    plain, big = tmp_path / f"plain-{slide.name}", tmp_path / f"big-{slide.name}"
    restore(slide, plain, blob)
    restore(slide, big, blob, classic_limit=1000)
    for one, other in zip(decoded(plain), decoded(big), strict=True):
        assert (one == other).all()
    if slide.stem != "raw-bigtiff":
        source, out = slide.read_bytes(), big.read_bytes()
        assert out[2:4] in (b"\x2b\0", b"\0\x2b")
        assert out[PROMOTED_START : PROMOTED_START + len(source)] == source


def test_readers_open_a_promoted_file(
    make_slide: Any, blob: Any, tmp_path: Path, reader: Callable[[Path], list[np.ndarray]]
) -> None:
    slide = make_slide(tmp_path / "a.svs")
    target, big = tmp_path / "plain.svs", tmp_path / "big.svs"
    restore(slide, target, blob)
    restore(slide, big, blob, classic_limit=1000)
    expected, found = reader(target), reader(big)
    assert len(expected) >= 3
    for one, other in zip(expected, found, strict=True):
        assert (one == other).all()


def test_the_order_of_pieces_changes_no_byte(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "a.svs")
    # The second overlaps the first.
    pieces = [(30, 40, 0), (70, 60, 1), (300, 200, 2)]
    files = []
    for name, order in (("one", pieces), ("two", pieces[::-1])):
        target = tmp_path / name / "out.svs"
        target.parent.mkdir()
        with AppendedSlide(slide, target) as out:
            for x, y, seed in order:
                out.put(*blob(out, x, y, seed=seed))
            out.finish({"Restored by": "tests"})
        files.append(target.read_bytes())
    assert files[0] == files[1]


def test_tiles_can_be_edited_while_others_are_still_to_come(
    make_slide: Any, blob: Any, tmp_path: Path
) -> None:
    slide = make_slide(tmp_path / "a.svs")
    places = ((20, 10), (300, 60), (60, 170), (200, 300))
    files = []
    for name, settles in (("one", False), ("two", True)):
        target = tmp_path / name / "out.svs"
        target.parent.mkdir()
        with AppendedSlide(slide, target) as out:
            for seed, (x, y) in enumerate(places):
                if settles:
                    out.settle(y)
                out.put(*blob(out, x, y, seed=seed))
            if settles:
                with pytest.raises(RegionError, match="settled"):
                    out.put(*blob(out, 0, 299))
            out.finish()
        files.append(target.read_bytes())
    assert files[0] == files[1]


def test_levels_follow_the_faded_delta(make_slide: Any, tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "raw.tif", "raw")
    target = tmp_path / "out.tif"
    before = decoded(slide)
    with AppendedSlide(slide, target) as out:
        new = before[0][100:180, 100:200] // 2
        mask = np.zeros((80, 100), bool)
        mask[10:61, 8:90] = True  # cuts cells of 2 and 4 px
        out.put((100, 100, 100, 80), new, mask)
        out.finish()
    after = decoded(target)
    whole = np.zeros(before[0].shape[:2], bool)
    whole[100:180, 100:200] = mask

    def boxes(values: np.ndarray, factor: int) -> np.ndarray:
        h, w = values.shape[0] // factor, values.shape[1] // factor
        cells = values[: h * factor, : w * factor].reshape(h, factor, w, factor, -1)
        return cells.mean((1, 3))

    for number, factor in ((1, 2), (2, 4)):
        share = boxes(whole[..., None].astype(float), factor)
        old, mean = before[number], boxes(before[0].astype(float), factor)
        expected = old + boxes(after[0].astype(float), factor) - mean - share * (old - mean)
        assert (after[number] == np.clip(np.rint(expected), 0, 255)).all()
        assert share[(share > 0) & (share < 1)].size > 0


def test_the_pixels_that_are_there_put_back_change_next_to_nothing(
    slide: Path, tmp_path: Path
) -> None:
    target = tmp_path / slide.name
    before = decoded(slide)
    with AppendedSlide(slide, target) as out:
        out.put((40, 40, 200, 200), before[0][40:240, 40:240], np.ones((200, 200), bool))
        out.finish()
    subsampled = slide.stem in ("ome", "jpeg-420", "jpeg-422")
    limit = 0 if slide.stem.startswith(LOSSLESS) else 1.5 if subsampled else 0.3
    difference = np.abs(decoded(target)[0].astype(int) - before[0])[40:240, 40:240]
    assert difference.mean() <= limit


def test_no_pieces_give_a_marked_copy(make_slide: Any, tmp_path: Path) -> None:
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    with AppendedSlide(slide, target) as out:
        report = out.finish()
    assert report.changes == ()
    assert [t for _, t in level_tiles(slide)] == [t for _, t in level_tiles(target)]
    assert verify(target).ok


def _patch(path: Path, tag: int, index: int, value: int) -> None:
    """Overwrite one number of a tag of the first directory."""
    with path.open("r+b") as file:
        tiff = TiffStructure(file, str(path))
        entry = tiff.chain[0].entries[tag]
        file.seek(entry.offset + 4 * index)
        file.write(value.to_bytes(4, "little"))


def test_tiles_that_share_their_bytes_part(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    level, _ = level_tiles(slide)[0]
    _patch(slide, 324, 9, int(level.offsets[10]))  # x = 64, y = 64
    _patch(slide, 325, 9, int(level.counts[10]))
    before = decoded(slide)[0]
    assert (before[64:128, 64:128] == before[64:128, 128:192]).all()
    with AppendedSlide(slide, target) as out:
        out.put(*blob(out, 70, 70, side=50))
        out.finish()
    after = decoded(target)[0]
    assert (after[64:128, 128:192] == before[64:128, 128:192]).all()
    assert (after[64:128, 64:128] != before[64:128, 64:128]).any()
    assert verify(target).ok


def test_what_was_never_scanned_stays_so(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    for tag in (324, 325):
        _patch(slide, tag, 9, 0)
    with AppendedSlide(slide, target) as out:
        out.put(*blob(out, 40, 40, side=80))
        report = out.finish()
    assert report.never_scanned == ((64, 64, 64, 64),)
    assert (1, 9) not in {(c.factor, c.tile) for c in report.changes}
    assert level_tiles(target)[0][1][9] == b""
    # The coarser level does not take on what has no place in level 0.
    before, after = decoded(slide)[1], decoded(target)[1]
    assert (before[34:62, 34:62] == after[34:62, 34:62]).mean() > 0.9
    assert verify(target).ok


@pytest.mark.parametrize("compression", ["zlib", "lzw", "jpeg"])
def test_strips_are_edited_as_tiles_are(
    tissue: np.ndarray, blob: Any, tmp_path: Path, compression: str
) -> None:
    path, target = tmp_path / "a.tif", tmp_path / "out.tif"
    subsampling = {"subsampling": (1, 1)} if compression == "jpeg" else {}
    tifffile.imwrite(
        path,
        tissue[:203, :300],
        rowsperstrip=16,  # the last strip has 11 rows
        photometric="rgb",
        compression=compression,
        **subsampling,
    )
    before = decoded(path)[0]
    with AppendedSlide(path, target) as out:
        _, pixels, mask = blob(out, 190, 113)
        out.put((190, 113, 90, 90), pixels, mask)
        report = out.finish()
    after = decoded(target)[0]
    assert len(report.changes) == 6
    assert (after == tifffile.imread(target)).all()
    may_change = grown(report, [after])[0]
    assert not ((before != after).any(2) & ~may_change).any()
    inside = np.abs(after[113:203, 190:280].astype(int) - pixels)[mask]
    assert inside.max() <= (3 if compression == "jpeg" else 0)
    assert verify(target, path).ok


def test_it_says_that_it_was_restored(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    report = restore(slide, target, blob)
    with openslide.OpenSlide(str(target)) as out, openslide.OpenSlide(str(slide)) as source:
        assert out.properties["aperio.Restored"] == "yes, not for diagnosis"
        assert out.properties["aperio.Source SHA-256"] == report.sha256
        assert out.properties["aperio.Source bytes"] == str(slide.stat().st_size)
        assert out.properties["aperio.Restored by"] == "histomend tests"
        assert out.properties["openslide.mpp-x"] == source.properties["openslide.mpp-x"]
        assert set(out.associated_images) == set(source.associated_images) == {"label", "thumbnail"}
        quick = "openslide.quickhash-1"
        assert out.properties[quick] != source.properties[quick]


def test_a_restored_slide_can_be_restored_again(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    slide, once, twice = make_slide(tmp_path / "a.svs"), tmp_path / "1.svs", tmp_path / "2.svs"
    restore(slide, once, blob, PLACES[:2])
    restore(once, twice, blob, ((60, 60), (300, 100)))
    assert verify(twice, once).ok
    undo(twice, tmp_path / "back1")
    undo(tmp_path / "back1", tmp_path / "back0")
    assert (tmp_path / "back0").read_bytes() == slide.read_bytes()
