"""Single tiles edited: nothing changes outside of the mask grown to MCUs and one pixel."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.slides.jpeg_coefficients import read_tile
from histomend.slides.tile_edit import TileCodec, check_supported
from histomend.slides.trailer import TileChange, pack_cells

SIDE = 64
U8 = np.dtype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int = 60, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


def disc(x: int, y: int, radius: int, side: int = SIDE) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


def grown(edited: Any, side: int = SIDE) -> np.ndarray:
    region = (0, 0, side, side)
    packed = pack_cells(edited.cells, region, edited.cell)
    return TileChange(0, 0, 1, region, edited.cell, edited.halo, packed).grown()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    x=st.integers(-10, 74),
    y=st.integers(-10, 74),
    radius=st.integers(0, 40),
    subsampling=st.integers(0, 2),
    quality=st.integers(5, 100),
    kind=st.sampled_from(["black", "white", "noise", "tissue", "colour"]),
)
def test_nothing_changes_outside_of_the_grown_mask(
    tissue: np.ndarray, x: int, y: int, radius: int, subsampling: int, quality: int, kind: str
) -> None:
    mask = disc(x, y, radius)
    if not mask.any():
        return
    target = {
        "black": np.zeros((SIDE, SIDE, 3), np.uint8),
        "white": np.full((SIDE, SIDE, 3), 255, np.uint8),
        "noise": np.random.default_rng(radius).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8),
        "tissue": tissue[300 : 300 + SIDE, 300 : 300 + SIDE],
        "colour": np.tile(np.array([255, 0, 255], np.uint8), (SIDE, SIDE, 1)),
    }[kind]
    codec = TileCodec(7, 6, 3, U8)
    data = jpeg(tissue[:SIDE, :SIDE], quality, subsampling=subsampling)
    edited = codec.edit(data, target, mask, "tile")
    before = codec.decode(data, (SIDE, SIDE), "tile")
    after = codec.decode(edited.data, (SIDE, SIDE), "tile")
    may_change = grown(edited)
    assert edited.halo == (subsampling > 0)
    assert not (mask & ~may_change).any()
    assert ((before == after).all(2) | may_change).all()
    # Far inside, colour reaches the target too; saturated colours are where JPEG is weakest.
    if kind in ("black", "white", "tissue") and radius >= 16 and 0 <= x < SIDE and 0 <= y < SIDE:
        inner = disc(x, y, radius - 6)
        error = np.abs(after.astype(int) - target)[inner]
        assert error.mean() < (5 if kind == "tissue" else 2)


def test_the_edit_of_plain_jpeg_is_nearly_without_loss(tissue: np.ndarray) -> None:
    """Without subsampling the mask holds the target within 3, cut MCUs the source within 3."""
    codec = TileCodec(7, 6, 3, U8)
    data = jpeg(tissue[:SIDE, :SIDE], 30, subsampling=0)
    target, mask = tissue[200:264, 200:264], disc(30, 30, 18)
    edited = codec.edit(data, target, mask, "tile")
    before = codec.decode(data, (SIDE, SIDE), "tile").astype(int)
    after = codec.decode(edited.data, (SIDE, SIDE), "tile")
    assert np.abs(after - before)[~mask].max() <= 3
    assert np.abs(after.astype(int) - target)[mask].max() <= 3
    tile = read_tile(edited.data, None, "tile")
    assert all(int(table.max()) == 1 for table in tile.quantisers.values())


def test_of_a_tile_that_is_new_as_a_whole_the_old_content_does_not_matter(
    tissue: np.ndarray,
) -> None:
    codec = TileCodec(7, 6, 3, U8)
    target, mask = tissue[200:264, 200:264], np.ones((SIDE, SIDE), bool)
    for subsampling in (0, 2):
        one = jpeg(tissue[:SIDE, :SIDE], 60, subsampling=subsampling)
        other = jpeg(tissue[100 : 100 + SIDE, :SIDE], 60, subsampling=subsampling)
        edited = codec.edit(one, target, mask, "tile")
        assert edited.data == codec.edit(other, target, mask, "tile").data
        error = codec.decode(edited.data, (SIDE, SIDE), "tile").astype(int) - target
        assert np.abs(error).mean() < (0.5 if subsampling == 0 else 5)


def test_slots_of_tag_347_are_never_redefined(tissue: np.ndarray) -> None:
    data = jpeg(tissue[:SIDE, :SIDE], 60, subsampling=0)
    at, tables = 2, b""
    while data[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        tables += data[at:end] if data[at + 1] in (0xDB, 0xC4) else b""
        at = end
    codec = TileCodec(7, 6, 3, U8, 1, b"\xff\xd8" + tables + b"\xff\xd9")
    edited = codec.edit(data, tissue[200:264, 200:264], disc(30, 30, 18), "tile")
    tile = read_tile(edited.data, None, "tile")
    assert set(tile.quantisers) == {2}
    assert set(tile.huffman) == {2, 3, 18, 19}


def test_lossless_tiles_change_only_in_the_mask(tissue: np.ndarray) -> None:
    mask = disc(20, 40, 15)
    source, target = tissue[:SIDE, :SIDE], tissue[200:264, 200:264]
    for codec in (
        TileCodec(1, 2, 3, U8),
        TileCodec(5, 2, 3, U8, 2),
        TileCodec(8, 2, 3, np.dtype(">u2"), 2),
        TileCodec(32946, 2, 3, np.dtype("<u2")),
        TileCodec(33005, 2, 3, U8),
        TileCodec(34712, 1, 1, U8),
    ):
        kind = codec.dtype.newbyteorder("=")
        old = source[..., : codec.samples].astype(kind)
        new = target[..., : codec.samples].astype(kind) * (257 if kind.itemsize == 2 else 1)
        edited = codec.edit(codec.encode(old), new, mask, "tile")
        after = codec.decode(edited.data, (SIDE, SIDE), "tile")
        assert (after == np.where(mask[..., None], new, old)).all()
        assert (grown(edited) == mask).all()


def test_aperio_ycbcr_is_edited_in_its_own_colours(tissue: np.ndarray) -> None:
    """33003 holds Y, Cb, Cr without a transform, so 8 bits of them are what can be stored."""
    codec = TileCodec(33003, 2, 3, U8)
    source, target, mask = tissue[:SIDE, :SIDE], tissue[200:264, 200:264], disc(20, 40, 15)
    ycbcr = np.asarray(PIL.Image.fromarray(source).convert("YCbCr"))
    data = codec.encode(ycbcr)
    before = codec.decode(data, (SIDE, SIDE), "tile")
    assert np.abs(before.astype(int) - source).max() <= 3
    edited = codec.edit(data, target, mask, "tile")
    after = codec.decode(edited.data, (SIDE, SIDE), "tile")
    assert (after[~mask] == before[~mask]).all()
    assert np.abs(after.astype(int) - target)[mask].max() <= 3


@pytest.mark.parametrize(
    ("codec", "words"),
    [
        (TileCodec(50000, 2, 3, U8), "259 = 50000"),
        (TileCodec(6, 6, 3, U8), "259 = 6"),
        (TileCodec(7, 6, 3, np.dtype(np.uint16)), "more than 8 bits"),
        (TileCodec(7, 6, 4, U8), "4 values"),
        (TileCodec(5, 2, 3, U8, 3), "predictor is 3"),
        (TileCodec(8, 5, 4, U8), "kind 5"),
        (TileCodec(1, 6, 3, U8), "kind 6"),
    ],
)
def test_other_tiles_are_refused_by_name(codec: TileCodec, words: str) -> None:
    with pytest.raises(UnsupportedImageError, match=words):
        check_supported(codec, "slide")


def test_subsampled_jpeg2000_is_refused_by_name(tissue: np.ndarray) -> None:
    codec = TileCodec(33003, 2, 3, U8)
    data = bytearray(codec.encode(tissue[:SIDE, :SIDE]))
    assert data[42:51] == b"\x07\x01\x01" * 3
    data[46] = 2
    with pytest.raises(UnsupportedImageError, match=r"tile 9.*subsampled"):
        codec.decode(bytes(data), (SIDE, SIDE), "tile 9")


def test_damaged_tiles_are_named(tissue: np.ndarray) -> None:
    mask = disc(20, 20, 9)
    for codec in (
        TileCodec(7, 6, 3, U8),
        TileCodec(8, 2, 3, U8, 2),
        TileCodec(5, 2, 3, U8),
        TileCodec(1, 2, 3, U8),
        TileCodec(33005, 2, 3, U8),
    ):
        whole = jpeg(tissue[:SIDE, :SIDE]) if codec.compression == 7 else b""
        whole = whole or codec.encode(tissue[:SIDE, :SIDE])
        for data in (b"", b"\0" * 40, whole[:20], whole[: len(whole) // 3]):
            with pytest.raises(UnreadableImageError, match="tile 9"):
                codec.edit(data, tissue[:SIDE, :SIDE], mask, "slide, tile 9")
        with pytest.raises(UnreadableImageError, match="tile 9"):  # not what the level says
            codec.decode(whole, (SIDE * 2, SIDE), "slide, tile 9")
