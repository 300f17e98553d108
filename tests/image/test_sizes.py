"""Sizes, regions and pixel sizes that cannot be are refused, from the header where one can."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import ImageSizeError, PixelSizeError, RegionError
from histomend.image import read_image, write_image


@pytest.mark.parametrize("size", [(1, 1), (63, 200), (200, 63)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_too_small_images(tmp_path, size, suffix, random_pixels, refused):
    path = tmp_path / f"small{suffix}"
    PIL.Image.fromarray(random_pixels(*size)).save(path)
    refused(path, ImageSizeError, f"{size[1]} x {size[0]} px", "at least 64")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_65000_pixels_wide_is_fine(tmp_path, suffix):
    path = tmp_path / f"wide{suffix}"
    values = np.zeros((64, 65_000, 3), np.uint8)
    values[:, ::7] = 201
    write_image(path, values)
    assert np.array_equal(read_image(path).pixels, values)


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"")
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
        out += struct.pack(">I", len(body)) + kind + body
        out += struct.pack(">I", zlib.crc32(kind + body))
    return out


def test_a_png_bomb_is_seen_in_the_header(tmp_path, refused):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(65_000, 65_000))
    refused(path, ImageSizeError, "65000 x 65000", "4,225 megapixels", "450")


def test_a_jpeg_bomb_is_seen_in_the_header(tmp_path, save_picture, refused):
    path = save_picture(tmp_path / "bomb.jpg")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")  # start of frame: height and width follow at byte 5
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(bytes(data))
    refused(path, ImageSizeError, "4,225 megapixels")


def test_a_tiff_bomb_is_seen_in_the_header_and_may_be_read_in_part(
    tmp_path, random_pixels, refused
):
    path = tmp_path / "bomb.tif"
    tile = random_pixels(256, 256)
    with tifffile.TiffWriter(path, bigtiff=True) as writer:
        # All but the first tile are left out of the file.
        writer.write(
            (tile if i == 0 else None for i in range(118 * 118)),
            shape=(30_000, 30_000, 3), dtype=np.uint8, tile=(256, 256), photometric="rgb",
        )  # fmt: skip
    refused(path, ImageSizeError, "900 megapixels", "--region")
    image = read_image(path, region=(10, 20, 128, 96))
    assert np.array_equal(image.pixels, tile[20:116, 10:138])


@pytest.mark.parametrize("region", [(-1, 0, 64, 64), (0, 0, 97, 64), (40, 0, 64, 80), (0, 0, 0, 0)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_regions_outside_the_image(tmp_path, region, suffix, save_picture, refused):
    path = save_picture(tmp_path / f"a{suffix}")
    refused(path, RegionError, "96 x 80 px", region=region)


@pytest.mark.parametrize("region", [(1, 2, 3), ("a", 0, 64, 64), (0.5, 0, 64, 64), 7])
def test_malformed_regions(tmp_path, region, save_picture, refused):
    refused(save_picture(tmp_path / "a.png"), RegionError, "x,y,w,h", region=region)


def test_a_region_too_small_to_restore(tmp_path, save_picture, refused):
    refused(save_picture(tmp_path / "a.png"), ImageSizeError, "at least 64", region=(0, 0, 32, 64))


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf"), 500, "half"])
def test_impossible_pixel_sizes(tmp_path, mpp, save_picture, refused):
    refused(save_picture(tmp_path / "a.png"), PixelSizeError, "micrometres", mpp=mpp)
