"""Masks keep every pixel through PNG and GeoJSON, and wrong ones are named."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from histomend.errors import (
    MaskError,
    OutputError,
    SettingError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.masks import (
    check_mask,
    geojson_to_mask,
    label_regions,
    mask_to_geojson,
    read_mask,
    regions,
    write_mask,
)

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
few = settings(max_examples=60, deadline=None)
small_masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def picture_of(text):
    """Draw a mask: # is True, lines are rows."""
    return np.array([[c == "#" for c in line] for line in text.split()])


DIAGONALS = picture_of(
    """
    #.#..###.
    .#..#...#
    #.#.#.#.#
    ....#...#
    .....###.
    """
)
RING_CLOSED_BY_A_CORNER = picture_of(
    """
    ####
    #..#
    #.##
    ##..
    """
)
HOLES_TOUCHING = picture_of(
    """
    #####
    #.###
    ##.##
    #####
    """
)


def blob(shape=(90, 120)):
    mask = np.zeros(shape, bool)
    mask[20:50, 30:80] = True
    mask[30:40, 50:60] = False
    return mask


def refused(word, call, *args, kind=MaskError, **options):
    with pytest.raises(kind, match=word) as caught:
        call(*args, **options)
    assert caught.value.exit_code == 2


def rings_of(collection):
    for feature in collection["features"]:
        shape = feature["geometry"]
        polygons = (
            shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
        )
        for polygon in polygons:
            yield from polygon


# ------------------------------------------------------------------ GeoJSON


@few
@given(mask=small_masks, x=st.integers(-20, 5000), y=st.integers(-20, 5000))
@example(mask=DIAGONALS, x=0, y=0)
@example(mask=RING_CLOSED_BY_A_CORNER, x=0, y=0)
@example(mask=HOLES_TOUCHING, x=0, y=0)
def test_geojson_gives_every_pixel_back(mask, x, y):
    collection = json.loads(json.dumps(mask_to_geojson(mask, origin=(x, y))))
    assert np.array_equal(geojson_to_mask(collection, mask.shape, origin=(x, y)), mask)


@few
@given(mask=small_masks)
@example(mask=DIAGONALS)
@example(mask=RING_CLOSED_BY_A_CORNER)
@example(mask=HOLES_TOUCHING)
def test_rings_are_closed_and_simple(mask):
    """No ring passes a corner twice: geometry libraries call such polygons invalid."""
    for ring in rings_of(mask_to_geojson(mask)):
        assert ring[0] == ring[-1]
        corners = [tuple(corner) for corner in ring[:-1]]
        assert len(set(corners)) == len(corners)
        # Every corner is one: two steps in a row never go the same way.
        steps = np.diff(np.array(ring), axis=0) != 0
        assert (steps.sum(axis=1) == 1).all()
        assert (steps[1:] != steps[:-1]).all()


def test_geojson_is_what_qupath_expects():
    collection = mask_to_geojson(blob())
    assert collection["type"] == "FeatureCollection"
    (feature,) = collection["features"]
    assert feature["properties"]["objectType"] == "annotation"
    assert feature["properties"]["classification"]["name"] == "Artifact"
    assert feature["geometry"]["type"] == "Polygon"
    outer, hole = feature["geometry"]["coordinates"]
    assert sorted(map(tuple, outer[:-1])) == [(30, 20), (30, 50), (80, 20), (80, 50)]
    assert sorted(map(tuple, hole[:-1])) == [(50, 30), (50, 40), (60, 30), (60, 40)]


def test_parts_that_touch_at_a_corner_are_one_annotation():
    (feature,) = mask_to_geojson(np.eye(3, dtype=bool))["features"]
    assert feature["geometry"]["type"] == "MultiPolygon"
    assert len(feature["geometry"]["coordinates"]) == 3


def test_every_wrapping_that_qupath_writes_is_read():
    collection = mask_to_geojson(blob())
    feature = collection["features"][0]
    shape = feature["geometry"]
    several = {"type": "GeometryCollection", "geometries": [shape]}
    for obj in (collection, collection["features"], feature, shape, several, [several]):
        assert np.array_equal(geojson_to_mask(obj, (90, 120)), blob())


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [list(map(list, ring)) for ring in rings]}


def test_drawn_polygons_fill_the_pixels_whose_centres_they_hold():
    circle = [(50 + 30 * np.cos(t), 45 + 30 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 400)]
    mask = geojson_to_mask(polygon(circle), (90, 120))
    y, x = np.mgrid[:90, :120] + 0.5
    distance = np.hypot(x - 50, y - 45)
    assert mask[distance < 29.9].all()
    assert not mask[distance > 30.1].any()


def test_overlapping_annotations_are_joined_and_cut_at_the_border():
    one = polygon([(-10.5, -10.5), (20, -10.5), (20, 20), (-10.5, 20)])
    two = polygon([(10, 10), (500, 10), (500, 30), (10, 30)])
    mask = geojson_to_mask([one, two], (40, 60))
    expected = np.zeros((40, 60), bool)
    expected[:20, :20] = expected[10:30, 10:] = True
    assert np.array_equal(mask, expected)


def test_third_coordinates_and_open_rings_are_fine():
    ring = [(1, 1, 0), (5, 1, 0), (5, 4, 0), (1, 4, 0)]
    assert geojson_to_mask(polygon(ring), (6, 6)).sum() == 12


@pytest.mark.parametrize(
    ("obj", "word"),
    [
        ({"type": "Point", "coordinates": [1, 2]}, "Point"),
        ({"hello": 1}, "Polygon"),
        ("text", "Polygon"),
        (polygon([(0, 0), (1, 1)]), "an area.*1 empty polygon"),
        (polygon([("a", 0), (1, 1), (2, 2)]), "malformed"),
        (polygon([(float("nan"), 0), (1, 1), (2, 2)]), "no pixel positions"),
        ({"type": "Polygon", "coordinates": None}, "an area.*1 empty polygon"),
        ({"type": "Polygon", "coordinates": [[1, 2, 3]]}, "malformed"),
        (polygon([(900, 900), (990, 900), (990, 990)]), "none of its 1 polygon"),
    ],
)
def test_geojson_that_is_no_mask(obj, word):
    refused(word, geojson_to_mask, obj, (90, 120))


def test_files_that_are_no_geojson(tmp_path):
    path = tmp_path / "m.geojson"
    refused("m.geojson.*no such file", read_mask, path, (90, 120))
    for text in ("", "{", '{"type": "FeatureColl', "[" * 100_000):
        path.write_text(text)
        refused("m.geojson", read_mask, path, (90, 120))
    path.write_bytes(b"\xff\xfe\x00")
    refused("m.geojson", read_mask, path, (90, 120))


# ------------------------------------------------------------------ files


@pytest.mark.parametrize("suffix", [".png", ".geojson"])
def test_files_give_every_pixel_back(tmp_path, suffix):
    path = tmp_path / f"m{suffix}"
    write_mask(path, blob())
    assert np.array_equal(read_mask(path, (90, 120)), blob())


@pytest.mark.skipif(not DATA.is_dir(), reason="the real masks are not here")
def test_real_masks_survive(tmp_path):
    for source in sorted(DATA.glob("he_artifacts/masks/*.png"))[:5]:
        mask = read_mask(source, (512, 512))
        with PIL.Image.open(source) as picture:
            assert np.array_equal(mask, np.asarray(picture.convert("L")) > 0)
        path = tmp_path / f"{source.stem}.geojson"
        write_mask(path, mask)
        assert np.array_equal(read_mask(path, (512, 512)), mask)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_black_and_white_in_any_mode(tmp_path, mode, suffix):
    path = tmp_path / f"m{suffix}"
    if mode == "I;16":
        PIL.Image.fromarray(blob().astype(np.uint16) * 65_535).save(path)
    else:
        PIL.Image.fromarray(blob().astype(np.uint8) * 255).convert(mode).save(path)
    assert np.array_equal(read_mask(path, (90, 120)), blob())


def test_zero_and_one_is_a_mask_too(tmp_path):
    path = tmp_path / "m.png"
    PIL.Image.fromarray(blob().astype(np.uint8)).save(path)
    assert np.array_equal(read_mask(path, (90, 120)), blob())


def test_a_mask_saved_as_jpeg_is_cut_at_half(tmp_path):
    path = tmp_path / "m.jpg"
    PIL.Image.fromarray(blob().astype(np.uint8) * 255).save(path, quality=90)
    mask = read_mask(path, (90, 120))
    assert (mask != blob()).mean() < 0.01


def test_grey_shades_labels_and_colours_are_no_mask(tmp_path):
    path = tmp_path / "m.png"
    ramp = np.tile(np.arange(120, dtype=np.uint8) * 2, (90, 1))
    labels = np.zeros((90, 120), np.uint8)
    labels[:30], labels[30:60] = 1, 2
    for values, word in ((ramp, "shades of grey"), (labels, "several labels")):
        PIL.Image.fromarray(values).save(path)
        refused(word, read_mask, path, (90, 120))
    red = np.zeros((90, 120, 3), np.uint8)
    red[20:40, 20:40, 0] = 255
    PIL.Image.fromarray(red).save(path)
    refused("colours", read_mask, path, (90, 120))
    clear = np.zeros((90, 120, 4), np.uint8)
    clear[20:40, 20:40] = 255
    PIL.Image.fromarray(clear).save(path)
    refused("transparent", read_mask, path, (90, 120))


def test_masks_of_another_size(tmp_path):
    path = tmp_path / "m.png"
    write_mask(path, blob())
    refused("120 x 90 px.*121 x 90 px", read_mask, path, (90, 121))
    refused("swapped", read_mask, path, (120, 90))


def test_files_that_are_no_masks(tmp_path):
    path = tmp_path / "m.png"
    refused("no such file", read_mask, path, (90, 120), kind=UnreadableImageError)
    path.write_bytes(b"")
    refused("empty", read_mask, path, (90, 120), kind=UnreadableImageError)
    PIL.Image.fromarray(blob()).save(path, "GIF")
    refused("GIF", read_mask, path, (90, 120), kind=UnsupportedImageError)
    write_mask(path, np.random.default_rng(0).random((90, 120)) < 0.5, force=True)
    path.write_bytes(path.read_bytes()[:-300])
    refused("truncated", read_mask, path, (90, 120), kind=UnreadableImageError)


def test_a_mask_whose_pixels_would_lie_beyond_its_file_asks_for_no_memory(tmp_path):
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, blob().astype(np.uint8) * 255, compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["StripByteCounts"].overwrite(4_000_000_000)
    refused("truncated.*4,000,", read_mask, path, (90, 120), kind=UnreadableImageError)


def test_masks_that_cannot_be_written(tmp_path, monkeypatch):
    refused(".tif", write_mask, tmp_path / "m.tif", blob(), kind=SettingError)
    path = tmp_path / "m.png"
    write_mask(path, blob())
    refused("--force", write_mask, path, ~blob(), kind=OutputError)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refused("disk is full", write_mask, path, ~blob(), force=True, kind=OutputError)
    assert np.array_equal(read_mask(path, (90, 120)), blob())
    assert len(list(tmp_path.iterdir())) == 1


# ------------------------------------------------------------------ what a mask must be


def test_true_false_and_black_white_pass():
    for mask in (blob(), blob().astype(np.uint8), blob() * 255, blob().astype(float)):
        checked = check_mask(mask, (90, 120))
        assert checked.dtype == bool
        assert np.array_equal(checked, blob())
    assert check_mask(PIL.Image.fromarray(blob()), (90, 120)).any()


@pytest.mark.parametrize(
    ("mask", "word"),
    [
        (np.zeros((90, 120), bool), "empty"),
        (np.ones((90, 120), bool), "whole image.*inverted"),
        (np.ones((90, 121), bool), "121 x 90 px.*120 x 90 px"),
        (np.ones((120, 90), bool), "swapped"),
        (np.ones((90, 120, 3), bool), "one value per pixel"),
        (np.full((90, 120), np.nan), "NaN"),
        (np.arange(90 * 120).reshape(90, 120), "more than two values"),
        (np.full((90, 120), -1), "more than two values"),
        (np.full((90, 120), "x"), "True and False"),
    ],
)
def test_masks_that_cannot_be_restored(mask, word):
    refused(word, check_mask, mask, (90, 120))


# ------------------------------------------------------------------ regions


def test_regions_are_boxes_of_connected_parts():
    assert regions(np.zeros((9, 9), bool)) == []
    mask = picture_of(
        """
        ##....
        ..#...
        .....#
        .....#
        """
    )
    assert regions(mask) == [(0, 0, 3, 2), (5, 2, 1, 2)]
    assert regions(mask, merge_px=2) == [(0, 0, 3, 2), (5, 2, 1, 2)]
    assert regions(mask, merge_px=3) == [(0, 0, 6, 4)]


@few
@given(mask=arrays(bool, (9, 9), elements=st.floats(0, 1).map(lambda v: v < 0.1)),
       merge_px=st.integers(0, 5))  # fmt: skip
def test_regions_join_what_is_closer_than_asked(mask, merge_px):
    """Against joining points one by one."""
    points = np.argwhere(mask)
    near = np.abs(points[:, None] - points[None]).max(axis=2) <= max(merge_px, 1)
    while True:
        further = (near.astype(int) @ near.astype(int)) > 0
        if np.array_equal(further, near):
            break
        near = further
    groups = {tuple(row) for row in near}
    labels, boxes = label_regions(mask, merge_px=merge_px)
    assert len(boxes) == len(groups)
    assert np.array_equal(labels > 0, mask)
    for number, (x, y, w, h) in enumerate(boxes, start=1):
        own = np.argwhere(labels == number)
        assert own.min(axis=0).tolist() == [y, x]
        assert (own.max(axis=0) + 1).tolist() == [y + h, x + w]


@few
@given(
    arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.booleans()),
    st.integers(0, 12),
    st.integers(0, 10_000),
)
def test_boxes_are_those_of_the_labels(mask, merge_px, seed):
    sparse = mask & (np.random.default_rng(seed).random(mask.shape) < 0.05)
    for one in (mask, sparse):
        assert regions(one, merge_px=merge_px) == label_regions(one, merge_px=merge_px)[1]
