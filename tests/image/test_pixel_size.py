"""The pixel size is read where a file states one, and print resolutions are none."""

import PIL.Image
import pytest
import tifffile

from histomend.errors import PixelSizeError
from histomend.image import read_image, write_image


@pytest.mark.parametrize("dpi", [72, 96, 300, 600])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_print_resolutions_are_no_pixel_size(tmp_path, dpi, suffix, random_pixels):
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(random_pixels()).save(path, dpi=(dpi, dpi))
    assert read_image(path).mpp is None


@pytest.mark.parametrize(
    ("unit", "resolution", "mpp"),
    [("CENTIMETER", 20_000, 0.5), ("INCH", 101_600, 0.25), ("NONE", 20_000, None)],
)
def test_tiff_resolution_tags(tmp_path, unit, resolution, mpp, random_pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, random_pixels(), photometric="rgb", resolution=(resolution,) * 2, resolutionunit=unit
    )
    assert read_image(path).mpp == mpp


@pytest.mark.parametrize(("size", "unit"), [(0.25, "µm"), (250, "nm"), (0.00025, "mm")])
def test_ome_physical_size(tmp_path, size, unit, random_pixels):
    path = tmp_path / "a.ome.tif"
    metadata = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeXUnit": unit}
    tifffile.imwrite(path, random_pixels(), photometric="rgb", metadata=metadata)
    assert read_image(path).mpp == pytest.approx(0.25)


def test_imagej_says_microns_in_its_description(tmp_path, random_pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        random_pixels(),
        imagej=True,
        resolution=(4, 4),
        metadata={"unit": "micron", "axes": "YXS"},
    )
    assert read_image(path).mpp == 0.25


def test_the_users_pixel_size_wins_and_a_contradiction_is_said(tmp_path, random_pixels):
    path = tmp_path / "a.png"
    write_image(path, random_pixels(), mpp=0.25)
    assert read_image(path, mpp=0.25).notices == ()
    image = read_image(path, mpp=0.5)
    assert image.mpp == 0.5
    assert any("0.25" in notice for notice in image.notices)
    with pytest.raises(PixelSizeError):
        write_image(tmp_path / "b.png", random_pixels(), mpp=-1)
