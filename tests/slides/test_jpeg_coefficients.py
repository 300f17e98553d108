"""JPEG tiles as coefficients: exact both ways, and named errors for what is not read."""

from __future__ import annotations

import io
from typing import Any

import imagecodecs
import numpy as np
import PIL.Image
import pytest

from histomend.errors import HistomendError, UnreadableImageError, UnsupportedImageError
from histomend.slides.jpeg_coefficients import frame_size, read_tile, write_tile
from histomend.slides.jpeg_huffman import codes, shortest


def stream(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()


def scan_of(data: bytes) -> bytes:
    return data[data.index(b"\xff\xda") :]


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [30, 75, 97])
def test_coefficients_come_back_bit_for_bit(
    tissue: np.ndarray, subsampling: int, quality: int
) -> None:
    data = stream(tissue[:72, :104], subsampling=subsampling, quality=quality)
    tile = read_tile(data, None, "tile")
    assert (tile.width, tile.height, len(tile.components)) == (104, 72, 3)
    assert scan_of(write_tile(tile)) == scan_of(data)


def test_restart_intervals_and_single_planes(tissue: np.ndarray) -> None:
    for pixels, options in (
        (tissue[:64, :96], {"restart_marker_blocks": 3}),
        (tissue[:64, :96], {"restart_marker_rows": 1, "subsampling": 2}),
        (tissue[:50, :70, 1], {"restart_marker_blocks": 5}),
    ):
        data = stream(pixels, quality=80, **options)
        tile = read_tile(data, None, "tile")
        assert tile.restart > 0
        assert scan_of(write_tile(tile)) == scan_of(data)


def test_coefficients_are_those_of_the_pixels() -> None:
    grey = np.full((8, 16), 200, np.uint8)
    grey[:, 8:] = 90
    tile = read_tile(stream(grey, quality=75), None, "tile")
    (plane,) = tile.components
    step = tile.quantisers[plane.quantiser][0]
    # The DC coefficient is 8 times the mean around 128.
    assert plane.blocks[0, :, 0].tolist() == [
        round((200 - 128) * 8 / step),
        round((90 - 128) * 8 / step),
    ]
    assert not plane.blocks[..., 1:].any()


def test_shortest_tables_decode_to_the_same_and_are_no_longer(tissue: np.ndarray) -> None:
    pixels = tissue[:96, :96]
    tile = read_tile(stream(pixels, quality=85), None, "tile")
    pairs = sorted({(c.dc, c.ac) for c in tile.components})
    data = write_tile(tile, dict(zip(pairs, (2, 3), strict=True)))
    assert data.count(b"\xff\xc1") == 1  # slots above 1 need the extended kind
    expected = imagecodecs.jpeg8_decode(stream(pixels, quality=85))
    assert (imagecodecs.jpeg8_decode(data) == expected).all()
    best = stream(pixels, quality=85, optimize=True)
    assert len(scan_of(data)) <= len(scan_of(best)) + 2


def test_shortest_tables_of_known_frequencies() -> None:
    counts = np.zeros(256, np.int64)
    counts[[5, 9, 200]] = 100, 10, 1
    _, lengths = codes(shortest(counts))
    assert lengths[[5, 9, 200]].tolist() == [1, 2, 3]
    assert lengths.sum() == 6
    steep = (1.6 ** np.arange(40)).astype(np.int64)  # plain Huffman would take 39 bits
    counts[:] = 0
    counts[:40] = steep
    words, lengths = codes(shortest(counts))
    assert lengths[:40].max() == 16
    assert sum(0.5 ** int(n) for n in lengths[:40]) < 1
    # No word of ones alone.
    assert all(word != (1 << n) - 1 for word, n in zip(words[:40], lengths[:40], strict=True))


def test_other_kinds_of_jpeg_are_refused_by_name(tissue: np.ndarray) -> None:
    data = stream(tissue[:64, :64], progressive=True)
    with pytest.raises(UnsupportedImageError, match=r"slide, tile 3.*progressive"):
        read_tile(data, None, "slide, tile 3")
    deep = imagecodecs.jpeg8_encode(tissue[:64, :64].astype(np.uint16), bitspersample=12)
    with pytest.raises(UnsupportedImageError, match="12 bits"):
        read_tile(deep, None, "tile")


def test_damage_is_named(tissue: np.ndarray) -> None:
    data = stream(tissue[:64, :64], quality=80)
    start = data.index(b"\xff\xda") + 14
    for cut in (0, 1, 2, 30, start - 20, start, start + 10, len(data) // 2):
        with pytest.raises(UnreadableImageError, match="tile"):
            read_tile(data[:cut], None, "tile")
    without = data.replace(b"\xff\xc4", b"\xff\xfe")  # tables become comments
    with pytest.raises(UnreadableImageError, match="Huffman table 0 is missing"):
        read_tile(without, None, "tile")
    with pytest.raises(UnreadableImageError, match="quantisation table 0 is missing"):
        read_tile(data.replace(b"\xff\xdb", b"\xff\xfe"), None, "tile")
    at = data.index(b"\xff\xc0") + 5
    huge = data[:at] + b"\xff\xdc\xff\xdc" + data[at + 4 :]
    assert frame_size(huge, "tile")[:2] == (65_500, 65_500)
    with pytest.raises(UnreadableImageError, match="fewer data"):
        read_tile(huge, None, "tile")


def test_flipped_bits_raise_named_errors_or_decode(tissue: np.ndarray) -> None:
    data = bytearray(stream(tissue[:64, :64], quality=80))
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(120):
        at, bit = int(rng.integers(2, len(data))), 1 << int(rng.integers(8))
        damaged = bytearray(data)
        damaged[at] ^= bit
        try:
            read_tile(bytes(damaged), None, "tile")
        except HistomendError:
            refused += 1
    assert refused > 20
