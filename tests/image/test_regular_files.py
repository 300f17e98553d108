"""Only regular files are read: nothing waits for ever, and the machine's reasons are named."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from histomend.errors import HistomendError, LedgerError, MaskError, UnreadableImageError
from histomend.image import read_image
from histomend.image.regular_files import check_regular_file, ends_with, read_at_most
from histomend.image.stack_files import read_stack
from histomend.image.tile_reading import read_tile
from histomend.masks import load_mask, masks_beside
from histomend.slides.copying import open_slide_file
from histomend.slides.scans import open_scan
from histomend.slides.undo import holds_source


def scan(path):
    with open_scan(path, source_mpp=0.5):
        pass


READERS = {
    "image": read_image,
    "stack": read_stack,
    "tile": read_tile,
    "scan": scan,
    "mask": lambda path: load_mask(path, (90, 120)),
}


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def circle(path):
    path.symlink_to(path)


def dangling(path):
    path.symlink_to(path.with_name("gone"))


def listening(path):
    # A name of a socket has at most 108 bytes.
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(path.parent)
        try:
            server.bind(path.name)
        finally:
            os.chdir(before)


MADE = {
    pipe: "is a pipe",
    endless: "is a device",
    circle: "leads back to itself",
    dangling: "no such file",
    listening: "is a socket",
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".svs", ".mrxs", ".geojson"])
@pytest.mark.parametrize(("make", "word"), MADE.items())
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path, make, word, suffix, reader):
    path = tmp_path / f"odd{suffix}"
    make(path)
    with pytest.raises(HistomendError, match=word) as caught:
        READERS[reader](path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("suffix", [".png", ".geojson"])
def test_names_and_folders_that_the_machine_refuses(tmp_path, monkeypatch, suffix, reader):
    with pytest.raises(HistomendError, match="name is too long"):
        READERS[reader](tmp_path / ("a" * 300 + suffix))
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(HistomendError, match="no such file"):
        READERS[reader](file / f"below{suffix}")
    with pytest.raises(HistomendError, match="null"):
        READERS[reader](tmp_path / f"a\0b{suffix}")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", denied)  # a folder that may not be entered, for any user
    with pytest.raises(HistomendError, match=r"Permission denied.*folders on the way"):
        READERS[reader](tmp_path / f"a{suffix}")


@pytest.mark.parametrize(("make", "word"), MADE.items())
def test_no_end_is_looked_for_in_what_never_ends(tmp_path, make, word):
    path = tmp_path / "odd.svs"
    make(path)
    assert not holds_source(path)
    with pytest.raises(UnreadableImageError, match=word):
        open_slide_file(path)
    (tmp_path / "short").write_bytes(b"d")
    assert ends_with(tmp_path / "short", b"d")
    assert not ends_with(tmp_path / "short", b"the end")


def test_every_room_raises_its_own_kind(tmp_path):
    for kind in (UnreadableImageError, MaskError, LedgerError):
        with pytest.raises(kind, match="not a ledger file"):
            check_regular_file(tmp_path, kind, "a ledger")
    path = tmp_path / "a.json"
    path.write_text("0123456789")
    assert check_regular_file(path) == 10
    assert read_at_most(path, 10, LedgerError) == b"0123456789"
    with pytest.raises(LedgerError, match="at most"):
        read_at_most(path, 9, LedgerError, "a ledger")


def test_names_that_are_no_text_are_read_and_stay_out_of_notices(tmp_path):
    """Notices are kept in ledgers, which are UTF-8."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gef\xe4\xdf.geojson"))
    square = [[10, 10], [60, 10], [60, 60], [10, 60]]
    shapes = [
        {"type": "Polygon", "coordinates": [square]},
        {"type": "Point", "coordinates": [1, 1]},
    ]
    try:
        path.write_text(json.dumps(shapes))
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    (notice,) = load_mask(path, (90, 120)).notices
    notice.encode("utf-8")
    picture = path.with_suffix(".png")
    PIL.Image.fromarray(np.arange(6400, dtype=np.uint8).reshape(80, 80)).save(picture)
    assert read_stack(picture).values.shape == (1, 80, 80, 1)


def test_masks_are_found_beside_their_image(tmp_path):
    image = tmp_path / "a.png"
    names = ["a.mask.png", "a_mask.png", "a-mask.png", "a.png_mask.png", "a_mask.geojson"]
    for name in [*names, "b_mask.png", "a.uncertainty.png", "amask.png"]:
        (tmp_path / name).touch()
    assert sorted(path.name for path in masks_beside(image)) == sorted(names)
    assert masks_beside(tmp_path / ("x" * 300 + ".png")) == []
    assert masks_beside(tmp_path / "a_mask.png") == []
