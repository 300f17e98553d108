"""Files that are damaged, empty or no image give a named error and are not touched."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from histomend.errors import HistomendError, UnreadableImageError, UnsupportedImageError
from histomend.image import read_image, write_image


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".avif"])
def test_truncated_pictures_are_unreadable(tmp_path, suffix, share, save_picture, refused):
    path = save_picture(tmp_path / f"cut{suffix}")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, UnreadableImageError, "truncated or damaged", "again")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_truncated_files_of_our_own_are_unreadable(
    tmp_path, suffix, dtype, share, random_pixels, refused
):
    path = tmp_path / f"cut{suffix}"
    write_image(path, random_pixels(dtype=dtype))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refused(path, UnreadableImageError, "truncated")


@pytest.mark.parametrize("compression", [None, "zlib", "jpeg"])
def test_truncated_strips_are_found_before_decoding(tmp_path, compression, random_pixels, refused):
    path = tmp_path / "strips.tif"
    # The directory comes first here, so that it survives the cut.
    tifffile.imwrite(path, random_pixels(), compression=compression, rowsperstrip=16)
    data = path.read_bytes()
    path.write_bytes(data[:-200])
    refused(path, UnreadableImageError, "truncated")


def test_a_header_that_tells_of_more_tiles_than_there_are(tmp_path, random_pixels, refused):
    path = tmp_path / "header.tif"
    tifffile.imwrite(path, random_pixels(), photometric="rgb", tile=(32, 32), compression="zlib")
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages.first.tags["ImageLength"].overwrite(40_000)
    refused(path, UnreadableImageError, "damaged", "tiles")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flipped_bits_never_pass_as_tissue(tmp_path, suffix, dtype, random_pixels, refused):
    path = tmp_path / f"flipped{suffix}"
    write_image(path, random_pixels(dtype=dtype))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle] ^= 0xFF
    path.write_bytes(bytes(data))
    refused(path, UnreadableImageError, "damaged")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".svs", ""])
def test_empty_files(tmp_path, suffix, refused):
    path = tmp_path / f"empty{suffix}"
    path.write_bytes(b"")
    refused(path, UnreadableImageError, "empty", "0 bytes")


def test_text_under_the_name_of_an_image(tmp_path, refused):
    path = tmp_path / "notes.png"
    path.write_text("patient 7, slide 3\n")
    refused(path, UnreadableImageError, "text", "PNG, JPEG, TIFF")


def test_zeros_of_an_interrupted_copy(tmp_path, refused):
    path = tmp_path / "zeros.tif"
    path.write_bytes(bytes(4096))
    refused(path, UnreadableImageError, "zeros", "interrupted copy")


@pytest.mark.parametrize("magic", ["GIF", "BMP"])
def test_other_image_formats_are_named(tmp_path, magic, save_picture, refused):
    path = save_picture(tmp_path / f"other.{magic.lower()}", "RGB")
    refused(path, UnsupportedImageError, magic, "PNG or TIFF")


def test_missing_files_and_folders(tmp_path, refused):
    refused(tmp_path / "nowhere.png", UnreadableImageError, "no such file")
    refused(tmp_path, UnreadableImageError, "folder")


def test_files_that_may_not_be_read(tmp_path, monkeypatch, save_picture):
    path = save_picture(tmp_path / "secret.png")

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(UnreadableImageError, match="Permission denied"):
        read_image(path)


def test_a_wrong_extension_is_read_by_content_and_said(tmp_path, random_pixels, save_picture):
    path = tmp_path / "really_png.jpg"
    save_picture(path, format="PNG")
    image = read_image(path)
    assert np.array_equal(image.pixels, random_pixels())
    assert not image.lossy
    assert any(".jpg" in notice and "PNG" in notice for notice in image.notices)


def test_random_bytes_give_our_errors_only(tmp_path):
    """Whatever follows a valid magic number, no foreign exception comes through."""
    rng = np.random.default_rng(1)
    magics = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\0\x08\0\0\0", b"MM\0+\0\x08\0\0",
              b"RIFF\x40\0\0\0WEBPVP8 ", b"\0\0\0\x20ftypavif", b"ZISRAWFILE", b"BM"]  # fmt: skip
    path = tmp_path / "noise.png"
    for magic in magics:
        for length in (0, 10, 500):
            path.write_bytes(magic + rng.bytes(length))
            for region in (None, (0, 0, 64, 64)):
                with pytest.raises(HistomendError):
                    read_image(path, region=region)
