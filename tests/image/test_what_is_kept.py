"""What a file says beside its pixels is read, told, and kept for whoever writes them again."""

import struct

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import UnreadableImageError, UnsupportedImageError, ValueRangeError
from histomend.image import read_image, write_image
from histomend.image.pixels import is_grey, length_um, ome_mpp
from histomend.image.stack_files import read_stack, write_stack
from histomend.image.stacks import GREY_NOTICE, as_stack
from histomend.image.tile_reading import read_tile


def smooth(height=80, width=96, top=200):
    return (np.add.outer(np.arange(height), np.arange(width)) * top // (height + width)).astype(
        np.uint8
    )


def colours():
    return np.stack([smooth(), smooth(top=100), smooth(top=250)], axis=-1)


# ------------------------------------------------------------------ grey


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".png", {}),
        (".jpg", {"quality": 95}),
        (".jpg", {"quality": 95, "progressive": True}),
        (".webp", {"lossless": True}),
        (".webp", {"quality": 95}),
        (".avif", {"quality": 95}),
        (".tif", {}),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_picture_is_one_channel_whatever_its_kind(tmp_path, suffix, options, mode):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(smooth()).convert(mode).save(path, **options)
    stack = read_stack(path)
    assert stack.values.shape == (1, 80, 96, 1)
    error = np.abs(stack.values[0, ..., 0].astype(int) - smooth())
    assert error.max() <= (0 if suffix in (".png", ".tif") or "lossless" in options else 6)
    three = mode == "RGB" or suffix == ".webp"  # AVIF knows grey, and WebP does not
    assert (GREY_NOTICE in stack.notices) == three


def test_notices_of_a_grey_field_do_not_contradict_each_other(tmp_path):
    path = tmp_path / "a.png"
    see_through = np.stack([smooth(), smooth(), smooth(), smooth()], axis=-1)
    PIL.Image.fromarray(see_through).save(path)
    assert read_stack(path).notices == (
        "the transparency (alpha) is kept as it is",
        GREY_NOTICE,
    )


def test_infinite_values_are_compared_without_a_warning():
    values = np.ones((64, 64, 3), np.float32)
    values[5, 5] = np.inf
    assert is_grey(values)
    values[9, 9, 1] = np.inf
    assert not is_grey(values)


def test_equal_colours_go_back_as_colours(tmp_path):
    path = tmp_path / "a.tif"
    values = np.repeat(smooth()[..., None], 3, axis=2)
    tifffile.imwrite(path, values, photometric="rgb")
    stack = read_stack(path)
    assert stack.channels == 1
    darker = type(stack)(**{**vars(stack), "values": stack.values // 2})
    write_stack(tmp_path / "b.tif", darker)
    assert np.array_equal(tifffile.imread(tmp_path / "b.tif"), values // 2)
    assert read_stack(path, channels=3).channels == 3
    assert as_stack(values).channels == 1
    assert any("grey" in notice for notice in read_image(path).notices)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_equal_colours_of_a_picture_go_back_as_colours(tmp_path, suffix):
    path, output = tmp_path / "a.png", tmp_path / f"b{suffix}"
    PIL.Image.fromarray(smooth()).convert("RGB").save(path)
    write_stack(output, read_stack(path))
    assert np.array_equal(read_image(output).pixels, read_image(path).pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_with_transparency_keeps_all_its_bits(tmp_path, dtype):
    imagecodecs = pytest.importorskip("imagecodecs")
    values = np.stack([smooth().astype(dtype) * 3, np.full((80, 96), 9, dtype)], axis=-1)
    path = tmp_path / "a.png"
    path.write_bytes(imagecodecs.png_encode(values))
    stack = read_stack(path)
    assert np.array_equal(stack.values[0, ..., 0], values[..., 0])
    assert any("alpha" in notice for notice in stack.notices)


# ------------------------------------------------------------------ carried over


@pytest.mark.parametrize("read", [read_image, read_stack])
def test_profile_pixel_size_and_orientation_of_a_png(tmp_path, read):
    path = tmp_path / "a.png"
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(colours()).save(
        path, dpi=(101_600, 101_600), icc_profile=b"profile", exif=exif
    )
    found = read(path)
    assert (found.mpp, found.icc, found.orientation) == (0.25, b"profile", 6)
    assert any("orientation tag (6)" in notice for notice in found.notices)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_profile_and_pixel_size_of_a_grey_picture(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    options = {"dpi": (50_800, 50_800), "icc_profile": b"profile"}
    if suffix == ".tif":
        tifffile.imwrite(
            path,
            smooth(),
            resolution=(50_800, 50_800),
            resolutionunit="INCH",
            iccprofile=b"profile",
        )
    else:
        PIL.Image.fromarray(smooth()).save(path, **options)
    stack = read_stack(path)
    assert (stack.mpp, stack.icc, stack.channels) == (0.5, b"profile", 1)


@pytest.mark.parametrize("tag", [0, 1, 3, 8, 9, 77])
def test_orientation_of_a_tiff(tmp_path, tag):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours(), photometric="rgb", extratags=[(274, 3, 1, tag, True)])
    wanted = tag if 1 <= tag <= 8 else 1
    assert (read_image(path).orientation, read_stack(path).orientation) == (wanted, wanted)


def test_white_is_zero_is_turned_and_told(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, 255 - smooth(), photometric="miniswhite")
    stack = read_stack(path)
    assert stack.white_is_zero
    assert np.array_equal(stack.values[0, ..., 0], smooth())
    assert any("0 is white" in notice for notice in stack.notices)


def test_an_inverting_lut_of_imagej_changes_no_value(tmp_path):
    path = tmp_path / "a.tif"
    options = {"photometric": "miniswhite", "description": "ImageJ=1.54f\n", "metadata": None}
    tifffile.imwrite(path, smooth(), **options)
    stack = read_stack(path)
    assert np.array_equal(stack.values[0, ..., 0], smooth())
    assert not stack.white_is_zero
    assert any("inverting LUT" in notice for notice in stack.notices)


@pytest.mark.parametrize("kind", ["rgb.png", "grey.png", "rgb.tif", "stack.tif"])
def test_a_region_of_a_field(tmp_path, kind):
    path = tmp_path / kind
    values = {"rgb.png": colours(), "grey.png": smooth(), "rgb.tif": colours()}.get(kind)
    if kind.endswith(".png"):
        PIL.Image.fromarray(values).save(path)
    elif values is not None:
        tifffile.imwrite(path, values, photometric="rgb")
    else:
        values = np.stack([smooth(), smooth() // 2])[..., None]
        tifffile.imwrite(path, values[..., 0], metadata={"axes": "ZYX"})
    stack = read_stack(path, region=(8, 4, 70, 66))
    expected = values.reshape(-1, 80, 96, values.shape[-1] if values.ndim > 2 else 1)
    assert np.array_equal(stack.values, expected[:, 4:70, 8:78])
    assert stack.region == (8, 4, 70, 66)
    write_stack(tmp_path / "out.tif", stack)
    assert np.array_equal(read_stack(tmp_path / "out.tif").values, stack.values)


# ------------------------------------------------------------------ pixel size


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        ("µm", 1), ("μm", 1), ("&#181;m", 1), ("&#xB5;m", 1), ("&#956;m", 1), ("&micro;m", 1),
        ("&amp;#181;m", 1), ("\\u00B5m", 1), ("\ufffdm", 1), ("um", 1), (" UM ", 1), ("micron", 1),
        ("Micrometer", 1), ("nm", 1e-3), ("mm", 1e3), ("MM", 1e3), ("cm", 1e4), ("inch", 25_400),
        ("pm", 1e-6), ("Å", 1e-4), ("pixel", None), ("reference frame", None), ("", None),
    ],
)  # fmt: skip
def test_units_as_files_spell_them(unit, um):
    found = length_um(1.0, unit)
    assert found == (um if um is None else pytest.approx(um))


@pytest.mark.parametrize(
    "xml",
    [
        '<OME><Pixels PhysicalSizeX="0.25" PhysicalSizeXUnit="&#181;m" SizeX="9"/></OME>',
        "<ome:OME><ome:Pixels\n PhysicalSizeX = '0.25'\n SizeX='9'/></ome:OME>",
        '<OME><Pixels PhysicalSizeXUnit="nm" PhysicalSizeX="250"/></OME>',
        '<OME><Plate PhysicalSizeX="9"/><Pixels PhysicalSizeX="0.25"/></OME>',
    ],
)
def test_pixel_size_in_ome_xml(xml):
    assert ome_mpp(xml) == 0.25


# ------------------------------------------------------------------ checksums


def test_every_flipped_bit_at_the_end_of_a_png_is_found(tmp_path):
    """Decoders stop before the checksum of the last bytes."""
    path = tmp_path / "a.png"
    write_image(path, colours())
    sound = path.read_bytes()
    end = sound.index(b"IEND") - 4
    for at in range(end - 40, end):
        for bit in (0, 7):
            data = bytearray(sound)
            data[at] ^= 1 << bit
            path.write_bytes(data)
            with pytest.raises(UnreadableImageError, match="damaged"):
                read_image(path)


def test_a_png_without_its_end(tmp_path, refused):
    path = tmp_path / "a.png"
    write_image(path, colours())
    path.write_bytes(path.read_bytes()[:-12])
    refused(path, UnreadableImageError, "end is missing")
    body = b"IDATx"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 2**31 - 1) + body)
    refused(path, UnreadableImageError, "end is missing")


def test_no_library_prints_or_logs_to_the_screen(tmp_path, capfd):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, colours(), photometric="rgb", software="x")
    data = path.read_bytes()
    for size in range(8, len(data), 997):
        path.write_bytes(data[:size])
        for read in (read_image, read_stack):
            with pytest.raises(UnreadableImageError):
                read(path)
    assert capfd.readouterr() == ("", "")


# ------------------------------------------------------------------ tiles to train on


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (smooth(), smooth().astype(np.uint16) * 257),
        (smooth().astype(np.uint16) * 300, smooth().astype(np.uint16) * 300),
        (smooth().astype(np.float32) / 255, smooth().astype(np.uint16) * 257),
        (np.zeros((80, 96), np.uint8), np.zeros((80, 96), np.uint16)),
    ],
)
def test_grey_tiles_fill_the_range_of_16_bits(tmp_path, values, expected):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values)
    tile = read_tile(path, grey=True)
    assert tile.dtype == np.uint16
    assert np.array_equal(tile[..., 0], expected)


def test_colour_tiles_are_rounded_to_8_bits(tmp_path):
    path = tmp_path / "a.png"
    deep = np.random.default_rng(0).integers(0, 65536, (80, 96, 3)).astype(np.uint16)
    write_image(path, deep)
    assert np.array_equal(read_tile(path), np.rint(deep / 257).astype(np.uint8))
    write_image(path, colours(), force=True)
    assert np.array_equal(read_tile(path), colours())
    luma = read_tile(path, grey=True)
    assert luma.shape == (80, 96, 1)
    assert np.abs(luma[..., 0] / 257 - colours() @ [0.299, 0.587, 0.114]).max() < 0.01


def test_tiles_whose_range_nobody_knows_are_refused_and_never_clipped(tmp_path):
    path = tmp_path / "a.tif"
    for values in (smooth().astype(np.int32) * 9999, smooth().astype(np.uint32) * 9999):
        tifffile.imwrite(path, values)
        with pytest.raises(ValueRangeError, match="no known range"):
            read_tile(path, grey=True)
    tifffile.imwrite(path, smooth().astype(np.float32))
    with pytest.raises(ValueRangeError, match="range is not known"):
        read_tile(path, grey=True)
    tifffile.imwrite(path, smooth())
    with pytest.raises(UnsupportedImageError, match="1 channel"):
        read_tile(path)
    tifffile.imwrite(path, np.stack([smooth()] * 5))
    with pytest.raises(UnsupportedImageError, match="5 planes"):
        read_tile(path, grey=True)
