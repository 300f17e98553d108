"""Outputs that cannot be are refused, and failed writing leaves nothing behind."""

import errno
import os

import numpy as np
import pytest

from histomend.errors import OutputError, SettingError, UnsupportedImageError
from histomend.image import check_output, write_image


def refuses(kind, word, call, *args, **options):
    with pytest.raises(kind, match=word) as caught:
        call(*args, **options)
    assert caught.value.exit_code == 2


def write_black(path, **options):
    write_image(path, np.zeros((80, 96, 3), np.uint8), **options)


@pytest.mark.parametrize("call", [check_output, write_black])
def test_outputs_are_refused_before_and_at_writing(tmp_path, call):
    there = tmp_path / "there.png"
    there.write_bytes(b"mine")
    refuses(OutputError, "--force", call, there)
    refuses(OutputError, "does not exist", call, tmp_path / "no" / "a.png")
    (tmp_path / "folder.png").mkdir()
    refuses(OutputError, "is a folder", call, tmp_path / "folder.png", force=True)
    refuses(SettingError, "--lossy", call, tmp_path / "a.jpg")
    refuses(SettingError, r"\.bmp", call, tmp_path / "a.bmp")
    refuses(SettingError, "without a suffix", call, tmp_path / "a")
    assert there.read_bytes() == b"mine"
    call(there, force=True)
    call(tmp_path / "a.jpg", lossy=True)


def test_the_source_is_never_the_output(tmp_path, random_pixels):
    path = tmp_path / "a.png"
    write_image(path, random_pixels())
    refuses(OutputError, "source", check_output, path, force=True, source=path)


def test_checking_leaves_nothing_behind(tmp_path):
    check_output(tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_folders_without_permission(tmp_path, monkeypatch):
    # Tests may run as root, whom no permission stops.
    def deny(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", deny)
    refuses(OutputError, "Permission denied", check_output, tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch, suffix, random_pixels):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"the version before")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    refuses(OutputError, "disk is full", write_image, path, random_pixels(), force=True, lossy=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"the version before"


def test_an_interrupted_write_leaves_nothing_behind(tmp_path, monkeypatch, random_pixels):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("histomend.image.writing.encode_png", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_image(tmp_path / "a.png", random_pixels())
    assert list(tmp_path.iterdir()) == []


def test_what_jpeg_cannot_hold(tmp_path, random_pixels):
    path = tmp_path / "a.jpg"
    refuses(SettingError, "16", write_image, path, random_pixels(dtype=np.uint16), lossy=True)
    alpha = random_pixels()[..., 0]
    refuses(
        SettingError, "transparency", write_image, path, random_pixels(), alpha=alpha, lossy=True
    )
    wide = np.zeros((64, 65_501, 3), np.uint8)
    refuses(SettingError, "65500", write_image, path, wide, lossy=True)
    assert not path.exists()


def test_arrays_that_are_no_rgb_image(tmp_path, random_pixels):
    path = tmp_path / "a.png"
    refuses(UnsupportedImageError, "uint8", write_image, path, random_pixels().astype(float))
    refuses(
        UnsupportedImageError,
        "alpha",
        write_image,
        path,
        random_pixels(),
        alpha=random_pixels(64)[..., 0],
    )


def test_new_files_have_the_users_usual_permissions(tmp_path, random_pixels):
    old = os.umask(0o027)
    try:
        write_image(tmp_path / "a.png", random_pixels())
    finally:
        os.umask(old)
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640
