"""Kinds of pixels and pages are taken as they are, handled and said, or refused by name."""

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import UnsupportedImageError, ValueRangeError
from histomend.image import read_image


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused_with_the_conversion(tmp_path, suffix, save_picture, refused):
    path = save_picture(tmp_path / f"print{suffix}", "CMYK")
    refused(path, UnsupportedImageError, "CMYK", "convert('RGB')")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_are_expanded_and_said(tmp_path, suffix, save_picture):
    path = save_picture(tmp_path / f"palette{suffix}", "P")
    with PIL.Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB"))
    image = read_image(path)
    assert np.array_equal(image.pixels, expected)
    assert any("palette" in notice for notice in image.notices)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_one_bit_images_look_like_masks(tmp_path, suffix, save_picture, refused):
    path = save_picture(tmp_path / f"mask{suffix}", "1")
    refused(path, UnsupportedImageError, "one bit", "--mask")


@pytest.mark.parametrize("name", ["L.png", "L.jpg", "L.tif", "LA.png", "I;16.png", "I;16.tif"])
def test_grey_images_are_refused(tmp_path, name, random_pixels, refused):
    mode, suffix = name.split(".")
    path = tmp_path / f"grey.{suffix}"
    grey = random_pixels(dtype=np.uint16)[..., 0] if mode == "I;16" else random_pixels()[..., 0]
    PIL.Image.fromarray(grey).convert(mode).save(path)
    refused(path, UnsupportedImageError, "grey", "colours of a stain")


def test_transparency_is_kept_and_said(tmp_path, random_pixels):
    path = tmp_path / "alpha.png"
    values = random_pixels(samples=4)
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert np.array_equal(image.pixels, values[..., :3])
    assert np.array_equal(image.alpha, values[..., 3])
    assert any("transparency" in notice for notice in image.notices)


def test_a_fully_transparent_image_is_read_with_a_warning(tmp_path, random_pixels):
    # Some exports leave the fourth channel at zero, and the tissue is there all the same.
    path = tmp_path / "clear.png"
    values = random_pixels(samples=4)
    values[..., 3] = 0
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert np.array_equal(image.pixels, values[..., :3])
    assert any("fully transparent" in notice for notice in image.notices)


def test_opaque_alpha_needs_no_words(tmp_path, random_pixels):
    path = tmp_path / "opaque.png"
    values = random_pixels(samples=4)
    values[..., 3] = 255
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert image.alpha is not None
    assert image.notices == ()


def test_premultiplied_alpha_is_refused(tmp_path, random_pixels, refused):
    path = tmp_path / "premultiplied.tif"
    tifffile.imwrite(path, random_pixels(samples=4), photometric="rgb", extrasamples=["assocalpha"])
    refused(path, UnsupportedImageError, "associated alpha", "Flatten")


def test_twelve_bits_in_sixteen_are_noticed(tmp_path, random_pixels):
    path = tmp_path / "camera.tif"
    tifffile.imwrite(path, random_pixels(dtype=np.uint16) >> 4, photometric="rgb")
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    assert any("12-bit" in notice for notice in image.notices)


def test_float_tiff_has_no_known_range(tmp_path, random_pixels, refused):
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, random_pixels().astype(np.float32), photometric="rgb")
    refused(path, ValueRangeError, "floating-point", "uint8")


def test_32_bit_tiff_has_no_known_range(tmp_path, random_pixels, refused):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, random_pixels().astype(np.uint32), photometric="rgb")
    refused(path, ValueRangeError, "32", "8 or 16 bit")


def test_pixels_stay_as_stored_when_a_tag_asks_to_turn_them(tmp_path, save_picture):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = save_picture(tmp_path / "turned.jpg", exif=exif)
    image = read_image(path)
    assert (image.height, image.width) == (80, 96)
    assert any("orientation" in notice for notice in image.notices)


def test_stacks_are_refused_because_the_page_cannot_be_known(tmp_path, random_pixels, refused):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([random_pixels()] * 3), photometric="rgb")
    refused(path, UnsupportedImageError, "3 full-size pages", "z-stack")


def test_channels_on_separate_pages_are_no_rgb(tmp_path, random_pixels, refused):
    path = tmp_path / "channels.ome.tif"
    tifffile.imwrite(
        path,
        np.moveaxis(random_pixels(), -1, 0),
        photometric="minisblack",
        metadata={"axes": "CYX"},
    )
    refused(path, UnsupportedImageError, "pages")


def test_thumbnails_and_pyramid_levels_are_passed_over(tmp_path, random_pixels):
    path = tmp_path / "pyramid.tif"
    values = random_pixels(256, 256)
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2, 4):
            level = np.ascontiguousarray(values[::step, ::step])
            writer.write(level, tile=(64, 64), photometric="rgb", subfiletype=int(step > 1))
    image = read_image(path)
    assert np.array_equal(image.pixels, values)
    assert any("2 smaller" in notice for notice in image.notices)


def test_animations_are_refused(tmp_path, random_pixels, refused):
    path = tmp_path / "moving.webp"
    frames = [PIL.Image.fromarray(random_pixels()), PIL.Image.fromarray(255 - random_pixels())]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    refused(path, UnsupportedImageError, "animation", "2 frames")
