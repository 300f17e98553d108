"""Images come in and go out without losing a value, and files are what other programs expect."""

import errno
import os
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageCms

from histomend.errors import (
    OutputError,
    PixelSizeError,
    SettingError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.image import (
    Image,
    Intensity,
    as_image,
    check_output,
    check_region,
    pixels_sha256,
    read_image,
    write_image,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not here")
NOTE = "Restored by Histomend, not for diagnosis: µ"


def values(height=80, width=96, samples=3, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    return rng.integers(0, top + 1, (height, width, samples)).astype(dtype)


# ------------------------------------------------------------------ intensity


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_file_value_survives_encoding(dtype):
    everything = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    intensity = Intensity.for_dtype(dtype)
    x = intensity.encode(everything)
    assert x.dtype == np.float32
    assert x.min() == -1
    assert x.max() == 1
    back = intensity.decode(x, dtype)
    assert back.dtype == dtype
    assert np.array_equal(back, everything)


@settings(max_examples=25, deadline=None)
@given(low=st.integers(0, 30_000), span=st.integers(1, 30_000))
def test_other_ranges_survive_too(low, span):
    inside = np.unique(np.linspace(low, low + span, 500).round()).astype(np.uint16)
    intensity = Intensity(low, low + span)
    assert np.array_equal(intensity.decode(intensity.encode(inside), np.uint16), inside)


def test_decoding_clips_and_refuses_nan():
    intensity = Intensity.for_dtype(np.uint8)
    assert intensity.decode(np.array([-1.4, 1.4]), np.uint8).tolist() == [0, 255]
    with pytest.raises(ValueRangeError, match="NaN"):
        intensity.decode(np.array([0.0, np.nan]), np.uint8)


def test_ranges_that_are_none():
    with pytest.raises(ValueRangeError):
        Intensity.for_dtype(np.float32)
    with pytest.raises(ValueRangeError):
        Intensity(3, 3)


# ------------------------------------------------------------------ files and back


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
    tmp_path_factory, deep, see_through, suffix, height, width, seed
):
    dtype = np.uint16 if deep else np.uint8
    path = tmp_path_factory.mktemp("exact") / f"a{suffix}"
    pixels = values(height, width, dtype=dtype, seed=seed)
    alpha = values(height, width, 1, dtype, seed + 1)[..., 0] if see_through else None
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


def test_other_programs_read_what_we_write(tmp_path):
    """Pillow, tifffile and OpenSlide see the pixels, the pixel size and the note."""
    openslide = pytest.importorskip("openslide")
    pixels = values(700, 1100)
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


def test_deep_png_is_what_other_decoders_expect(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    path = tmp_path / "deep.png"
    pixels, alpha = values(dtype=np.uint16), values(samples=1, dtype=np.uint16, seed=3)[..., 0]
    write_image(path, pixels, alpha=alpha)
    decoded = imagecodecs.png_decode(path.read_bytes())
    assert np.array_equal(decoded, np.dstack([pixels, alpha]))


def test_the_same_image_gives_the_same_bytes(tmp_path):
    for suffix in (".png", ".tif"):
        for name in "ab":
            write_image(tmp_path / f"{name}{suffix}", values(), mpp=0.5, note=NOTE)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_the_colour_profile_is_kept(tmp_path, suffix):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / f"a{suffix}"
    write_image(path, values(), icc=profile, lossy=True)
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
def test_tiff_in_all_its_layouts(tmp_path, options, dtype):
    path = tmp_path / "a.tif"
    pixels = values(130, 170, dtype=dtype)
    stored = np.moveaxis(pixels, -1, 0) if "planarconfig" in options else pixels
    tifffile.imwrite(path, stored, photometric="rgb", **options)
    image = read_image(path)
    assert np.array_equal(image.pixels, pixels)
    assert image.pixels.dtype == dtype
    assert image.pixels.flags.c_contiguous
    part = read_image(path, region=(33, 21, 90, 70))
    assert np.array_equal(part.pixels, pixels[21:91, 33:123])


def test_lossless_webp_is_not_called_lossy(tmp_path):
    for name, lossless in (("a.webp", True), ("b.webp", False)):
        PIL.Image.fromarray(values()).save(tmp_path / name, lossless=lossless)
        assert read_image(tmp_path / name).lossy is not lossless


@needs_data
def test_real_images_of_every_kind_open():
    for pattern in ("he_clean_train/*.avif", "he_clean_val/*.jpg", "nuclei/images/*.png"):
        path = sorted(DATA.glob(pattern))[0]
        image = read_image(path)
        with PIL.Image.open(path) as picture:
            assert np.array_equal(image.pixels, np.asarray(picture.convert("RGB")))
        assert image.notices == ()
        assert image.mpp is None
        assert len(image.sha256) == 64


# ------------------------------------------------------------------ pixel size


@pytest.mark.parametrize("dpi", [72, 96, 300, 600])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_print_resolutions_are_no_pixel_size(tmp_path, dpi, suffix):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(values()).save(path, dpi=(dpi, dpi))
    assert read_image(path).mpp is None


@pytest.mark.parametrize(
    ("unit", "resolution", "mpp"),
    [("CENTIMETER", 20_000, 0.5), ("INCH", 101_600, 0.25), ("NONE", 20_000, None)],
)
def test_tiff_resolution_tags(tmp_path, unit, resolution, mpp):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, values(), photometric="rgb", resolution=(resolution,) * 2, resolutionunit=unit
    )
    assert read_image(path).mpp == mpp


@pytest.mark.parametrize(("size", "unit"), [(0.25, "µm"), (250, "nm"), (0.00025, "mm")])
def test_ome_physical_size(tmp_path, size, unit):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(path, values(), photometric="rgb", metadata=metadata)
    assert read_image(path).mpp == pytest.approx(0.25)


def test_imagej_says_microns_in_its_description(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, values(), imagej=True, resolution=(4, 4), metadata={"unit": "micron", "axes": "YXS"}
    )
    assert read_image(path).mpp == 0.25


def test_the_users_pixel_size_wins_and_a_contradiction_is_said(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, values(), mpp=0.25)
    assert read_image(path, mpp=0.25).notices == ()
    image = read_image(path, mpp=0.5)
    assert image.mpp == 0.5
    assert any("0.25" in notice for notice in image.notices)
    with pytest.raises(PixelSizeError):
        write_image(tmp_path / "b.png", values(), mpp=-1)


# ------------------------------------------------------------------ slides


@needs_data
@pytest.mark.parametrize(
    ("name", "mpp"),
    [
        ("CMU-1-Small-Region.svs", 0.499),
        ("TCGA-CR-7395-01A-01-TS1.svs", None),
        ("test3-TRITC_560.ndpi", 0.228175),
        ("camelyon_multiframe.dcm", None),  # says 28.97, an overview
    ],
)
def test_regions_of_slides_are_openslides_pixels(name, mpp):
    openslide = pytest.importorskip("openslide")
    path = DATA / "slides" / name
    image = read_image(path, region=(300, 200, 256, 128))
    with openslide.OpenSlide(str(path)) as slide:
        expected = np.asarray(slide.read_region((300, 200), 0, (256, 128)))[..., :3]
    assert np.array_equal(image.pixels, expected)
    assert image.mpp == mpp
    assert image.lossy


@needs_data
def test_tiffslide_stands_in_for_openslide(monkeypatch):
    pytest.importorskip("tiffslide")
    path = DATA / "slides" / "CMU-1-Small-Region.svs"
    region = (300, 200, 256, 128)
    ours = read_image(path, region=region)
    monkeypatch.setitem(sys.modules, "openslide", None)
    image = read_image(path, region=region)
    assert image.mpp == ours.mpp
    difference = np.abs(image.pixels.astype(int) - ours.pixels)
    assert difference.max() <= 4  # another JPEG decoder


@needs_data
def test_an_ome_pyramid_opens_whole_or_in_part():
    path = DATA / "slides" / "pdac-HE_40x_3072.ome.tif"
    whole = read_image(path)
    assert whole.pixels.shape == (3072, 3072, 3)
    assert whole.mpp == pytest.approx(0.2524)
    for x, y, w, h in ((0, 0, 3072, 64), (3000, 3000, 72, 72), (510, 511, 64, 600)):
        part = read_image(path, region=(x, y, w, h))
        assert np.array_equal(part.pixels, whole.pixels[y : y + h, x : x + w])


# ------------------------------------------------------------------ arrays and Pillow images


def test_arrays_are_taken_as_they_are():
    pixels = values()
    image = as_image(pixels, mpp=0.5)
    assert np.shares_memory(image.pixels, pixels)
    assert (image.mpp, image.source, image.sha256) == (0.5, None, None)
    deep = as_image(values(samples=4, dtype=np.uint16))
    assert deep.pixels.dtype == np.uint16
    assert np.array_equal(deep.alpha, values(samples=4, dtype=np.uint16)[..., 3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_arrays_become_bytes(dtype):
    pixels = values()
    assert np.array_equal(as_image((pixels / 255).astype(dtype)).pixels, pixels)


def test_pillow_images_and_paths(tmp_path):
    pixels = values()
    assert np.array_equal(as_image(PIL.Image.fromarray(pixels)).pixels, pixels)
    write_image(tmp_path / "a.png", pixels)
    assert np.array_equal(as_image(str(tmp_path / "a.png")).pixels, pixels)
    part = as_image(pixels, region=(5, 6, 70, 65))
    assert np.array_equal(part.pixels, pixels[6:71, 5:75])
    assert part.region == (5, 6, 70, 65)


def test_hashes_tell_values_types_and_shapes_apart():
    pixels = values()
    assert pixels_sha256(pixels) == pixels_sha256(pixels.copy(order="F"))
    others = [pixels.astype(np.uint16), pixels.reshape(96, 80, 3), pixels[::-1]]
    assert len({pixels_sha256(a) for a in (pixels, *others)}) == 4
    deep = values(dtype=np.uint16)
    assert pixels_sha256(deep) == pixels_sha256(deep.astype(">u2"))


def test_regions_may_be_numpy_numbers():
    region = (np.int64(1), 2, 64, 64.0)
    assert check_region(region, 100, 100, "a") == (1, 2, 64, 64)
    assert Image(values()).width == 96


# ------------------------------------------------------------------ outputs that cannot be


def refused(kind, word, call, *args, **options):
    with pytest.raises(kind, match=word) as caught:
        call(*args, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("call", [check_output, lambda path, **o: write_image(path, values(), **o)])
def test_outputs_are_refused_before_and_at_writing(tmp_path, call):
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    refused(OutputError, "--force", call, there)
    refused(OutputError, "does not exist", call, tmp_path / "no" / "a.png")
    (tmp_path / "folder.png").mkdir()
    refused(OutputError, "is a folder", call, tmp_path / "folder.png", force=True)
    refused(SettingError, "--lossy", call, tmp_path / "a.jpg")
    refused(SettingError, r"\.bmp", call, tmp_path / "a.bmp")
    refused(SettingError, "without a suffix", call, tmp_path / "a")
    assert there.read_bytes() == b"mine"
    call(there, force=True)
    call(tmp_path / "a.jpg", lossy=True)


def test_the_source_is_never_the_output(tmp_path):
    path = tmp_path / "a.png"
    write_image(path, values())
    refused(OutputError, "source", check_output, path, force=True, source=path)


def test_checking_leaves_nothing_behind(tmp_path):
    check_output(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_folders_without_permission(tmp_path, monkeypatch):
    # Tests may run as root, whom no permission stops.
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", deny)
    refused(OutputError, "Permission denied", check_output, tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the version before")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused(OutputError, "disk is full", write_image, path, values(), force=True, lossy=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the version before"


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("histomend.image.writing.encode_png", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "a.png", values())
    assert list(tmp_path.iterdir()) == []


def test_what_jpeg_cannot_hold(tmp_path):
    path = tmp_path / "a.jpg"
    refused(SettingError, "16", write_image, path, values(dtype=np.uint16), lossy=True)
    alpha = values()[..., 0]
    refused(SettingError, "transparency", write_image, path, values(), alpha=alpha, lossy=True)
    wide = np.zeros((64, 65_501, 3), np.uint8)
    refused(SettingError, "65500", write_image, path, wide, lossy=True)
    assert not path.exists()


def test_arrays_that_are_no_rgb_image(tmp_path):
    path = tmp_path / "a.png"
    refused(UnsupportedImageError, "uint8", write_image, path, values().astype(float))
    refused(UnsupportedImageError, "alpha", write_image, path, values(), alpha=values(64)[..., 0])


def test_new_files_have_the_users_usual_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_image(tmp_path / "a.png", values())
    finally:
        os.umask(old)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
