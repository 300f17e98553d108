"""GeoJSON as people export it: classes, shapes without area, encodings, many points."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import MaskError
from histomend.masks import geojson_to_mask, load_mask
from histomend.masks import polygons as polygon_module
from histomend.masks.files import MOST_GEOJSON
from histomend.masks.polygons import PolygonFiller

SHAPE = (90, 120)
SQUARE = [[10, 10], [60, 10], [60, 60], [10, 60], [10, 10]]
HOLE = [[20, 20], [30, 20], [30, 30], [20, 30], [20, 20]]


def feature(geometry, name=None, **classification):
    said = {"name": name, **classification} if name or classification else None
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": said}}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": list(rings)}


def written(path, *features, encoding="utf-8"):
    path.write_bytes(
        json.dumps({"type": "FeatureCollection", "features": features}).encode(encoding)
    )
    return path


@pytest.mark.parametrize(
    ("odd", "word"),
    [
        (polygon(), "1 empty polygon"),
        (polygon([]), "1 empty polygon"),
        (polygon(SQUARE[:2]), "1 empty polygon"),
        ({"type": "Polygon", "coordinates": {}}, "1 empty polygon"),
        ({"type": "Polygon", "coordinates": ""}, "1 empty polygon"),
        ({"type": "Polygon", "coordinates": None}, "1 empty polygon"),
        ({"type": "MultiPolygon", "coordinates": []}, "1 empty polygon"),
        ({"type": "MultiPolygon", "coordinates": [[], [[]]]}, "2 empty polygon"),
        (None, "1 feature without a shape"),
        ({"type": "Point", "coordinates": [1, 2]}, "1 Point"),
        ({"type": "MultiPoint", "coordinates": [[1, 2]]}, "1 MultiPoint"),
        ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "1 LineString"),
        ({"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]]]}, "1 MultiLineString"),
        ({"type": "GeometryCollection", "geometries": [None]}, "1 feature without a shape"),
        (polygon(SQUARE, []), "1 empty hole"),
    ],
)
def test_what_has_no_area_is_passed_over_and_told(tmp_path, odd, word):
    path = written(tmp_path / "m.geojson", feature(polygon(SQUARE)), feature(odd))
    read = load_mask(path, SHAPE)
    assert read.mask.sum() == 2500
    assert any("passed over" in notice and word in notice for notice in read.notices)


@pytest.mark.parametrize("odd", [polygon(), None, {"type": "Point", "coordinates": [1, 2]}])
def test_nothing_with_an_area_is_no_mask(tmp_path, odd):
    path = written(tmp_path / "m.geojson", feature(odd))
    with pytest.raises(MaskError, match=r"have an area.*QuPath"):
        load_mask(path, SHAPE)


@pytest.mark.parametrize(
    "coordinates",
    [[[[10**400, 0], [1, 1], [2, 2]]], [[[1e400, 0], [1, 1], [2, 2]]], 7, [7], "text"],
)
def test_coordinates_that_are_none(tmp_path, coordinates):
    path = written(tmp_path / "m.geojson", feature({"type": "Polygon", "coordinates": coordinates}))
    with pytest.raises(MaskError, match=r"m\.geojson"):
        load_mask(path, SHAPE)


def test_classes_are_joined_with_a_word_or_chosen(tmp_path):
    far = [[x + 40, y + 20] for x, y in SQUARE]
    path = written(
        tmp_path / "m.geojson",
        feature(polygon(SQUARE), "Fold"),
        feature(polygon(far), names=["Tumor", "Necrosis"]),
        feature(polygon(HOLE)),
    )
    joined = load_mask(path, SHAPE)
    assert any("1 Fold, 1 Tumor: Necrosis, 1 Unclassified" in n for n in joined.notices)
    assert joined.mask.sum() > 2500
    fold = load_mask(path, SHAPE, classes=["fold"])
    assert fold.mask.sum() == 2500
    assert any("only the class fold" in n for n in fold.notices)
    both = load_mask(path, SHAPE, classes=["Fold", "Tumor: Necrosis"])
    assert np.array_equal(both.mask, joined.mask)
    assert load_mask(path, SHAPE, classes=["Unclassified"]).mask.sum() == 100
    with pytest.raises(MaskError, match=r"no shape is of class Ink.*1 Fold, 1 Tumor: Necrosis"):
        load_mask(path, SHAPE, classes=["Ink"])


def test_one_class_needs_no_word(tmp_path):
    path = written(tmp_path / "m.geojson", feature(polygon(SQUARE), "Fold"))
    assert load_mask(path, SHAPE).notices == ()


def test_names_of_classes_can_be_shown_on_any_terminal(tmp_path):
    path = written(
        tmp_path / "m.geojson", feature(polygon(SQUARE), "a\x1b[31m\ud800"), feature(polygon(HOLE))
    )
    (notice,) = load_mask(path, SHAPE).notices
    notice.encode("utf-8")
    assert "\x1b" not in notice


@pytest.mark.parametrize(
    ("encoding", "bom"),
    [
        ("utf-8", b""), ("utf-8", b"\xef\xbb\xbf"), ("utf-16", b""), ("utf-16-le", b""),
        ("utf-16-be", b""), ("utf-16-be", b"\xfe\xff"), ("utf-32", b""), ("utf-32-le", b""),
    ],
)  # fmt: skip
def test_encodings_of_unicode(tmp_path, encoding, bom):
    path = tmp_path / "m.geojson"
    text = json.dumps(feature(polygon(SQUARE), "Gewebe µ"), ensure_ascii=False)
    path.write_bytes(bom + text.encode(encoding))
    read = load_mask(path, SHAPE, classes=["gewebe µ"])
    assert read.mask.sum() == 2500
    assert read.notices == ()


def test_a_code_page_of_windows_is_read_and_told(tmp_path):
    path = tmp_path / "m.geojson"
    text = json.dumps(feature(polygon(SQUARE), "Fläche µm²"), ensure_ascii=False)
    path.write_bytes(text.encode("cp1252"))
    read = load_mask(path, SHAPE, classes=["Fläche µm²"])
    assert read.mask.sum() == 2500
    assert any("Windows-1252" in notice for notice in read.notices)


def test_a_file_too_large_to_hold_is_refused_unread(tmp_path):
    path = tmp_path / "m.geojson"
    with path.open("wb") as file:
        file.truncate(MOST_GEOJSON + 1)
    with pytest.raises(MaskError, match="at most"):
        load_mask(path, SHAPE)


corners = st.lists(st.tuples(st.integers(-5, 35), st.integers(-5, 35)), min_size=3, max_size=9)


@settings(max_examples=80, deadline=None)
@given(first=corners, second=corners, dense=st.booleans())
def test_both_ways_of_filling_are_the_even_odd_rule(first, second, dense):
    """Against the rule applied pixel by pixel, for centres that lie on no edge."""
    mask = np.zeros((30, 30), bool)
    patch = pytest.MonkeyPatch()
    with patch.context() as context:
        context.setattr(polygon_module, "_DENSE", 10**6 if dense else 0)
        context.setattr(polygon_module, "_MOST_CUTS", 7 if dense else 10**6)
        context.setattr(polygon_module, "_MOST_RUNS", 1)
        filler = PolygonFiller(mask)
        # A tiny shift keeps centres off the edges.
        shift = np.array([0.0131, 0.0173])
        rings = [np.array(ring) + shift for ring in (first, second)]
        for ring in rings:
            filler.add([ring])
        filler.finish()
    centres = np.stack(np.meshgrid(np.arange(30) + 0.5, np.arange(30) + 0.5), -1).reshape(-1, 2)
    expected = np.zeros(900, bool)
    for ring in rings:
        inside = np.zeros(900, bool)
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            crosses = (y0 <= centres[:, 1]) != (y1 <= centres[:, 1])
            with np.errstate(divide="ignore", invalid="ignore"):
                x = x0 + (centres[:, 1] - y0) * (x1 - x0) / (y1 - y0)
            inside ^= crosses & (x < centres[:, 0])
        expected |= inside
    assert np.array_equal(mask, expected.reshape(30, 30))


def test_many_points_and_many_polygons():
    star = np.random.default_rng(0).uniform(0, 80, (20_000, 2)).tolist()
    assert geojson_to_mask(polygon(star), SHAPE).any()
    cells = [polygon([[x, x % 70], [x + 2, x % 70], [x + 2, x % 70 + 2]]) for x in range(100)] * 40
    assert geojson_to_mask(cells, SHAPE).any()
