"""Arrays and Pillow images are taken as they are, and those of no known meaning refused."""

import numpy as np
import PIL.Image
import pytest

from histomend.errors import ImageSizeError, UnsupportedImageError, ValueRangeError
from histomend.image import Image, as_image, check_region, pixels_sha256, write_image


def test_arrays_are_taken_as_they_are(random_pixels):
    pixels = random_pixels()
    image = as_image(pixels, mpp=0.5)
    assert np.shares_memory(image.pixels, pixels)
    assert (image.mpp, image.source, image.sha256) == (0.5, None, None)
    deep = as_image(random_pixels(samples=4, dtype=np.uint16))
    assert deep.pixels.dtype == np.uint16
    assert np.array_equal(deep.alpha, random_pixels(samples=4, dtype=np.uint16)[..., 3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_become_bytes(dtype, random_pixels):
    pixels = random_pixels()
    assert np.array_equal(as_image((pixels / 255).astype(dtype)).pixels, pixels)


def test_pillow_images_and_paths(tmp_path, random_pixels):
    pixels = random_pixels()
    assert np.array_equal(as_image(PIL.Image.fromarray(pixels)).pixels, pixels)
    write_image(tmp_path / "a.png", pixels)
    assert np.array_equal(as_image(str(tmp_path / "a.png")).pixels, pixels)
    part = as_image(pixels, region=(5, 6, 70, 65))
    assert np.array_equal(part.pixels, pixels[6:71, 5:75])
    assert part.region == (5, 6, 70, 65)


def test_hashes_tell_values_types_and_shapes_apart(random_pixels):
    pixels = random_pixels()
    assert pixels_sha256(pixels) == pixels_sha256(pixels.copy(order="F"))
    others = [pixels.astype(np.uint16), pixels.reshape(96, 80, 3), pixels[::-1]]
    assert len({pixels_sha256(a) for a in (pixels, *others)}) == 4
    deep = random_pixels(dtype=np.uint16)
    assert pixels_sha256(deep) == pixels_sha256(deep.astype(">u2"))


def test_regions_may_be_numpy_numbers(random_pixels):
    region = (np.int64(1), 2, 64, 64.0)
    assert check_region(region, 100, 100, "a") == (1, 2, 64, 64)
    assert Image(random_pixels()).width == 96


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_in_an_array_is_located(value):
    array = np.full((80, 96, 3), 0.5)
    array[17, 33, 1] = value
    with pytest.raises(ValueRangeError, match="x=33, y=17"):
        as_image(array)


@pytest.mark.parametrize("value", [-0.01, 1.01, 255.0])
def test_float_arrays_outside_zero_to_one(value):
    array = np.full((80, 96, 3), 0.5, np.float32)
    array[0, 0, 0] = value
    with pytest.raises(ValueRangeError, match=r"\[0, 1\]"):
        as_image(array)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.int16, np.uint32, complex])
def test_arrays_of_unknown_range(dtype, random_pixels):
    with pytest.raises(ValueRangeError, match="no known range"):
        as_image(random_pixels().astype(dtype))


@pytest.mark.parametrize(
    ("shape", "word"),
    [((80, 96), "grey"), ((80, 96, 1), "grey"), ((3, 80, 96), "moveaxis"), ((80, 96, 5), "alpha")],
)
def test_arrays_of_other_shapes(shape, word):
    with pytest.raises(UnsupportedImageError, match=word):
        as_image(np.zeros(shape, np.uint8))


def test_things_that_are_no_images():
    with pytest.raises(UnsupportedImageError, match="list"):
        as_image([[1, 2], [3, 4]])


def test_small_arrays():
    with pytest.raises(ImageSizeError, match="at least 64"):
        as_image(np.zeros((1, 1, 3), np.uint8))
