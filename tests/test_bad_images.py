"""Every way in which an image file can be wrong gives a named error, or is handled and said."""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import (
    HistomendError,
    ImageSizeError,
    MissingDependencyError,
    PixelSizeError,
    RegionError,
    UnreadableImageError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.image import as_image, read_image, write_image

SLIDES = Path(__file__).resolve().parents[2] / "shared" / "data" / "slides"
needs_slides = pytest.mark.skipif(not SLIDES.is_dir(), reason="the slides are not here")


def tissue(height=80, width=96, samples=3, dtype=np.uint8):
    rng = np.random.default_rng(0)
    top = np.iinfo(dtype).max
    return rng.integers(0, top + 1, (height, width, samples)).astype(dtype)


def save(path, mode="RGB", **options):
    picture = PIL.Image.fromarray(tissue()).convert(mode)
    picture.save(path, **options)
    return path


def refused(path, kind, *words, **options):
    """Read, expect an error of this kind that names the file and all words, and touch nothing."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(kind) as caught:
        read_image(path, **options)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    for word in (path.name, *words):
        assert word in message, f"{word!r} is not in {message!r}"
    if before is not None:
        assert path.read_bytes() == before
    return message


# ------------------------------------------------------------------ damaged, empty, no image


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_truncated_pictures_are_unreadable(tmp_path, suffix, share):
    path = save(tmp_path / f"cut{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, UnreadableImageError, "truncated or damaged", "again")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files_of_our_own_are_unreadable(tmp_path, suffix, dtype, share):
    path = tmp_path / f"cut{suffix}"
    write_image(path, tissue(dtype=dtype))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, UnreadableImageError, "truncated")


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_truncated_strips_are_found_before_decoding(tmp_path, compression):
    path = tmp_path / "strips.tif"
    # The directory comes first here, so that it survives the cut.
    tifffile.imwrite(path, tissue(), compression=compression, rowsperstrip=16)
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    refused(path, UnreadableImageError, "truncated")


def test_a_header_that_tells_of_more_tiles_than_there_are(tmp_path):
    path = tmp_path / "header.tif"
    tifffile.imwrite(path, tissue(), photometric="rgb", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageLength"].overwrite(40_000)
    refused(path, UnreadableImageError, "damaged", "tiles")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flipped_bits_never_pass_as_tissue(tmp_path, suffix, dtype):
    path = tmp_path / f"flipped{suffix}"
    write_image(path, tissue(dtype=dtype))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, UnreadableImageError, "damaged")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".svs", ""])
def test_empty_files(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    path.write_bytes(b"")
    refused(path, UnreadableImageError, "empty", "0 bytes")


def test_text_under_the_name_of_an_image(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("patient 7, slide 3\n")
    refused(path, UnreadableImageError, "text", "PNG, JPEG, TIFF")


def test_zeros_of_an_interrupted_copy(tmp_path):
    path = tmp_path / "zeros.tif"
    path.write_bytes(bytes(4096))
    refused(path, UnreadableImageError, "zeros", "interrupted copy")


@pytest.mark.parametrize("magic", ["GIF", "BMP"])
def test_other_image_formats_are_named(tmp_path, magic):
    path = save(tmp_path / f"other.{magic.lower()}", "RGB")
    refused(path, UnsupportedImageError, magic, "PNG or TIFF")


def test_missing_files_and_folders(tmp_path):
    refused(tmp_path / "nowhere.png", UnreadableImageError, "no such file")
    refused(tmp_path, UnreadableImageError, "folder")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    path = save(tmp_path / "secret.png")

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(UnreadableImageError, match="Permission denied"):
        read_image(path)


def test_a_wrong_extension_is_read_by_content_and_said(tmp_path):
    path = tmp_path / "really_png.jpg"
    save(path, format="PNG")
    image = read_image(path)
    assert np.array_equal(image.pixels, tissue())
    assert not image.lossy
    assert any(".jpg" in notice and "PNG" in notice for notice in image.notices)


# ------------------------------------------------------------------ kinds of pixels


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_is_refused_with_the_conversion(tmp_path, suffix):
    path = save(tmp_path / f"print{suffix}", "CMYK")
    refused(path, UnsupportedImageError, "CMYK", "convert('RGB')")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palettes_are_expanded_and_said(tmp_path, suffix):
    path = save(tmp_path / f"palette{suffix}", "P")
    with PIL.Image.open(path) as picture:
        expected = np.asarray(picture.convert("RGB"))
    image = read_image(path)
    assert np.array_equal(image.pixels, expected)
    assert any("palette" in notice for notice in image.notices)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_one_bit_images_look_like_masks(tmp_path, suffix):
    path = save(tmp_path / f"mask{suffix}", "1")
    refused(path, UnsupportedImageError, "one bit", "--mask")


@pytest.mark.parametrize("name", ["L.png", "L.jpg", "L.tif", "LA.png", "I;16.png", "I;16.tif"])
def test_grey_images_are_refused(tmp_path, name):
    mode, suffix = name.split(".")
    path = tmp_path / f"grey.{suffix}"
    grey = tissue(dtype=np.uint16)[..., 0] if mode == "I;16" else tissue()[..., 0]
    PIL.Image.fromarray(grey).convert(mode).save(path)
    refused(path, UnsupportedImageError, "grey", "colours of a stain")


def test_transparency_is_kept_and_said(tmp_path):
    path = tmp_path / "alpha.png"
    values = tissue(samples=4)
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert np.array_equal(image.pixels, values[..., :3])
    assert np.array_equal(image.alpha, values[..., 3])
    assert any("transparency" in notice for notice in image.notices)


def test_a_fully_transparent_image_is_read_with_a_warning(tmp_path):
    # Some exports leave the fourth channel at zero, and the tissue is there all the same.
    path = tmp_path / "clear.png"
    values = tissue(samples=4)
    values[..., 3] = 0
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert np.array_equal(image.pixels, values[..., :3])
    assert any("fully transparent" in notice for notice in image.notices)


def test_opaque_alpha_needs_no_words(tmp_path):
    path = tmp_path / "opaque.png"
    values = tissue(samples=4)
    values[..., 3] = 255
    PIL.Image.fromarray(values).save(path)
    image = read_image(path)
    assert image.alpha is not None
    assert image.notices == ()


def test_premultiplied_alpha_is_refused(tmp_path):
    path = tmp_path / "premultiplied.tif"
    tifffile.imwrite(path, tissue(samples=4), photometric="rgb", extrasamples=["assocalpha"])
    refused(path, UnsupportedImageError, "associated alpha", "Flatten")


def test_twelve_bits_in_sixteen_are_noticed(tmp_path):
    path = tmp_path / "camera.tif"
    tifffile.imwrite(path, tissue(dtype=np.uint16) >> 4, photometric="rgb")
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    assert any("12-bit" in notice for notice in image.notices)


def test_float_tiff_has_no_known_range(tmp_path):
    path = tmp_path / "float.tif"
    tifffile.imwrite(path, tissue().astype(np.float32), photometric="rgb")
    refused(path, ValueRangeError, "floating-point", "uint8")


def test_32_bit_tiff_has_no_known_range(tmp_path):
    path = tmp_path / "deep.tif"
    tifffile.imwrite(path, tissue().astype(np.uint32), photometric="rgb")
    refused(path, ValueRangeError, "32", "8 or 16 bit")


def test_pixels_stay_as_stored_when_a_tag_asks_to_turn_them(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "turned.jpg", exif=exif)
    image = read_image(path)
    assert (image.height, image.width) == (80, 96)
    assert any("orientation" in notice for notice in image.notices)


# ------------------------------------------------------------------ several pages


def test_stacks_are_refused_because_the_page_cannot_be_known(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, np.stack([tissue()] * 3), photometric="rgb")
    refused(path, UnsupportedImageError, "3 full-size pages", "z-stack")


def test_channels_on_separate_pages_are_no_rgb(tmp_path):
    path = tmp_path / "channels.ome.tif"
    tifffile.imwrite(
        path, np.moveaxis(tissue(), -1, 0), photometric="minisblack", metadata={"axes": "CYX"}
    )
    refused(path, UnsupportedImageError, "pages")


def test_thumbnails_and_pyramid_levels_are_passed_over(tmp_path):
    path = tmp_path / "pyramid.tif"
    values = tissue(256, 256)
    with tifffile.TiffWriter(path) as writer:
        for step in (1, 2, 4):
            level = np.ascontiguousarray(values[::step, ::step])
            writer.write(level, tile=(64, 64), photometric="rgb", subfiletype=int(step > 1))
    image = read_image(path)
    assert np.array_equal(image.pixels, values)
    assert any("2 smaller" in notice for notice in image.notices)


def test_animations_are_refused(tmp_path):
    path = tmp_path / "moving.webp"
    frames = [PIL.Image.fromarray(tissue()), PIL.Image.fromarray(255 - tissue())]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    refused(path, UnsupportedImageError, "animation", "2 frames")


# ------------------------------------------------------------------ sizes


@pytest.mark.parametrize("size", [(1, 1), (63, 200), (200, 63)])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_too_small_images(tmp_path, size, suffix):
    path = tmp_path / f"small{suffix}"
    PIL.Image.fromarray(tissue(*size)).save(path)
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


def test_a_png_bomb_is_seen_in_the_header(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(65_000, 65_000))
    refused(path, ImageSizeError, "65000 x 65000", "4,225 megapixels", "450")


def test_a_jpeg_bomb_is_seen_in_the_header(tmp_path):
    path = save(tmp_path / "bomb.jpg")
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")  # start of frame: height and width follow at byte 5
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    path.write_bytes(bytes(data))
    refused(path, ImageSizeError, "4,225 megapixels")


def test_a_tiff_bomb_is_seen_in_the_header_and_may_be_read_in_part(tmp_path):
    path = tmp_path / "bomb.tif"
    tile = tissue(256, 256)
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
def test_regions_outside_the_image(tmp_path, region, suffix):
    path = save(tmp_path / f"a{suffix}")
    refused(path, RegionError, "96 x 80 px", region=region)


@pytest.mark.parametrize("region", [(1, 2, 3), ("a", 0, 64, 64), (0.5, 0, 64, 64), 7])
def test_malformed_regions(tmp_path, region):
    refused(save(tmp_path / "a.png"), RegionError, "x,y,w,h", region=region)


def test_a_region_too_small_to_restore(tmp_path):
    refused(save(tmp_path / "a.png"), ImageSizeError, "at least 64", region=(0, 0, 32, 64))


@pytest.mark.parametrize("mpp", [0, -1, float("nan"), float("inf"), 500, "half"])
def test_impossible_pixel_sizes(tmp_path, mpp):
    refused(save(tmp_path / "a.png"), PixelSizeError, "micrometres", mpp=mpp)


# ------------------------------------------------------------------ arrays


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
def test_arrays_of_unknown_range(dtype):
    with pytest.raises(ValueRangeError, match="no known range"):
        as_image(tissue().astype(dtype))


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


# ------------------------------------------------------------------ whole slides


@needs_slides
@pytest.mark.parametrize(
    ("name", "scanner"),
    [
        ("CMU-1-Small-Region.svs", "Aperio SVS"),
        ("test3-TRITC_560.ndpi", "Hamamatsu NDPI"),
        ("camelyon_multiframe.dcm", "DICOM"),
    ],
)
def test_whole_slides_ask_for_a_region(name, scanner):
    refused(SLIDES / name, UnsupportedImageError, scanner, "--region x,y,w,h")


@needs_slides
def test_a_broken_slide_is_unreadable():
    refused(SLIDES / "broken.svs", UnreadableImageError, "no image")
    refused(SLIDES / "broken.svs", UnreadableImageError, "no image", region=(0, 0, 256, 256))


@needs_slides
def test_a_slide_cut_short_is_unreadable(tmp_path):
    path = tmp_path / "cut.svs"
    data = (SLIDES / "CMU-1-Small-Region.svs").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, UnreadableImageError, region=(0, 0, 256, 256))


@needs_slides
def test_slides_without_a_reader_name_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    refused(
        SLIDES / "CMU-1-Small-Region.svs",
        MissingDependencyError,
        'pip install "histomend[slides]"',
        region=(0, 0, 256, 256),
    )


@needs_slides
def test_a_region_outside_a_slide():
    refused(
        SLIDES / "CMU-1-Small-Region.svs", RegionError, "2220 x 2967 px", region=(2100, 0, 256, 256)
    )


@pytest.mark.parametrize("suffix", [".mrxs", ".vms"])
def test_slide_files_without_their_companions(tmp_path, suffix):
    path = tmp_path / f"alone{suffix}"
    path.write_text("[Virtual Microscope Specimen]\n")
    refused(path, UnsupportedImageError, "--region")
    with pytest.raises((UnreadableImageError, MissingDependencyError)):
        read_image(path, region=(0, 0, 256, 256))


def test_random_bytes_give_our_errors_only(tmp_path):
    """Whatever follows a valid magic number, no foreign exception comes through."""
    rng = np.random.default_rng(1)
    magics = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0",
              b"RIFF\x40\0\0\0WEBPVP8 ", b"\0\0\0\x20ftypavif", b"ZISRAWFILE", b"BM"]  # fmt: skip
    path = tmp_path / "noise.png"
    for magic in magics:
        for length in (0, 10, 500):
            path.write_bytes(magic + rng.bytes(length))
            for region in (None, (0, 0, 64, 64)):
                with pytest.raises(HistomendError):
                    read_image(path, region=region)
