"""Masks of GrandQC, HistoQC and TRIDENT, as they write them; inverted ones; labels."""

import json

import numpy as np
import PIL.Image
import pytest
import tifffile

from histomend.errors import MaskError
from histomend.image.pixels import Frame
from histomend.masks import load_mask, share_notice

WHOLE = Frame(1200, 900)


def labels():
    """Return GrandQC's labels of a slide of 1200 x 900 px, six times smaller."""
    values = np.full((150, 200), 7, np.uint8)
    values[20:130, 20:180] = 1
    values[40:60, 40:80] = 2
    values[70:90, 100:120] = 6
    values[145:] = 0
    return values


def saved(path, values):
    PIL.Image.fromarray(values).save(path)
    return path


def test_grandqc_counts_its_artifacts_over_the_whole_slide(tmp_path):
    path = saved(tmp_path / "slide.svs_mask.png", labels())
    read = load_mask(path, (900, 1200), frame=WHOLE)
    expected = np.isin(labels(), (2, 3, 4, 5, 6)).repeat(6, axis=0).repeat(6, axis=1)
    assert np.array_equal(read.mask, expected)
    said = " ".join(read.notices)
    assert "counted 2 (Fold), 6 (Out of focus)" in said
    assert "not counted 1 (Tissue), 7 (Background)" in said
    assert "6.0 times smaller" in said


def test_grandqc_of_a_region_on_a_canvas(tmp_path):
    path = saved(tmp_path / "slide.svs_mask.png", labels())
    scan = Frame(600, 480, (240, 240), (1200, 900))
    read = load_mask(path, (120, 240), origin=(0, 0), frame=scan)
    expected = np.isin(labels(), (2, 6)).repeat(6, axis=0).repeat(6, axis=1)
    assert np.array_equal(read.mask, expected[240:360, 240:480])


@pytest.mark.parametrize("classes", [["Fold"], ["fold"], ["2"]])
def test_single_labels_of_grandqc(tmp_path, classes):
    path = saved(tmp_path / "slide_mask.png", labels())
    read = load_mask(path, (150, 200), classes=classes)
    assert np.array_equal(read.mask, labels() == 2)
    for wrong in ("Pen marking", "4", "Ink"):
        with pytest.raises(MaskError, match=r"2 \(Fold\)"):
            load_mask(path, (150, 200), classes=[wrong])


def test_labels_of_others_need_their_numbers(tmp_path):
    values = np.zeros((90, 120), np.uint16)
    values[10:20], values[30:50] = 3, 300
    path = saved(tmp_path / "labels.png", values)
    with pytest.raises(MaskError, match=r"several labels.*--class"):
        load_mask(path, (90, 120))
    assert np.array_equal(load_mask(path, (90, 120), classes=["300"]).mask, values == 300)
    assert np.array_equal(load_mask(path, (90, 120), classes=["3", "300"]).mask, values > 0)
    with pytest.raises(MaskError, match="no class is called"):
        load_mask(path, (90, 120), classes=["Fold"])


def test_other_small_masks_stay_a_mistake(tmp_path):
    small = (labels() == 2).astype(np.uint8) * 255
    for name in ("slide.png", "slide_mask.png"):
        with pytest.raises(MaskError, match="200 x 150 px"):
            load_mask(saved(tmp_path / name, small), (900, 1200), frame=WHOLE)
    with pytest.raises(MaskError, match="map of tissue"):
        load_mask(saved(tmp_path / "slide_MASK.png", small), (900, 1200), frame=WHOLE)
    odd = saved(tmp_path / "other_mask.png", labels()[:, :150])
    with pytest.raises(MaskError, match="150 x 150 px"):
        load_mask(odd, (900, 1200), frame=WHOLE)


def test_histoqc_marks_what_may_be_used(tmp_path):
    usable = np.isin(labels(), (1,)).astype(np.uint8) * 255
    path = saved(tmp_path / "slide.svs_mask_use.png", usable)
    read = load_mask(path, (900, 1200), frame=WHOLE)
    assert np.array_equal(read.mask[::6, ::6], usable == 0)
    assert any("usable tissue" in notice for notice in read.notices)


def test_histoqc_artifacts_are_white(tmp_path):
    pen = (labels() == 2).astype(np.uint8) * 255
    path = saved(tmp_path / "slide.svs_pen_markings.png", pen)
    read = load_mask(path, (900, 1200), frame=WHOLE)
    assert np.array_equal(read.mask[::6, ::6], pen > 0)


def test_trident_outlines_the_tissue_on_the_canvas(tmp_path):
    path = tmp_path / "slide.geojson"
    outer = [[100, 100], [500, 100], [500, 400], [100, 400], [100, 100]]
    fold = [[200, 200], [260, 200], [260, 250], [200, 250], [200, 200]]
    one = {"type": "Feature", "properties": {"tissue_id": 0}}
    one["geometry"] = {"type": "Polygon", "coordinates": [outer, fold]}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [one]}))
    scan = Frame(600, 480, (90, 80), (1200, 900))
    read = load_mask(path, (200, 300), origin=(20, 30), frame=scan)
    expected = np.zeros((200, 300), bool)
    expected[90:140, 90:150] = True
    assert np.array_equal(read.mask, expected)
    assert any("TRIDENT" in notice for notice in read.notices)


@pytest.mark.parametrize("imagej", [True, False])
def test_inverting_luts_and_white_is_zero(tmp_path, imagej):
    """ImageJ only shows its masks inverted; other programs mean it."""
    marked = np.zeros((90, 120), np.uint8)
    marked[20:40, 20:60] = 255
    path = tmp_path / "m.tif"
    text = "ImageJ=1.54f\n" if imagej else "scanned"
    values = marked if imagej else 255 - marked
    tifffile.imwrite(path, values, photometric="miniswhite", description=text, metadata=None)
    read = load_mask(path, (90, 120))
    assert np.array_equal(read.mask, marked > 0)
    assert any("inverting LUT" in notice for notice in read.notices) == imagej


def test_a_mask_over_more_than_half_is_told(tmp_path):
    marked = np.zeros((90, 120), np.uint8)
    marked[:60] = 255
    read = load_mask(saved(tmp_path / "m.png", marked), (90, 120))
    assert any("67 % of the image" in notice for notice in read.notices)
    marked[45:] = 0
    assert load_mask(saved(tmp_path / "m.png", marked), (90, 120)).notices == ()
    assert share_notice(np.zeros((0, 0), bool)) == ()
