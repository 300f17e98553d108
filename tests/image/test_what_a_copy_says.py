"""A TIFF made from a TIFF: what names the file names the new one, and tags stay as they were."""

from __future__ import annotations

import struct
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import tifffile

from histomend.image import read_image, write_image
from histomend.image.stack_files import read_stack, write_stack
from histomend.image.stacks import Stack
from histomend.slides.sink import write_output

SIDE = 64


def planes(count: int) -> np.ndarray:
    """Return planes that can be told apart by their mean."""
    noise = np.random.default_rng(0).integers(0, 20, (count, SIDE, SIDE))
    return (noise + 40 * np.arange(1, count + 1)[:, None, None]).astype(np.uint8)


def copied(source: Path, target: Path) -> Stack:
    """Read a file, change its values, and write it again; return what was read."""
    stack = read_stack(source)
    stack.values[:] = stack.values // 2
    write_stack(target, stack, note="changed")
    return stack


def ome(order: tuple[int, ...], *, root: str = "", file: str = "in.ome.tif") -> str:
    data = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="{ifd}" PlaneCount="1">'
        f'<UUID FileName="{file}">urn:uuid:old</UUID></TiffData>'
        for ifd, z in enumerate(order)
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><OME {root} '
        'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
        f'SizeX="{SIDE}" SizeY="{SIDE}" SizeZ="{len(order)}" SizeC="1" SizeT="1">'
        f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{data}</Pixels></Image></OME>'
    )


@pytest.mark.parametrize("root", ["", 'UUID="urn:uuid:old"'])
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_ome_names_the_new_file_and_keeps_its_planes(
    tmp_path: Path, order: tuple[int, ...], root: str
) -> None:
    source, target = tmp_path / "in.ome.tif", tmp_path / "new.ome.tif"
    stored = planes(3)
    with tifffile.TiffWriter(source) as writer:
        for number, z in enumerate(order):
            text = ome(order, root=root).encode() if number == 0 else None
            writer.write(stored[z], description=text, metadata=None, contiguous=False)
    read = copied(source, target)
    # Read beside its source, as a viewer does.
    np.testing.assert_array_equal(tifffile.imread(target), stored // 2)
    np.testing.assert_array_equal(read.values[..., 0], stored // 2)
    with tifffile.TiffFile(target) as file:
        text = file.pages.first.description
        as_stored = [int(page.asarray().mean()) // 20 for page in file.pages]
    assert as_stored == [z + 1 for z in order]
    assert "in.ome.tif" not in text
    assert "urn:uuid:old" not in text
    assert text.count('FileName="new.ome.tif"') == 3
    assert text.count("urn:uuid:") == 3 + bool(root)


def write_tags(path: Path, *tags: tuple[int, int, int, bytes], tile: int | None = None) -> None:
    """Write a TIFF with tags that tifffile would not write."""
    pixels = planes(1)[0].tobytes()
    entries: dict[int, tuple[int, int, bytes]] = {}
    for code, value in ((256, SIDE), (257, SIDE), (258, 8), (259, 1), (262, 1), (277, 1)):
        entries[code] = 3, 1, struct.pack("<H", value)
    places = (273, 278, 279) if tile is None else (324, 322, 325)
    size = SIDE if tile is None else tile
    entries[places[1]] = 3, 1, struct.pack("<H", size)
    if tile is not None:
        entries[323] = 3, 1, struct.pack("<H", tile)
        pixels = bytes(tile * tile)
    entries[places[2]] = 4, 1, struct.pack("<I", len(pixels))
    entries |= {code: (kind, count, data) for code, kind, count, data in tags}
    entries[places[0]] = 4, 1, struct.pack("<I", 8)
    directory = 8 + len(pixels)
    behind = directory + 2 + 12 * len(entries) + 4
    table, rest = struct.pack("<H", len(entries)), b""
    for code in sorted(entries):
        kind, count, data = entries[code]
        if len(data) <= 4:
            place = data.ljust(4, b"\0")
        else:
            place = struct.pack("<I", behind + len(rest))
            rest += data + b"\0" * (len(data) % 2)
        table += struct.pack("<HHI", code, kind, count) + place
    path.write_bytes(b"II*\0" + struct.pack("<I", directory) + pixels + table + bytes(4) + rest)


def text(value: str | bytes) -> bytes:
    return (value.encode() if isinstance(value, str) else value) + b"\0"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        (306, text("20220722 14:03:11.250")),
        (306, text("2024-01-01 12.00.00")),
        (305, text("Zeiss µScan")),
        (305, b"NIS-Elements\xae 5.3\0"),
        (271, text("Maker")),
        (315, text("Å. Nyström")),
        (33432, text("(c)")),
        (40000, text("of one vendor")),
    ],
)
def test_texts_are_copied_as_they_lie_in_the_file(tmp_path: Path, code: int, data: bytes) -> None:
    write_tags(tmp_path / "in.tif", (code, 2, len(data), data))
    copied(tmp_path / "in.tif", tmp_path / "new.tif")
    assert data in (tmp_path / "new.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "new.tif") as file:
        tag = file.pages.first.tags[code]
        assert (int(tag.dtype), tag.count) == (2, len(data))


@pytest.mark.parametrize(
    "tag",
    [
        (282, 5, 1, struct.pack("<II", 300, 0)),
        (282, 5, 1, struct.pack("<II", 0, 0)),
        (282, 2, 4, b"abc\0"),
        (296, 3, 1, struct.pack("<H", 77)),
        (317, 3, 1, struct.pack("<H", 2)),
        (254, 4, 1, struct.pack("<I", 77)),
        (34675, 3, 3, struct.pack("<HHH", 1, 2, 3)),
        (305, 3, 2, struct.pack("<HH", 1, 2)),
        (306, 4, 3, struct.pack("<III", 1, 2, 3)),
        (270, 2, 4, b"\xff\xfe\xfd\0"),
    ],
)
def test_tags_off_the_standard_are_no_reason_to_fail(
    tmp_path: Path, tag: tuple[int, int, int, bytes]
) -> None:
    write_tags(tmp_path / "in.tif", (283, 5, 1, struct.pack("<II", 300, 1)), tag)
    stack = copied(tmp_path / "in.tif", tmp_path / "new.tif")
    again = read_stack(tmp_path / "new.tif")
    np.testing.assert_array_equal(again.values, stack.values)


@pytest.mark.parametrize(("tile", "legal"), [(100, 112), (65, 80), (1000, 1008)])
def test_tiles_that_tiff_does_not_allow_become_legal_ones_with_a_notice(
    tmp_path: Path, tile: int, legal: int
) -> None:
    write_tags(tmp_path / "in.tif", tile=tile)
    stack = read_stack(tmp_path / "in.tif", flat=True)
    assert any(f"{tile} x {tile} px are off the TIFF standard" in said for said in stack.notices)
    write_stack(tmp_path / "new.tif", stack)
    with tifffile.TiffFile(tmp_path / "new.tif") as file:
        assert (file.pages.first.tilewidth, file.pages.first.tilelength) == (legal, legal)


def test_private_tags_that_may_describe_the_old_pixels_are_named(tmp_path: Path) -> None:
    write_tags(tmp_path / "in.tif", (50001, 4, 2, struct.pack("<II", 5, 6)))
    stack = copied(tmp_path / "in.tif", tmp_path / "new.tif")
    assert any("are left out: 50001" in said for said in stack.notices)
    with tifffile.TiffFile(tmp_path / "new.tif") as file:
        assert 50001 not in file.pages.first.tags


def test_orientation_and_white_being_zero_are_written_back(tmp_path: Path) -> None:
    turned = (274, 3, 1, struct.pack("<H", 6))
    write_tags(tmp_path / "in.tif", turned, (262, 3, 1, struct.pack("<H", 0)))
    stack = copied(tmp_path / "in.tif", tmp_path / "new.tif")
    with tifffile.TiffFile(tmp_path / "new.tif") as file:
        assert int(file.pages.first.photometric) == 0
        assert int(file.pages.first.tags[274].value) == 6
        np.testing.assert_array_equal(255 - file.asarray(), stack.values[0, ..., 0])
    again = read_stack(tmp_path / "new.tif")
    np.testing.assert_array_equal(again.values, stack.values)
    assert (again.orientation, again.white_is_zero) == (6, True)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_pictures_keep_their_orientation(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 80, 3), np.uint8)
    source = tmp_path / "in.tif"
    tifffile.imwrite(source, pixels, photometric="rgb", extratags=[(274, 3, 1, 6, False)])
    image = read_image(source)
    assert image.orientation == 6
    write_output(tmp_path / f"new{suffix}", image, note="changed", lossy=True)
    assert read_image(tmp_path / f"new{suffix}").orientation == 6


def test_pictures_keep_the_tags_that_stay_true(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 80, 3), np.uint8)
    source = tmp_path / "in.tif"
    tifffile.imwrite(
        source, pixels, photometric="rgb", software="Scanner 3", datetime="2024:01:02 03:04:05",
        extratags=[(315, 2, None, "Somebody", False), (50001, 4, 1, 7, False)],
    )  # fmt: skip
    write_output(tmp_path / "new.tif", read_image(source), note="changed")
    with tifffile.TiffFile(tmp_path / "new.tif") as file:
        tags = file.pages.first.tags
        assert [tags.valueof(code) for code in (305, 306, 315, 50001)] == [
            "Scanner 3", "2024:01:02 03:04:05", "Somebody", None,
        ]  # fmt: skip
        assert file.pages.first.description == "changed"


def test_a_file_called_ome_holds_ome(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (70, 80, 3), np.uint8)
    write_image(tmp_path / "a.png", pixels, mpp=0.25)
    for number in range(2):
        target = tmp_path / f"{number}" / "a.ome.tif"
        target.parent.mkdir()
        write_output(target, read_image(tmp_path / "a.png"), note="changed")
        assert read_image(target).mpp == 0.25
        np.testing.assert_array_equal(read_image(target).pixels, pixels)
        with tifffile.TiffFile(target) as file:
            assert "changed" in (file.ome_metadata or "")
    # The same pixels and name give the same bytes.
    assert len({path.read_bytes() for path in tmp_path.glob("*/a.ome.tif")}) == 1
    tifffile.imwrite(tmp_path / "plain.tif", planes(2), photometric="minisblack",
                     metadata={"axes": "ZYX"})  # fmt: skip
    write_stack(tmp_path / "b.ome.tif", read_stack(tmp_path / "plain.tif"), note="changed")
    with tifffile.TiffFile(tmp_path / "b.ome.tif") as file:
        assert file.is_ome
        assert file.series[0].axes == "ZYX"
