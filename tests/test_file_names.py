"""Names of files that are not UTF-8, or move a terminal's cursor: every verb works with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.errors import display_name, utf8
from histomend.image import write_image
from histomend.masks import write_mask

ANY_TILE = "--tissue 0.01 --sharpness 0.01 --artifacts 0.99"
SHORT = "--crop 64 --batch 1 --device cpu"
NAME = os.fsdecode(b"gef\xe4\xdf\n\x1b[31m")


def tissue(seed: int) -> np.ndarray:
    return np.ascontiguousarray(skimage.data.immunohistochemistry()[128 * seed :][:128, :128])


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / NAME
    for place in (folder, folder / f"in{NAME}", folder / f"truth{NAME}"):
        place.mkdir()
        for number in range(2):
            write_image(place / f"{number}{NAME}.png", tissue(number), mpp=0.5)
    mask = np.zeros((128, 128), bool)
    mask[30:50, 30:60] = True
    write_mask(folder / f"m{NAME}.png", mask)
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such names")
@pytest.mark.parametrize(
    "lines",
    [
        [
            "restore 0#.png --mask m#.png -o r#.png --steps 1",
            "verify r#.png --source 0#.png --json",
            "show r#.png -o s#.png --provenance",
            "undo r#.png -o u#.tif",
        ],
        [
            "simulate 0#.png -o s#.ome.tif --kind ink --area 0.1",
            "denoise s#.ome.tif -o d#.ome.tif --method median --t-map t#.tif",
            "upscale d#.ome.tif -o l#.ome.tif --method bicubic --scale 2 --json",
            "detect s#.ome.tif -o d#.geojson --mpp 0.5",
            "detect in# -o found# --geojson --mpp 0.5 --summary s#.csv",
            "auto in# -o auto# --dry-run",
        ],
        ["evaluate in# truth# --csv e#.csv --html e#.html"],
        [
            f"tiles 0#.png -o T# --mpp 0.5 --size 64 {ANY_TILE}",
            f"tiles 0#.png -o T# --mpp 0.5 --size 64 {ANY_TILE} --resume",
            f"train calibrator --data T# -o C# {SHORT} --steps 1",
            f"train calibrator --data T# -o C# {SHORT} --steps 2 --resume",
        ],
    ],
)
def test_names_that_are_not_utf8_go_through_every_verb(work: Path, lines: list[str]) -> None:
    """`#` stands for the name."""
    for line in lines:
        first, *words = line.split()
        places = [f"{NAME}/{w.replace('#', NAME)}" if "#" in w else w for w in words]
        result = CliRunner().invoke(app, [first, *places])
        assert result.exit_code == 0, (line, result.output, result.exception)
        assert "\x1b" not in result.output


def test_any_text_can_be_written() -> None:
    assert utf8("µm\n\x1b 组织") == "µm\n\x1b 组织".encode()
    assert utf8("a\udce4\ud800") == "a\ufffd\ufffd".encode()
    assert display_name("a\ud800\x1b") == "a\ufffd\\x1b"
