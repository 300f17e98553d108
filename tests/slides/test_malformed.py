"""Damaged slides: each gives an error of a known kind, leaves nothing behind, and stays."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.errors import (
    HistomendError,
    ImageSizeError,
    OutputError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.slides.appended import AppendedSlide
from histomend.slides.compact import compact
from histomend.slides.tiff_structure import TiffStructure
from histomend.slides.undo import verify

Damage = Callable[[bytearray], "bytearray | None"]


class Tags:
    """The entries of one directory of a little-endian classic TIFF, to be damaged."""

    def __init__(self, data: bytearray, directory: int = 0) -> None:
        self.data = data
        self.at = struct.unpack_from("<I", data, 4)[0]
        for _ in range(directory):
            (count,) = struct.unpack_from("<H", data, self.at)
            (self.at,) = struct.unpack_from("<I", data, self.at + 2 + 12 * count)
        (self.count,) = struct.unpack_from("<H", data, self.at)

    @property
    def following(self) -> int:
        return self.at + 2 + 12 * self.count

    def entry(self, tag: int) -> int:
        for i in range(self.count):
            at = self.at + 2 + 12 * i
            if struct.unpack_from("<H", self.data, at)[0] == tag:
                return at
        raise KeyError(tag)

    def value(self, tag: int) -> int:
        return struct.unpack_from("<I", self.data, self.entry(tag) + 8)[0]


def put(tag: int, value: int, directory: int = 0) -> Damage:
    """Give a tag another value, which for lists is another place."""

    def damage(data: bytearray) -> None:
        struct.pack_into("<I", data, Tags(data, directory).entry(tag) + 8, value)

    return damage


def kind(tag: int, value: int) -> Damage:
    return lambda data: struct.pack_into("<H", data, Tags(data).entry(tag) + 2, value)


def count(tag: int, value: int) -> Damage:
    return lambda data: struct.pack_into("<I", data, Tags(data).entry(tag) + 4, value)


def remove(tag: int) -> Damage:
    return lambda data: struct.pack_into("<H", data, Tags(data).entry(tag), 60_000)


def listed(tag: int, index: int, value: int) -> Damage:
    """Give one number of a list another value."""
    return lambda data: struct.pack_into("<I", data, Tags(data).value(tag) + 4 * index, value)


def following(value: int, directory: int = 0) -> Damage:
    return lambda data: struct.pack_into("<I", data, Tags(data, directory).following, value)


def to_itself(directory: int) -> Damage:
    def damage(data: bytearray) -> None:
        struct.pack_into("<I", data, Tags(data, directory).following, Tags(data).at)

    return damage


def child_of_itself(data: bytearray) -> None:
    tags = Tags(data)
    struct.pack_into("<HHII", data, tags.entry(284), 330, 4, 1, tags.at)


def entries(value: int) -> Damage:
    return lambda data: struct.pack_into("<H", data, Tags(data).at, value)


def cut(share: float) -> Damage:
    return lambda data: data[: int(len(data) * share)]


def head(new: bytes) -> Damage:
    return lambda data: bytearray(new) + data[len(new) :]


def tile(new: Callable[[bytes], bytes], index: int = 9) -> Damage:
    """Give the content of a tile that the mask touches another value."""

    def damage(data: bytearray) -> None:
        tags = Tags(data)
        (at,) = struct.unpack_from("<I", data, tags.value(324) + 4 * index)
        (size,) = struct.unpack_from("<I", data, tags.value(325) + 4 * index)
        changed = new(bytes(data[at : at + size]))
        data[at : at + len(changed)] = changed

    return damage


def marker(old: bytes, new: bytes) -> Damage:
    return tile(lambda content: content.replace(old, new, 1))


def both(first: Damage, second: Damage) -> Damage:
    return lambda data: (first(data), second(data))[0]


def tables(new: bytes) -> Damage:
    def damage(data: bytearray) -> None:
        at = Tags(data).value(347)
        data[at : at + len(new)] = new

    return damage


CASES: dict[str, tuple[type[HistomendError], Damage]] = {
    "empty": (UnreadableImageError, lambda data: bytearray()),
    "four bytes": (UnreadableImageError, lambda data: data[:4]),
    "header only": (UnreadableImageError, lambda data: data[:8]),
    "zeros": (UnreadableImageError, lambda data: bytearray(len(data))),
    "not a TIFF": (UnreadableImageError, head(b"\x89PNG\r\n\x1a\n")),
    "unknown version": (UnreadableImageError, head(b"II\x2c\0")),
    "other byte order": (UnreadableImageError, head(b"MM\0\x2a")),
    "BigTIFF by name only": (UnreadableImageError, head(b"II\x2b\0")),
    "no directory": (UnreadableImageError, head(b"II\x2a\0\0\0\0\0")),
    "directory beyond the end": (UnreadableImageError, head(b"II\x2a\0\xff\xff\xff\xff")),
    **{f"cut at {s}": (UnreadableImageError, cut(s)) for s in (0.1, 0.3, 0.5, 0.8, 0.95, 0.999)},
    "next is itself": (UnreadableImageError, to_itself(0)),
    "last leads to the first": (UnreadableImageError, to_itself(4)),
    "next in the middle of nowhere": (UnreadableImageError, following(9)),
    "next beyond the end": (UnreadableImageError, following(1 << 31)),
    "a child of itself": (UnreadableImageError, child_of_itself),
    "no tags": (UnreadableImageError, entries(0)),
    "65535 tags": (UnreadableImageError, entries(65_535)),
    "width 0": (ImageSizeError, put(256, 0)),
    "height 0": (ImageSizeError, put(257, 0)),
    "width absurd": (ImageSizeError, put(256, 0xFFFFFFFF)),
    "height absurd": (ImageSizeError, put(257, 0x7FFFFFFF)),
    "width of another grid": (UnreadableImageError, put(256, 4000)),
    "tile width 0": (ImageSizeError, put(322, 0)),
    "tile height 0": (ImageSizeError, put(323, 0)),
    "tile side absurd": (UnreadableImageError, put(322, 60_000)),
    "tiles of gigabytes": (ImageSizeError, both(put(322, 60_000), put(323, 60_000))),
    "tiles of another size": (UnreadableImageError, put(322, 32)),
    "width missing": (UnreadableImageError, remove(256)),
    "tile height missing": (UnreadableImageError, remove(323)),
    "tiles missing": (UnreadableImageError, remove(324)),
    "lengths missing": (UnreadableImageError, remove(325)),
    "one tile too few": (UnreadableImageError, count(324, 55)),
    "one length too few": (UnreadableImageError, count(325, 55)),
    "a billion tiles": (UnreadableImageError, count(324, 1 << 30)),
    "tiles as text": (UnreadableImageError, kind(324, 2)),
    "tiles as fractions": (UnreadableImageError, kind(324, 12)),
    "tiles of unknown type": (UnreadableImageError, kind(324, 99)),
    "list beyond the end": (UnreadableImageError, put(324, 0xFFFFFFF0)),
    "tile beyond the end": (UnreadableImageError, listed(324, 9, 0xFFFFFF00)),
    "length beyond the end": (UnreadableImageError, listed(325, 9, 0xFFFFFF00)),
    "label beyond the end": (UnreadableImageError, put(273, 0xFFFFFF00, 4)),
    "tile of one byte": (UnreadableImageError, listed(325, 9, 1)),
    "bits of 12": (UnsupportedImageError, kind(258, 1)),
    "five samples": (UnsupportedImageError, put(277, 5)),
    "planar": (UnsupportedImageError, put(284, 2)),
    "unknown compression": (UnsupportedImageError, put(259, 12_345)),
    "old JPEG": (UnsupportedImageError, put(259, 6)),
    "CMYK": (UnsupportedImageError, put(262, 5)),
    "no tables": (UnreadableImageError, remove(347)),
    "tables of zeros": (UnreadableImageError, tables(bytes(20))),
    "tables cut short": (UnreadableImageError, count(347, 60)),
    "tile of zeros": (UnreadableImageError, tile(lambda content: bytes(len(content)))),
    "tile of ones": (UnreadableImageError, tile(lambda content: b"\xff" * len(content))),
    "tile without its frame": (UnreadableImageError, marker(b"\xff\xc0", b"\xff\xfe")),
    "tile progressive": (UnsupportedImageError, marker(b"\xff\xc0", b"\xff\xc2")),
    "tile arithmetic": (UnsupportedImageError, marker(b"\xff\xc0", b"\xff\xc9")),
    "tile of another size": (
        UnreadableImageError,
        marker(b"\xff\xc0\0\x11\x08\0\x40\0\x40", b"\xff\xc0\0\x11\x08\0\x80\0\x40"),
    ),
    "tile of a gigabyte": (
        UnreadableImageError,
        marker(b"\xff\xc0\0\x11\x08\0\x40\0\x40", b"\xff\xc0\0\x11\x08\xff\xdc\xff\xdc"),
    ),
    "tile without end": (UnreadableImageError, listed(325, 9, 200)),
    "Hamamatsu": (
        UnsupportedImageError,
        lambda data: struct.pack_into("<H", data, Tags(data).entry(284), 65_420),
    ),
}


@pytest.fixture(scope="module")
def whole(make_slide: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_slide(tmp_path_factory.mktemp("whole") / "a.svs").read_bytes()


def restore(path: Path, target: Path, side: int = 300) -> None:
    with AppendedSlide(path, target) as out:
        size = min(side, out.levels[0].width), min(side, out.levels[0].height)
        samples = out.levels[0].codec.samples
        kind_of = out.levels[0].codec.dtype.newbyteorder("=")
        pixels = np.full((size[1], size[0], samples), 90, kind_of)
        mask = np.ones(size[::-1], bool)
        mask[::3, ::5] = False  # no tile is new as a whole, so that all have to be read
        out.put((0, 0, *size), pixels, mask)
        out.finish()


@pytest.mark.parametrize("case", CASES)
def test_damage_is_named_and_leaves_nothing(case: str, whole: bytes, tmp_path: Path) -> None:
    error, damage = CASES[case]
    data = bytearray(whole)
    changed = damage(data)
    content = bytes(data if changed is None else changed)
    assert content != whole
    path = tmp_path / "slide.svs"
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        restore(path, tmp_path / "out.svs")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_any_flipped_byte_gives_a_slide_or_a_named_error(whole: bytes, tmp_path: Path) -> None:
    rng = np.random.default_rng(11)
    tags = Tags(bytearray(whole))
    places = [*rng.integers(0, len(whole), 15), *rng.integers(tags.at, tags.following, 25)]
    refused = 0
    for place in places:
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(8))
        path, target = tmp_path / "slide.svs", tmp_path / "out.svs"
        path.write_bytes(bytes(data))
        try:
            restore(path, target, side=100)
        except HistomendError:
            refused += 1
            assert not target.exists()
        else:
            assert verify(target, path).ok
            target.unlink()
        assert path.read_bytes() == bytes(data)
    assert 0 < refused < len(places)


@pytest.mark.parametrize("kind_of", ["deflate", "lzw", "jpeg2000"])
def test_damaged_tiles_of_other_compressions(make_slide: Any, tmp_path: Path, kind_of: str) -> None:
    path = make_slide(tmp_path / "slide.tif", kind_of)
    with path.open("rb") as file:
        tiff = TiffStructure(file, str(path))
        at = int(tiff.numbers(tiff.chain[0], 324)[9])
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 60)
    with pytest.raises(UnreadableImageError, match=r"slide\.tif.*x=64, y=64"):
        restore(path, tmp_path / "out.tif")
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("act", [restore, compact, lambda path, target: verify(path)])
def test_what_is_no_file_is_named(act: Any, tmp_path: Path) -> None:
    for path, says in ((tmp_path / "missing.svs", "there is no such file"), (tmp_path, "folder")):
        with pytest.raises(UnreadableImageError, match=says):
            act(path, tmp_path / "out.svs")


def test_a_full_disk_leaves_nothing(
    make_slide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from histomend.slides import appended_file

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = make_slide(tmp_path / "slide.svs")
    monkeypatch.setattr(appended_file, "copy_bytes", full)
    with pytest.raises(OutputError, match="disk is full"):
        restore(path, tmp_path / "out.svs")
    assert list(tmp_path.iterdir()) == [path]
