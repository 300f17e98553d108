"""Regions of whole slides are read as OpenSlide reads them; what cannot be read is said."""

import sys

import numpy as np
import pytest

from histomend.errors import (
    MissingDependencyError,
    RegionError,
    UnreadableImageError,
    UnsupportedImageError,
)
from histomend.image import read_image


@pytest.mark.parametrize(
    ("name", "mpp"),
    [
        ("CMU-1-Small-Region.svs", 0.499),
        ("TCGA-CR-7395-01A-01-TS1.svs", None),
        ("test3-TRITC_560.ndpi", 0.228175),
        ("camelyon_multiframe.dcm", None),  # says 28.97, an overview
    ],
)
def test_regions_of_slides_are_openslides_pixels(name, mpp, slides):
    openslide = pytest.importorskip("openslide")
    path = slides / name
    image = read_image(path, region=(300, 200, 256, 128))
    with openslide.OpenSlide(str(path)) as slide:
        expected = np.asarray(slide.read_region((300, 200), 0, (256, 128)))[..., :3]
    assert np.array_equal(image.pixels, expected)
    assert image.mpp == mpp
    assert image.lossy


def test_tiffslide_stands_in_for_openslide(monkeypatch, slides):
    pytest.importorskip("tiffslide")
    path = slides / "CMU-1-Small-Region.svs"
    region = (300, 200, 256, 128)
    ours = read_image(path, region=region)
    monkeypatch.setitem(sys.modules, "openslide", None)
    image = read_image(path, region=region)
    assert image.mpp == ours.mpp
    difference = np.abs(image.pixels.astype(int) - ours.pixels)
    assert difference.max() <= 4  # another JPEG decoder


def test_an_ome_pyramid_opens_whole_or_in_part(slides):
    path = slides / "pdac-HE_40x_3072.ome.tif"
    whole = read_image(path)
    assert whole.pixels.shape == (3072, 3072, 3)
    assert whole.mpp == pytest.approx(0.2524)
    for x, y, w, h in ((0, 0, 3072, 64), (3000, 3000, 72, 72), (510, 511, 64, 600)):
        part = read_image(path, region=(x, y, w, h))
        assert np.array_equal(part.pixels, whole.pixels[y : y + h, x : x + w])


@pytest.mark.parametrize(
    ("name", "scanner"),
    [
        ("CMU-1-Small-Region.svs", "Aperio SVS"),
        ("test3-TRITC_560.ndpi", "Hamamatsu NDPI"),
        ("camelyon_multiframe.dcm", "DICOM"),
    ],
)
def test_whole_slides_ask_for_a_region(name, scanner, refused, slides):
    refused(slides / name, UnsupportedImageError, scanner, "--region x,y,w,h")


def test_a_broken_slide_is_unreadable(refused, slides):
    refused(slides / "broken.svs", UnreadableImageError, "no image")
    refused(slides / "broken.svs", UnreadableImageError, "no image", region=(0, 0, 256, 256))


def test_a_slide_cut_short_is_unreadable(tmp_path, refused, slides):
    path = tmp_path / "cut.svs"
    data = (slides / "CMU-1-Small-Region.svs").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, UnreadableImageError, region=(0, 0, 256, 256))


def test_slides_without_a_reader_name_the_pip_line(monkeypatch, refused, slides):
    monkeypatch.setitem(sys.modules, "openslide", None)
    monkeypatch.setitem(sys.modules, "tiffslide", None)
    refused(
        slides / "CMU-1-Small-Region.svs",
        MissingDependencyError,
        'pip install "histomend[slides]"',
        region=(0, 0, 256, 256),
    )


def test_a_region_outside_a_slide(refused, slides):
    refused(
        slides / "CMU-1-Small-Region.svs", RegionError, "2220 x 2967 px", region=(2100, 0, 256, 256)
    )


@pytest.mark.parametrize("suffix", [".mrxs", ".vms"])
def test_slide_files_without_their_companions(tmp_path, suffix, refused):
    path = tmp_path / f"alone{suffix}"
    path.write_text("[Virtual Microscope Specimen]\n")
    refused(path, UnsupportedImageError, "--region")
    with pytest.raises((UnreadableImageError, MissingDependencyError)):
        read_image(path, region=(0, 0, 256, 256))
