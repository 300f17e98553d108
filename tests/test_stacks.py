"""Images and stacks to denoise: whatever their order, they go back as they came."""

import logging
import re
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from histomend.errors import (
    ImageSizeError,
    OutputError,
    SettingError,
    UnreadableImageError,
    UnsupportedImageError,
    ValueRangeError,
)
from histomend.image import Intensity
from histomend.image.stack_files import read_stack, write_stack
from histomend.image.stacks import as_stack


def light(*shape, dtype=np.uint16, seed=0):
    """Return random values, none at the ends of the range."""
    drawn = np.random.default_rng(seed).uniform(0.1, 0.9, shape)
    return (drawn * (1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max)).astype(dtype)


KEPT = (
    "compression", "predictor", "is_tiled", "chunks", "photometric", "planarconfig",
    "description", "resolution", "resolutionunit", "dtype", "extrasamples",
)  # fmt: skip


def nameless(value):
    """Return a description without the UUID that each file has for itself."""
    return re.sub('UUID="urn:uuid:[^"]*"', "", value) if isinstance(value, str) else value


def pages_of(path):
    """Return what must be the same of each page of a file."""
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        return (
            file.byteorder,
            series.axes,
            series.shape,
            [[nameless(getattr(page.aspage(), name)) for name in KEPT] for page in file.pages],
        )


# Each way to store a stack of Z planes of C channels: order, and options of tifffile.
LAYOUTS = {
    "plain pages": ("ZCYX", {"metadata": None}),
    "named axes": ("ZCYX", {"metadata": {"axes": "ZCYX"}}),
    "ome": ("ZCYX", {"ome": True, "metadata": {"axes": "ZCYX", "PhysicalSizeX": 0.5}}),
    "ome, channels first": ("CZYX", {"ome": True, "metadata": {"axes": "CZYX"}}),
    "imagej": ("ZCYX", {"imagej": True, "metadata": {"axes": "ZCYX", "unit": "um"}}),
    "channels last": ("ZYXC", {"planarconfig": "contig", "metadata": {"axes": "ZYXS"}}),
    "channels as planes of a page": ("ZCYX", {"planarconfig": "separate", "metadata": None}),
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layout=st.sampled_from(sorted(LAYOUTS)),
    planes=st.integers(1, 4),
    channels=st.integers(1, 3),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    compression=st.sampled_from([None, "lzw", "zlib", "zstd", "packbits", "lzma"]),
    predictor=st.booleans(),
    tile=st.sampled_from([None, (32, 48)]),
    byteorder=st.sampled_from("<>"),
    mpp=st.sampled_from([None, 0.5]),
)
def test_a_stack_goes_back_as_it_came(
    tmp_path, layout, planes, channels, dtype, compression, predictor, tile, byteorder, mpp
):
    # Of plain pages nobody can tell planes from channels, if there are both.
    assume(layout != "plain pages" or planes == 1 or channels == 1)
    assume("planes of a page" not in layout or channels > 1)
    order, options = LAYOUTS[layout]
    options = {"photometric": "minisblack", **options}
    if channels == 1:
        options.pop("planarconfig", None)
    if layout == "imagej":
        compression = None
    if compression in ("lzw", "zlib", "zstd", "lzma") and predictor:
        options["predictor"] = True
    if mpp is not None and layout != "ome":
        options |= {"resolution": (10_000 / mpp, 10_000 / mpp), "resolutionunit": "CENTIMETER"}
    values = light(planes, 70, 66, channels, dtype=dtype)
    stored = np.transpose(values, ["ZYXC".index(letter) for letter in order])
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    tifffile.imwrite(
        source, stored, compression=compression, tile=tile, byteorder=byteorder, **options
    )
    stack = read_stack(source, channels=channels)
    np.testing.assert_array_equal(stack.values, values)
    assert stack.values.dtype == values.dtype
    assert stack.intensity == Intensity(0, 1 if dtype is np.float32 else np.iinfo(dtype).max)

    write_stack(target, stack, force=True)
    assert pages_of(target) == pages_of(source)
    again = read_stack(target, channels=channels)
    np.testing.assert_array_equal(again.values, values)
    assert (again.axes, again.mpp) == (stack.axes, stack.mpp)


def test_new_values_take_the_place_of_the_old(tmp_path):
    values = light(3, 2, 64, 80)
    source, target = tmp_path / "in.ome.tif", tmp_path / "out.ome.tif"
    metadata = {"axes": "ZCYX", "PhysicalSizeX": 0.4, "PhysicalSizeXUnit": "µm"}
    metadata["Channel"] = {"Name": ["CH2", "CH3"]}
    tifffile.imwrite(source, values, ome=True, metadata=metadata, photometric="minisblack")
    stack = read_stack(source, channels=2)
    assert (stack.mpp, stack.axes.letters, stack.values.shape) == (0.4, "ZCYX", (3, 64, 80, 2))
    halved = type(stack)(**{**vars(stack), "values": stack.values // 2})
    write_stack(target, halved)
    np.testing.assert_array_equal(tifffile.imread(target), values // 2)
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(target) as new:
        assert nameless(new.ome_metadata) == nameless(old.ome_metadata)
        assert new.ome_metadata != old.ome_metadata
        assert "CH3" in new.ome_metadata


def test_labels_of_imagej_are_kept(tmp_path):
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    metadata = {"axes": "CYX", "Labels": ["lipid", "protein"], "unit": "um", "spacing": 2.0}
    tifffile.imwrite(source, light(2, 64, 80), imagej=True, metadata=metadata)
    write_stack(target, read_stack(source))
    with tifffile.TiffFile(source) as old, tifffile.TiffFile(target) as new:
        assert new.imagej_metadata == old.imagej_metadata
        assert new.imagej_metadata["Labels"] == ["lipid", "protein"]


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((64, 80), None, (1, 64, 80, 1)),
        ((2, 64, 80), None, (1, 64, 80, 2)),
        ((2, 64, 80), 1, (2, 64, 80, 1)),
        ((64, 80, 2), None, (1, 64, 80, 2)),
        ((7, 64, 80), None, (7, 64, 80, 1)),
        ((7, 2, 64, 80), None, (7, 64, 80, 2)),
        ((2, 7, 64, 80), None, (7, 64, 80, 2)),
        ((7, 64, 80, 3), None, (7, 64, 80, 3)),
        ((2, 3, 64, 80), 2, (3, 64, 80, 2)),
        ((2, 3, 64, 80), 3, (2, 64, 80, 3)),
    ],
)
def test_channels_are_found_by_their_number(tmp_path, shape, channels, expected):
    values = light(*shape)
    tifffile.imwrite(tmp_path / "in.tif", values, photometric="minisblack")
    for stack in (
        as_stack(values, channels=channels),
        read_stack(tmp_path / "in.tif", channels=channels),
    ):
        assert stack.values.shape == expected
        np.testing.assert_array_equal(stack.axes.to_original(stack.values), values)


def test_a_guess_is_told_and_can_be_corrected():
    values = light(2, 64, 80)
    assert "taken for channels" in as_stack(values).notices[0]
    assert as_stack(values, channels=2).notices == ()
    assert as_stack(values, axes="zyx").values.shape == (2, 64, 80, 1)


def test_an_order_that_cannot_be_known_is_asked_for():
    with pytest.raises(UnsupportedImageError, match="--axes ZCYX or --axes CZYX"):
        as_stack(light(2, 3, 64, 80))


@pytest.mark.parametrize("axes", ["ZCY", "ZCTYX", "ZZYX", "ABCD"])
def test_axes_that_do_not_fit_are_refused(axes):
    with pytest.raises(UnsupportedImageError, match="one letter for each axis"):
        as_stack(light(2, 3, 64, 80), axes=axes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_and_colour_png_go_back_as_they_came(tmp_path, dtype):
    grey = light(64, 80, dtype=dtype)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    stack = read_stack(tmp_path / "grey.png", channels=1)
    np.testing.assert_array_equal(stack.values[0, ..., 0], grey)
    write_stack(tmp_path / "out.png", stack)
    again = read_stack(tmp_path / "out.png")
    np.testing.assert_array_equal(again.values, stack.values)
    assert again.values.dtype == dtype
    write_stack(tmp_path / "out.tif", stack)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), grey)

    colour = light(64, 80, 3, dtype=np.uint8)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    stack = read_stack(tmp_path / "colour.png", channels=3)
    for name in ("colour_out.png", "colour_out.tif"):
        write_stack(tmp_path / name, stack)
        np.testing.assert_array_equal(read_stack(tmp_path / name).values[0], colour)


@pytest.mark.parametrize("shape", [(64, 80), (64, 80, 1), (2, 64, 80), (64, 80, 2), (5, 2, 64, 80)])
def test_arrays_become_files_that_name_their_axes(tmp_path, shape):
    values = light(*shape)
    stack = as_stack(values, mpp=0.5)
    write_stack(tmp_path / "out.tif", stack)
    again = read_stack(tmp_path / "out.tif", channels=stack.channels)
    np.testing.assert_array_equal(again.values, stack.values)
    assert again.mpp == 0.5


def test_a_lossy_source_is_written_without_loss(tmp_path):
    source, target = tmp_path / "in.tif", tmp_path / "out.tif"
    y, x = np.mgrid[:64, :80]
    values = (np.stack([x, y, x + y], -1) + 60).astype(np.uint8)
    tifffile.imwrite(source, values, photometric="rgb", compression="jpeg")
    stack = read_stack(source)
    write_stack(target, stack)
    np.testing.assert_array_equal(read_stack(target).values, stack.values)


# What is handled with a notice.


def test_saturation_is_told_but_not_of_white_glass():
    values = light(64, 80, 2)
    values[:16] = 65535
    assert any("25 % of the values are saturated" in n for n in as_stack(values).notices)
    white = np.full((64, 80, 3), 255, np.uint8)
    white[:8] = (100, 90, 80)
    assert as_stack(white).notices == ()


def test_an_empty_plane_is_told():
    values = light(4, 64, 80)
    values[2] = 9
    assert "1 of 4 planes hold nothing but one value" in as_stack(values).notices


def test_twelve_bits_in_sixteen_are_told_of_colours_whose_range_means_something():
    told = [any("4095" in n for n in as_stack(light(64, 80, c) >> 5).notices) for c in (1, 2, 3)]
    assert told == [False, False, True]


# What is refused.


def test_a_wrong_number_of_channels_is_named():
    with pytest.raises(UnsupportedImageError, match="2 channels, and the model is for 3"):
        as_stack(light(64, 80, 2), channels=3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.full((64, 80), 7, np.uint16), "every value is 7"),
        (np.full((64, 80), 65535, np.uint16), "every value is 65535"),
        (np.full((64, 80), np.nan, np.float32), "NaN"),
        (light(64, 80, dtype=np.float32) - 0.5, "never negative"),
        (light(64, 80).astype(np.int16), "never negative"),
        (1000 * light(64, 80, dtype=np.float32), "range is not known"),
        (light(64, 80).astype(np.int32), "no known range"),
        (light(64, 80).astype(np.uint32), "no known range"),
    ],
)
def test_values_of_no_known_range_are_refused_from_files_too(tmp_path, values, words):
    tifffile.imwrite(tmp_path / "in.tif", values)
    for read in (lambda: as_stack(values), lambda: read_stack(tmp_path / "in.tif")):
        with pytest.raises(ValueRangeError, match=words):
            read()


def test_planes_of_different_sizes_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for plane in (light(64, 80), light(64, 80), light(70, 80)):
            writer.write(plane, metadata=None, contiguous=False)
    with pytest.raises(UnsupportedImageError, match="different sizes"):
        read_stack(tmp_path / "in.tif")


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_truncated_stack_is_refused_wherever_it_ends(tmp_path, layout, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    order, options = LAYOUTS[layout]
    stored = np.transpose(light(4, 64, 66, 2), ["ZYXC".index(letter) for letter in order])
    whole, cut = tmp_path / "whole.tif", tmp_path / "cut.tif"
    tifffile.imwrite(whole, stored, photometric="minisblack", **options)
    contents = whole.read_bytes()
    for share in (0.01, 0.3, 0.6, 0.9, 0.99):
        cut.write_bytes(contents[: int(share * len(contents))])
        with pytest.raises(UnreadableImageError, match=r"truncated|damaged|missing"):
            read_stack(cut)


def test_a_missing_page_is_found_where_the_description_tells_of_more(tmp_path, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    path = tmp_path / "in.ome.tif"
    tifffile.imwrite(path, light(4, 64, 66), ome=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    contents = bytearray(path.read_bytes())
    tags = struct.unpack_from("<H", contents, second)[0]
    # As if the writer had stopped after two pages.
    struct.pack_into("<I", contents, second + 2 + 12 * tags, 0)
    path.write_bytes(bytes(contents))
    with pytest.raises(UnreadableImageError, match="missing"):
        read_stack(path)


def test_palettes_and_masks_are_no_measured_light(tmp_path):
    Image.fromarray(light(64, 80, dtype=np.uint8)).convert("P").save(tmp_path / "palette.tif")
    Image.fromarray(light(64, 80, dtype=np.uint8) > 90).save(tmp_path / "mask.tif")
    for name, word in (("palette.tif", "measured light"), ("mask.tif", "one bit")):
        with pytest.raises(UnsupportedImageError, match=word):
            read_stack(tmp_path / name)


def test_small_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ImageSizeError, match="64 px"):
        as_stack(light(2, 20, 80))
    with pytest.raises(UnreadableImageError, match="no such file"):
        read_stack(tmp_path / "nothing.tif")


def test_outputs_that_cannot_hold_it_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", light(2, 64, 80), photometric="minisblack")
    stack = read_stack(tmp_path / "in.tif", channels=2)
    with pytest.raises(SettingError, match="PNG holds one image"):
        write_stack(tmp_path / "out.png", stack)
    with pytest.raises(SettingError, match="JPEG"):
        write_stack(tmp_path / "out.jpg", stack)
    with pytest.raises(OutputError, match="source"):
        write_stack(tmp_path / "in.tif", stack, force=True)
    write_stack(tmp_path / "out.tif", stack)
    with pytest.raises(OutputError, match="exists"):
        write_stack(tmp_path / "out.tif", stack)
