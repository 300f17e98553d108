"""Images come back from files without losing a value, and other programs read them."""

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from histomend.image import read_image, write_image

NOTE = "Restored by Histomend, not for diagnosis: µ"


@settings(max_examples=16, deadline=None)
@given(
    deep=st.booleans(),
    see_through=st.booleans(),
    suffix=st.sampled_from([".png", ".tif"]),
    height=st.integers(64, 600),
    width=st.integers(64, 600),
    seed=st.integers(0, 99),
)
def test_writing_and_reading_is_exact(
    tmp_path_factory, deep, see_through, suffix, height, width, seed, random_pixels
):
    dtype = np.uint16 if deep else np.uint8
    path = tmp_path_factory.mktemp("exact") / f"a{suffix}"
    pixels = random_pixels(height, width, dtype=dtype, seed=seed)
    alpha = random_pixels(height, width, 1, dtype, seed + 1)[..., 0] if see_through else None
    write_image(path, pixels, alpha=alpha, mpp=0.2524, note=NOTE)
    image = read_image(path)
    assert image.pixels.dtype == dtype
    assert np.array_equal(image.pixels, pixels)
    assert (image.alpha is None) == (alpha is None)
    assert alpha is None or np.array_equal(image.alpha, alpha)
    assert image.mpp == pytest.approx(0.2524, rel=1e-5)
    assert not image.lossy
    assert image.pixels.flags.c_contiguous
    x, y, w, h = width - 64, height - 64, 64, 64
    part = read_image(path, region=(x, y, w, h))
    assert np.array_equal(part.pixels, pixels[y : y + h, x : x + w])
    assert alpha is None or np.array_equal(part.alpha, alpha[y : y + h, x : x + w])


def test_other_programs_read_what_we_write(tmp_path, random_pixels):
    """Pillow, tifffile and OpenSlide see the pixels, the pixel size and the note."""
    openslide = pytest.importorskip("openslide")
    pixels = random_pixels(700, 1100)
    png, tif, jpg = (tmp_path / f"a{suffix}" for suffix in (".png", ".tif", ".jpg"))
    for path in (png, tif, jpg):
        write_image(path, pixels, mpp=0.5, note=NOTE, lossy=True)
    for path in (png, tif):
        with PIL.Image.open(path) as picture:
            assert np.array_equal(np.asarray(picture), pixels)
            assert picture.info["dpi"][0] == pytest.approx(25_400 / 0.5)
    with PIL.Image.open(png) as picture:
        assert picture.text["Comment"] == NOTE
    with tifffile.TiffFile(tif) as file:
        page = file.pages.first
        assert np.array_equal(page.asarray(), pixels)
        assert page.is_tiled
        assert page.compression.name == "ADOBE_DEFLATE"
        assert page.tags["ImageDescription"].value == NOTE
    with openslide.OpenSlide(str(tif)) as slide:
        region = np.asarray(slide.read_region((500, 300), 0, (300, 200)))
        assert np.array_equal(region[..., :3], pixels[300:500, 500:800])
        assert float(slide.properties["tiff.XResolution"]) == pytest.approx(20_000)
    with PIL.Image.open(jpg) as picture:
        assert picture.info["comment"].decode() == NOTE
        assert picture.info["dpi"][0] == pytest.approx(25_400 / 0.5, rel=1e-3)


def test_deep_png_is_what_other_decoders_expect(tmp_path, random_pixels):
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "deep.png"
    pixels, alpha = (
        random_pixels(dtype=np.uint16),
        random_pixels(samples=1, dtype=np.uint16, seed=3)[..., 0],
    )
    write_image(path, pixels, alpha=alpha)
    decoded = imagecodecs.png_decode(path.read_bytes())
    assert np.array_equal(decoded, np.dstack([pixels, alpha]))


def test_the_same_image_gives_the_same_bytes(tmp_path, random_pixels):
    for suffix in (".png", ".tif"):
        for name in "ab":
            write_image(tmp_path / f"{name}{suffix}", random_pixels(), mpp=0.5, note=NOTE)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_colour_profile_is_kept(tmp_path, suffix, random_pixels):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / f"a{suffix}"
    write_image(path, random_pixels(), icc=profile, lossy=True)
    assert read_image(path).icc == profile
    with PIL.Image.open(path) as picture:
        assert picture.info["icc_profile"] == profile


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (32, 32)},
        {"rowsperstrip": 7},
        {"rowsperstrip": 7, "planarconfig": "separate"},
        {"tile": (32, 32), "planarconfig": "separate"},
        {"compression": "zlib", "predictor": True},
        {"byteorder": ">"},
        {"bigtiff": True},
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_in_all_its_layouts(tmp_path, options, dtype, random_pixels):
    path = tmp_path / "a.tif"
    pixels = random_pixels(130, 170, dtype=dtype)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    tifffile.imwrite(path, stored, photometric="rgb", **options)
    image = read_image(path)
    assert np.array_equal(image.pixels, pixels)
    assert image.pixels.dtype == dtype
    assert image.pixels.flags.c_contiguous
    part = read_image(path, region=(33, 21, 90, 70))
    assert np.array_equal(part.pixels, pixels[21:91, 33:123])


def test_lossless_webp_is_not_called_lossy(tmp_path, random_pixels):
    for name, lossless in (("a.webp", True), ("b.webp", False)):
        PIL.Image.fromarray(random_pixels()).save(tmp_path / name, lossless=lossless)
        assert read_image(tmp_path / name).lossy is not lossless


def test_real_images_of_every_kind_open(shared_data):
    for pattern in ("he_clean_train/*.avif", "he_clean_val/*.jpg", "nuclei/images/*.png"):
        path = sorted(shared_data.glob(pattern))[0]
        image = read_image(path)
        with PIL.Image.open(path) as picture:
            assert np.array_equal(image.pixels, np.asarray(picture.convert("RGB")))
        assert image.notices == ()
        assert image.mpp is None
        assert len(image.sha256) == 64
