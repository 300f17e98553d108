"""What is drawn becomes a mask, and polygons of others become what is drawn."""

import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from histomend.errors import MaskError
from histomend.masks import geojson_to_mask
from histomend.web.drawing import Drawn, as_geojson, box_of, fill, from_geojson

POLYGON = {"kind": "polygon", "rings": [[[20, 30], [60, 30], [60, 70], [20, 70]]]}


def drawn(**values: Any) -> Drawn:
    return Drawn.model_validate(values)


def test_a_polygon_fills_the_pixels_whose_centres_it_holds() -> None:
    mask = fill([drawn(**POLYGON)], (0, 0, 100, 100))
    wanted = np.zeros((100, 100), bool)
    wanted[30:70, 20:60] = True
    assert (mask == wanted).all()


def test_a_stroke_is_as_wide_as_its_brush_and_the_eraser_takes_away() -> None:
    stroke = drawn(kind="stroke", points=[[20.5, 50.5], [80.5, 50.5]], radius=10)
    mask = fill([stroke], (0, 0, 100, 100))
    assert abs(int(mask[:, 50].sum()) - 20) <= 1
    assert abs(int(mask.sum()) - (60 * 20 + np.pi * 100)) < 80
    dot = fill([drawn(kind="stroke", points=[[50.5, 50.5]], radius=10)], (0, 0, 100, 100))
    assert abs(int(dot.sum()) - np.pi * 100) < 25
    erased = drawn(kind="stroke", points=[[50.5, 50.5]], radius=10, erase=True)
    left = fill([stroke, erased], (0, 0, 100, 100))
    assert (left == mask & ~dot).all()
    again = fill([stroke, erased, stroke], (0, 0, 100, 100))
    assert (again == mask).all()


def test_only_the_box_around_a_drawing_is_held() -> None:
    far = drawn(kind="polygon", rings=[[[90_000, 80_000], [90_010, 80_000], [90_000, 80_010]]])
    assert box_of([far], 100_000, 90_000) == (89_999, 79_999, 12, 12)
    assert box_of([far], 1000, 1000) is None
    shapes = as_geojson([far], 100_000, 90_000)
    assert geojson_to_mask(shapes, (12, 12), origin=(89_999, 79_999)).sum() == 45


def test_what_is_exported_comes_back(client: TestClient) -> None:
    shapes = client.post("api/items/0/drawing", json={"drawing": [POLYGON]}).json()
    assert shapes["features"][0]["properties"]["objectType"] == "annotation"
    back = client.post("api/items/0/geojson", content=json.dumps(shapes)).json()
    assert [thing["box"] for thing in back] == [[20, 30, 40, 40]]
    assert back[0]["area_px"] == 1600


def test_annotations_of_qupath_are_cut_at_the_border() -> None:
    ring = [[-50, -50], [30, -50], [30, 20], [-50, 20], [-50, -50]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (found,) = from_geojson({"type": "FeatureCollection", "features": [feature]}, 200, 100)
    assert (found["box"], found["area_px"]) == ([0, 0, 30, 20], 600)
    outside = {"type": "Polygon", "coordinates": [[[900, 900], [990, 900], [900, 990]]]}
    with pytest.raises(MaskError, match="none of its 1 polygon"):
        from_geojson([{**feature, "geometry": outside}], 200, 100)


@pytest.mark.parametrize(
    "drawing",
    [
        {"kind": "polygon", "rings": [[[0, 0], [1e9, 0], [0, 5]]]},
        {"kind": "stroke", "points": [[900, 900]], "radius": 3},
        {"kind": "polygon", "rings": [[[1, 1], [2, 2]]]},
    ],
)
def test_what_is_drawn_outside_or_without_an_area_is_refused(
    client: TestClient, drawing: dict[str, Any]
) -> None:
    answer = client.post("api/items/0/drawing", json={"drawing": [drawing]})
    assert answer.status_code == 422
    assert "raw" in answer.json()["error"]


def test_what_is_too_large_to_be_filled_is_refused() -> None:
    far = [drawn(kind="stroke", points=[[0, 0], [90_000, 90_000]], radius=2)]
    with pytest.raises(MaskError, match="too much at once"):
        as_geojson(far, 100_000, 100_000)
