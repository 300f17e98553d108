"""Folders to train on and to resume that are damaged: a named error, and no trace."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from histomend.errors import OutputError, TrainingError
from histomend.image import write_image
from histomend.image.tile_reading import tile_size
from histomend.train.data import _listed, _usable
from histomend.train.packed import packing


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), np.uint8)
    for number in range(2):
        write_image(tmp_path / f"t{number}.png", pixels)
    return tmp_path


@pytest.mark.parametrize(
    "manifest",
    [
        "file,slide\nt0.png,\xe4\n".encode("latin-1"),
        "file,slide\nt0.png,a\n".encode("utf-16"),
        b"file,slide\nt0.png," + b"x" * 140_000,
        b"name\nt0.png\n",
        b"",
    ],
)
def test_manifests_that_are_no_table_are_named(tiles: Path, manifest: bytes) -> None:
    (tiles / "manifest.csv").write_bytes(manifest)
    with pytest.raises(TrainingError, match=r"manifest\.csv"):
        _listed(tiles, grey=False, split=None)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_mark_at_the_beginning_of_a_manifest_is_passed_over(tiles: Path, mark: str) -> None:
    text = f"{mark}file,slide,split\nt0.png,a,train\nt1.png,b,val\n"
    (tiles / "manifest.csv").write_text(text, encoding="utf-8")
    assert _listed(tiles, grey=False, split="val") == ([tiles / "t1.png"], ["b"])


def test_tiles_that_are_no_files_are_named(tiles: Path) -> None:
    os.mkfifo(tiles / "pipe.png")
    (tiles / "gone.png").symlink_to("nowhere")
    for name, words in (("pipe.png", "is a pipe"), ("gone.png", "there is no such file")):
        with pytest.raises(TrainingError, match=f"{name}.*{words}"):
            _usable(tiles / name, tile_size)


def test_a_full_disk_while_packing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with (
        pytest.raises(OutputError, match="the disk is full"),
        packing(tmp_path / "new" / "a.npy", (4, 64, 64, 3), np.uint8),
    ):
        pass
    assert not any(tmp_path.iterdir())
