"""What a user says of where to restore, as a mask of what was read."""

import json
from pathlib import Path

import numpy as np

from histomend.image import write_image
from histomend.methods.where import Where
from histomend.slides.source import picture_source


def test_annotations_of_an_image_are_in_its_pixels_also_where_a_part_is_read(
    tmp_path: Path,
) -> None:
    path, outlines = tmp_path / "whole.tif", tmp_path / "drawn.geojson"
    write_image(path, np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8), mpp=0.5)
    corners = [[150, 90], [170, 90], [170, 100], [150, 100], [150, 90]]
    outlines.write_text(json.dumps({"type": "Polygon", "coordinates": [corners]}))
    part = picture_source(path, region=(120, 80, 128, 96))
    mask, _ = Where(outlines, None, False, 0.02).find(part)
    expected = np.zeros((96, 128), bool)
    expected[10:20, 30:50] = True
    assert (mask == expected).all()
