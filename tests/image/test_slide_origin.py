"""Pixels of a slide count from where its scan begins, as in QuPath, whichever library reads."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from histomend.errors import RegionError, UnreadableImageError
from histomend.image import read_image
from histomend.image.pixels import Frame
from histomend.image.slides import background_colour, slide_frame, stated_mpp, unscanned
from histomend.masks import load_mask
from histomend.slides.scans import open_scan

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


class FakeSlide:
    """What OpenSlide tells of a slide."""

    def __init__(self, dimensions=(4000, 3000), **properties):
        self.dimensions = dimensions
        self.properties = {key.replace("_", "."): value for key, value in properties.items()}


def bounds(x, y, width, height, reader="openslide"):
    said = {"x": x, "y": y, "width": width, "height": height}
    return {f"{reader}_bounds-{key}": value for key, value in said.items()}


@pytest.mark.parametrize("reader", ["openslide", "tiffslide"])
@pytest.mark.parametrize("kind", [str, int, float])
def test_a_scan_on_a_larger_canvas(reader, kind):
    slide = FakeSlide(**bounds(*map(kind, (1500, 1000, 800, 600)), reader=reader))
    assert slide_frame(slide) == Frame(800, 600, (1500, 1000), (4000, 3000))


@pytest.mark.parametrize(
    "said",
    [
        {},
        bounds(0, 0, 4000, 3000),
        bounds(-1, 0, 10, 10),
        bounds(0, 0, 0, 10),
        bounds(3999, 0, 10, 10),
        bounds("nan", 0, 10, 10),
        bounds("x", "", None, "1e400"),
    ],
)
def test_bounds_that_say_nothing_or_cannot_be(said):
    assert slide_frame(FakeSlide(**said)) == Frame(4000, 3000)


def test_odd_properties_of_slides():
    assert background_colour(FakeSlide()) == (255, 255, 255)
    assert background_colour(FakeSlide(**{"openslide_background-color": "10ff00"})) == (16, 255, 0)
    for odd in ("red", "10ff", "10ff0012"):
        assert background_colour(FakeSlide(**{"openslide_background-color": odd})) == (255,) * 3
    assert stated_mpp({"openslide.mpp-x": "half", "tiffslide.mpp-x": 0.5}) == 0.5
    assert stated_mpp({"openslide.mpp-x": "half"}) is None


def test_places_that_were_never_scanned():
    canvas = Frame(9, 9, (1, 1), (20, 20))
    black = np.zeros((2, 2, 3), np.uint8)
    assert unscanned(black, canvas).all()
    assert not unscanned(black, Frame(9, 9)).any()  # a black pixel of a plain slide was scanned
    clear = np.zeros((2, 2, 4), np.uint8)
    clear[0, :, 3] = 255
    assert unscanned(clear, Frame(9, 9)).tolist() == [[False, False], [True, True]]


@pytest.fixture(params=["openslide", "tiffslide"])
def scan_file(request, monkeypatch):
    """Return the slide of 1024 x 1024 px on a canvas, and have one library read it."""
    if not CASES.is_dir():
        pytest.skip("the shared cases are not here")
    pytest.importorskip(request.param)
    for other in {"openslide", "tiffslide"} - {request.param}:
        monkeypatch.setitem(sys.modules, other, None)
    return CASES / "bounds.scn"


def test_region_and_geojson_of_qupath_lie_on_each_other(scan_file):
    region = (256, 128, 512, 512)
    image = read_image(scan_file, region=region)
    read = load_mask(CASES / "bounds_qupath.geojson", (512, 512), origin=region[:2])
    inside, outside = image.pixels[read.mask].mean(), image.pixels[~read.mask].mean()
    assert inside < 70 < 150 < outside  # the mask lies on the dark artifact
    assert image.frame == Frame(1024, 1024, (1536, 1024), (4096, 4096))
    assert any("x=1536, y=1024" in notice and "QuPath" in notice for notice in image.notices)
    with pytest.raises(RegionError, match="1024 x 1024 px"):
        read_image(scan_file, region=(1536, 1024, 512, 512))


def test_scans_in_parts_count_from_the_same_corner(scan_file):
    whole = read_image(scan_file, region=(0, 0, 1024, 1024)).pixels
    with open_scan(scan_file, source_mpp=0.5) as scan:
        assert [(level.width, level.height) for level in scan.levels] == [(1024, 1024), (512, 512)]
        part = scan.read((100, 200, 70, 80), scan.mpp)
    assert np.array_equal(part, whole[200:280, 100:170])


def test_tiles_of_a_slide_that_say_too_much_reach_no_library(tmp_path, monkeypatch, refused):
    pytest.importorskip("tiffslide")
    monkeypatch.setitem(sys.modules, "openslide", None)
    path = tmp_path / "a.svs"
    text = "Aperio Image Library v1\n128x128 (64x64) Q=70|AppMag = 20|MPP = 0.5"
    values = np.random.default_rng(0).integers(0, 200, (128, 128, 3), np.uint8)
    options = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg", "metadata": None}
    tifffile.imwrite(path, values, description=text, **options)
    assert read_image(path, region=(0, 0, 64, 64)).mpp == 0.5
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = (40_000).to_bytes(2, "big") * 2
    path.write_bytes(data)
    refused(path, UnreadableImageError, "40,000 x 40,000 px", region=(0, 0, 64, 64))
    with pytest.raises(UnreadableImageError, match="40,000"), open_scan(path):
        pass


def test_nothing_scanned_is_told(monkeypatch):
    from histomend.image import slides

    class Bare(FakeSlide):
        def read_region(self, corner, level, size):
            values = np.zeros((size[1], size[0], 4), np.uint8)
            x = np.arange(corner[0], corner[0] + size[0])
            values[:, x < 100] = 255
            return values

    slide = Bare()
    half = slides._read_region(slide, "a.mrxs", (50, 0, 100, 100))
    assert any("50.0 % of the region were never scanned" in n for n in half.notices)
    none = slides._read_region(slide, "a.mrxs", (500, 0, 100, 100))
    assert any("nothing was scanned" in n for n in none.notices)
    assert (none.pixels == 255).all()
    assert slides._read_region(slide, "a.mrxs", (0, 0, 100, 100)).notices == ()
