"""Masks of slides, read in parts: the same as those of images read whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.errors import MaskError
from histomend.image.pixels import Frame
from histomend.masks import read_mask, write_mask
from histomend.masks.slide_masks import PolygonMask, SlideMask, load_slide_mask

SHAPE = (180, 230)
FRAME = Frame(230, 180)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Polygons with slanted edges, a hole, and one that reaches beyond the slide."""
    rings = [
        [[[10.3, 12.1], [90.7, 30.2], [60.1, 101.9]], [[45, 35], [60, 40], [55, 60]]],
        [[[150, 100], [300, 120], [200, 400]]],
        [[[100, 5], [104, 5], [104, 9], [100, 9]]],
    ]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": each},
            "properties": {"classification": {"name": name}},
        }
        for each, name in zip(rings, ("Fold", "Fold", "Dirt"), strict=True)
    ]
    path = tmp_path_factory.mktemp("masks") / "m.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def parts_of(mask: SlideMask, step: int) -> np.ndarray:
    whole = np.zeros(SHAPE, bool)
    for y in range(0, SHAPE[0], step):
        for x in range(0, SHAPE[1], step):
            region = (x, y, min(step, SHAPE[1] - x), min(step, SHAPE[0] - y))
            part = mask.read(region)
            assert mask.may_touch(region) or not part.any()
            whole[y : y + region[3], x : x + region[2]] = part
    return whole


@pytest.mark.parametrize("step", [7, 64, 230])
@pytest.mark.parametrize("classes", [None, ["Dirt"]])
def test_polygons(drawn: Path, step: int, classes: list[str] | None) -> None:
    whole = read_mask(drawn, SHAPE, classes=classes)
    assert (parts_of(load_slide_mask(drawn, FRAME, classes=classes), step) == whole).all()


def test_pictures_as_large_as_the_slide_and_smaller(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = rng.random(SHAPE) < 0.05
    write_mask(tmp_path / "m.png", mask)
    assert (parts_of(load_slide_mask(tmp_path / "m.png", FRAME), 50) == mask).all()
    labels = np.where(rng.random((18, 23)) < 0.2, 4, 1).astype(np.uint8)
    PIL.Image.fromarray(labels).save(tmp_path / "s_mask.png")
    read = load_slide_mask(tmp_path / "s_mask.png", FRAME)
    assert (parts_of(read, 50) == read_mask(tmp_path / "s_mask.png", SHAPE)).all()
    assert (parts_of(read, 50) == (labels == 4).repeat(10, 0).repeat(10, 1)).all()
    assert any("GrandQC" in said for said in read.notices)


def test_an_outline_of_tissue_is_turned_round(tmp_path: Path) -> None:
    ring = [[[20, 30], [120, 30], [120, 90], [20, 90]]]
    feature = {"type": "Feature", "properties": {"tissue_id": 0}}
    feature["geometry"] = {"type": "Polygon", "coordinates": ring}
    path = tmp_path / "t.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    mask = parts_of(load_slide_mask(path, FRAME), 60)
    assert (~mask).sum() == 100 * 60


def test_an_empty_picture_and_one_of_another_size_are_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "empty.png", np.zeros(SHAPE, bool))
    with pytest.raises(MaskError, match="empty"):
        load_slide_mask(tmp_path / "empty.png", FRAME)
    write_mask(tmp_path / "other.png", np.ones((30, 30), bool))
    with pytest.raises(MaskError, match="30 x 30"):
        load_slide_mask(tmp_path / "other.png", FRAME)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_polygon_in_any_part(data: st.DataObject) -> None:
    corners = st.tuples(st.floats(-50, 250), st.floats(-50, 250))
    ring = np.array(data.draw(st.lists(corners, min_size=3, max_size=8)))
    mask = PolygonMask([[ring]])
    x, y = data.draw(st.integers(0, 200)), data.draw(st.integers(0, 150))
    whole = mask.read((0, 0, 230, 180))
    part = mask.read((x, y, 30, 30))
    assert (part == whole[y : y + 30, x : x + 30]).all()
    assert mask.may_touch((x, y, 30, 30)) or not part.any()
