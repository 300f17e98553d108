"""What a file declares is checked before anything makes room for it."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import ImageSizeError, UnreadableImageError, UnsupportedImageError
from histomend.image import read_image
from histomend.image.inner_headers import jpeg_least_bytes
from histomend.image.rasters import open_picture
from histomend.image.stack_files import read_stack

MEGABYTES = 300
_MEASURED = """
import resource, sys
from pathlib import Path
from histomend.errors import HistomendError
from histomend.image import read_image
from histomend.image.stack_files import read_stack
from histomend.masks import load_mask
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
reader, path = sys.argv[1], Path(sys.argv[2])
before = peak()
try:
    {"image": read_image, "stack": read_stack,
     "mask": lambda path: load_mask(path, (3000, 3000))}[reader](path)
    print("read", end=" ")
except HistomendError as error:
    print(type(error).__name__, end=" ")
print(peak() - before)
"""


def patched(data, magic, at, layout, *values):
    out = bytearray(data)
    struct.pack_into(layout, out, data.index(magic) + at, *values)
    return bytes(out)


def tiff(values, **options):
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def colours(side=64):
    smooth = np.add.outer(np.arange(side), np.arange(side)) * 127 // side
    return np.stack([smooth, smooth // 2, smooth * 2], axis=-1).astype(np.uint8)


def jpeg_tile():
    data = tiff(colours(), photometric="rgb", compression="jpeg", tile=(64, 64))
    return patched(data, b"\xff\xc0", 5, ">HH", 40_000, 40_000)


def jpeg_2000_strip():
    data = tiff(colours(), photometric="rgb", compression="jpeg2000")
    return patched(data, b"\xff\x4f\xff\x51", 8, ">II", 30_000, 30_000)


def shared_strip():
    """Return 12 pages of 20,000 px a side, all of them one strip that deflates to little."""
    data = zlib.compress(bytes(1 << 20), 9)
    tags = [
        (256, 4, 20_000), (257, 4, 20_000), (258, 3, 8), (259, 3, 8), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, 20_000), (279, 4, len(data)),
    ]  # fmt: skip
    out = bytearray(b"II*\0\0\0\0\0" + data)
    link = 4
    for _ in range(12):
        struct.pack_into("<I", out, link, len(out))
        out += struct.pack("<H", len(tags))
        out += b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
        link = len(out)
        out += bytes(4)
    return bytes(out)


def ome_of(text):
    """Return an OME-TIFF of two planes with a part of its description replaced."""
    source = tiff(np.zeros((2, 64, 64), np.uint8), ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(io.BytesIO(source)) as file:
        xml = file.ome_metadata
    for old, new in text.items():
        assert old in xml
        xml = xml.replace(old, new)
    return tiff(np.zeros((2, 64, 64), np.uint8), description=xml.encode(), metadata=None)


def grey_png():
    def chunk(kind, body):
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(1 << 22), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def zigzag():
    points = [[i % 128, 3000 * (i % 2)] for i in range(3000)]
    return json.dumps({"type": "Polygon", "coordinates": [points]}).encode()


BOMBS = {
    "jpeg.tif": (jpeg_tile, "image", "UnreadableImageError"),
    "jpeg2000.tif": (jpeg_2000_strip, "image", "UnreadableImageError"),
    "shared.tif": (shared_strip, "stack", "ImageSizeError"),
    "ome.tif": (
        lambda: ome_of({'SizeZ="2"': 'SizeZ="1000000000"'}),
        "stack",
        "UnreadableImageError",
    ),
    "grey.png": (grey_png, "stack", "ImageSizeError"),
    "zigzag.geojson": (zigzag, "mask", "read"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_files_never_take_large_memory(tmp_path, name):
    make, reader, answer = BOMBS[name]
    path = tmp_path / name
    path.write_bytes(make())
    assert path.stat().st_size < 2 << 20
    command = [sys.executable, "-c", _MEASURED, reader, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found, megabytes = done.stdout.split()
    assert found == answer
    assert int(megabytes) < MEGABYTES
    assert done.stderr == ""


@pytest.mark.parametrize(
    "change",
    [
        {'SizeZ="2"': 'SizeZ="3"'},
        {'SizeT="1"': 'SizeT="100000000"'},
        {'PlaneCount="2"': 'PlaneCount="1000000000"'},
        {'IFD="0"': 'IFD="1000000000"'},
    ],
)
def test_descriptions_that_tell_of_more_planes_than_there_are(tmp_path, change):
    path = tmp_path / "a.ome.tif"
    path.write_bytes(ome_of(change))
    with pytest.raises(UnreadableImageError, match="planes are missing"):
        read_stack(path)


def test_imagej_that_tells_of_more_images_than_there_are(tmp_path):
    path = tmp_path / "a.tif"
    text = b"ImageJ=1.54f\nimages=1000000000\nslices=1000000000\n"
    path.write_bytes(tiff(np.ones((64, 64), np.uint8), description=text, metadata=None))
    with pytest.raises(UnreadableImageError, match="1,000,000,000 planes"):
        read_stack(path)


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000", "webp", "png", "jpegxl"])
@pytest.mark.parametrize("layout", [{"tile": (32, 48)}, {"rowsperstrip": 24}, {}])
def test_sound_pictures_inside_a_tiff_are_read(tmp_path, compression, layout):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 200, (80, 96, 3), np.uint8)
    tifffile.imwrite(path, values, photometric="rgb", compression=compression, **layout)
    expected = tifffile.imread(path)
    assert np.array_equal(read_image(path).pixels, expected)
    assert np.array_equal(read_stack(path, channels=3).values[0], expected)
    part = read_image(path, region=(20, 10, 70, 65)).pixels
    assert np.array_equal(part, expected[10:75, 20:90])


def test_a_compression_whose_outcome_nobody_knows_beforehand(tmp_path, refused):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours(), photometric="rgb", compression="lerc")
    refused(path, UnsupportedImageError, "LERC", "deflate")


@pytest.mark.parametrize(
    ("tag", "kind"), [(256, 6), (256, 8), (257, 9), (256, 2), (257, 12), (258, 12), (277, 5)]
)
def test_sizes_of_a_type_that_no_size_has(tmp_path, tag, kind, refused, capfd):
    """A width of -128 sent libraries into an endless loop."""
    data = bytearray(tiff(np.ones((3, 128, 128), np.float32), photometric="minisblack"))
    place = max(data.find(struct.pack("<HH", tag, usual)) for usual in (3, 4))
    struct.pack_into("<H", data, place + 2, kind)
    if kind in (8, 9):
        struct.pack_into("<i", data, place + 8, -128)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(UnreadableImageError, match=f"tag {tag}"):
        read_stack(path)
    refused(path, UnreadableImageError, f"tag {tag}")
    assert capfd.readouterr() == ("", "")


def test_an_image_without_rows(tmp_path, refused):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours(), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageLength"].overwrite(0)
    refused(path, UnreadableImageError, "tag 257")
    with pytest.raises(UnreadableImageError, match="tag 257"):
        read_stack(path)


def test_axes_that_cannot_be(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((64, 64), np.uint8), metadata={"axes": "YX"})
    path.write_bytes(path.read_bytes().replace(b'"axes": "YX"', b'"axes": "YY"'))
    with pytest.raises(UnreadableImageError, match="axes 'YY'"):
        read_stack(path)


def test_a_region_of_one_strip_that_is_too_large_to_decode(tmp_path, refused):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours(), photometric="rgb", compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        for tag in ("ImageLength", "RowsPerStrip"):
            file.pages.first.tags[tag].overwrite(2**31 - 1)
    refused(path, ImageSizeError, "one tile or strip", region=(0, 0, 64, 64))


def test_samples_that_no_camera_has(tmp_path):
    path = tmp_path / "a.tif"
    values = np.ones((64, 64, 70), np.uint8)
    tifffile.imwrite(path, values, planarconfig="contig", metadata=None)
    with pytest.raises(UnsupportedImageError, match="70 channels"):
        read_stack(path)


def page(tags):
    return struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)


def many_pages(count, width):
    """Return a TIFF of pages of 64 x 64 px, the first one with another width."""
    out = [b"II*\0\x08\0\0\0"]
    at = 8
    for number in range(count):
        tags = [(256, 3, 1, width if number == 0 else 64), (257, 3, 1, 64), (258, 3, 1, 8)]
        tags += [(262, 3, 1, 1), (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, 4096)]
        at += 2 + 12 * len(tags) + 4
        out.append(page(tags) + struct.pack("<I", 0 if number == count - 1 else at))
    return b"".join(out).ljust(9000, b"\1")


def test_many_pages_that_differ_are_refused_before_they_are_sorted(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(many_pages(20_000, 65))
    with pytest.raises(UnsupportedImageError, match="20,000 pages of different sizes"):
        read_stack(path)
    with pytest.raises(UnsupportedImageError, match="20,000"):
        read_image(path)


def test_many_pages_that_are_alike_are_read(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(many_pages(5000, 64))
    assert read_stack(path).values.shape == (5000, 64, 64, 1)


def test_pages_in_a_circle(tmp_path, refused):
    path = tmp_path / "a.tif"
    data = bytearray(many_pages(3, 64))
    data[8 + 2 + 96 : 8 + 2 + 100] = struct.pack("<I", 8)
    path.write_bytes(data)
    refused(path, UnreadableImageError, "circle")


def test_the_size_of_a_stack_is_that_of_all_its_planes(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(shared_strip())
    with pytest.raises(ImageSizeError, match="12 planes of 20000 x 20000 px"):
        read_stack(path)


def jpeg(size=(64, 64), values=colours, **options):
    out = io.BytesIO()
    PIL.Image.fromarray(values(64)).resize(size).save(out, "JPEG", **options)
    return out.getvalue()


def test_a_jpeg_that_is_too_short_for_its_size_is_not_filled_up(tmp_path):
    """The decoder would make up the rest in grey, and take as much memory as that is."""
    path = tmp_path / "a.jpg"
    path.write_bytes(patched(jpeg(), b"\xff\xc0", 5, ">HH", 8_000, 30_000))
    with pytest.raises(UnreadableImageError, match=r"truncated.*takes 1,406,250 bytes"):
        read_image(path)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_a_jpeg_of_one_colour_is_as_short_as_it_gets_and_read(tmp_path, mode, options):
    path = tmp_path / "a.jpg"
    flat = PIL.Image.new(mode, (2000, 1900), 128 if mode == "L" else (128,) * 3)
    flat.save(path, "JPEG", optimize=True, quality=1, **options)
    least = jpeg_least_bytes(path.read_bytes())
    assert 2000 * 1900 / 64 / 8 <= least <= path.stat().st_size
    with open_picture(path, "JPEG") as picture:
        assert picture.size == (2000, 1900)
