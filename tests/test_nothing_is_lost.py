"""The verbs never replace what they read, and pair each image with its own record."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.image import read_image, write_image
from histomend.ledger import Record, read_described, verify
from histomend.masks import write_mask


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def field(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 220, (96, 96, 3), np.uint8)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.tif", "c.mask.png", "d.t-map.tif"):
        write_image(tmp_path / name, field())
    mask = np.zeros((96, 96), bool)
    mask[30:50, 30:60] = True
    write_mask(tmp_path / "m.png", mask)
    return tmp_path


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "words",
    [
        "detect a.png -o a.png",
        "detect . -o .",
        "denoise a.png -o a.png --method median",
        "denoise b.tif -o new.tif --method median --t-map b.tif",
        "denoise d.t-map.tif -o d.tif --method median",
        "denoise a.png b.tif -o . --method median",
        "restore a.png --mask m.png -o m.png",
        "restore a.png --mask m.png -o ./a.png",
        "restore c.mask.png --detect --max-share 1 -o c.png",
        "simulate c.mask.png -o c.png --kind fold",
        "simulate a.png c.mask.png -o . --kind fold",
        "upscale a.png -o a.png --method bicubic --scale 2",
        "show a.png -o a.png",
    ],
)
@pytest.mark.parametrize("more", [[], ["--force"]])
def test_no_file_that_is_read_is_replaced(work: Path, words: str, more: list[str]) -> None:
    before = hashes(work)
    result = run(*words.split(), *more)
    assert result.exit_code == 2, result.output
    assert hashes(work) == before


def pair_of(image: Path) -> bool:
    """Return whether an image is what the record beside it says."""
    record = Record.read(image.with_name(f"{image.stem}.ledger.json"))
    return bool(verify(record, read_described(record, image)).ok)


def test_two_images_of_one_stem_can_both_be_verified(work: Path) -> None:
    (work / "in").mkdir()
    write_image(work / "in" / "x.png", field(1))
    write_image(work / "in" / "x.tif", field(2))
    result = run("denoise", "in", "-o", "out", "--method", "median")
    assert result.exit_code == 0, result.output
    assert {path.name for path in (work / "out").glob("*.json")} == {
        "x.png.ledger.json",
        "x.tif.ledger.json",
    }
    assert run("verify", "out/x.png", "out/x.tif").exit_code == 0


LIMITED = """
import resource, sys
from histomend.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = ["histomend", *sys.argv[2:]]
main()
"""


def test_a_limit_on_files_leaves_the_pair_before(work: Path) -> None:
    words = ["denoise", "a.png", "-o", "out/r.png", "--method", "median"]
    assert run(*words).exit_code == 0
    assert pair_of(work / "out" / "r.png")
    before = hashes(work)
    write_image(work / "a.png", field(9), force=True)
    before["a.png"] = hashes(work)["a.png"]
    source = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, "6000", *words, "--force"],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": source},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "larger than this disk" in done.stderr
    assert hashes(work) == before
    assert not any(path.name.startswith(".") for path in work.rglob("*"))


def test_what_a_file_cannot_hold_is_refused_before_anything_is_computed(work: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 60_000, (96, 96, 3), np.uint16)
    write_image(work / "deep.tif", deep)
    kept: Any = np.full((96, 96), 255, np.uint8)
    write_image(work / "clear.png", field(), alpha=kept)
    before = hashes(work)
    for words in (
        "restore deep.tif --mask m.png -o new.jpg --lossy",
        "restore clear.png --mask m.png -o new.jpg --lossy",
        "upscale deep.tif -o new.jpg --lossy --scale 2 --method bicubic",
        "denoise deep.tif -o new.jpg --lossy --method median",
        "denoise a.png -o new.bmp --method median",
    ):
        result = run(*words.split(), "--dry-run") if ".jpg" in words else run(*words.split())
        assert result.exit_code == 2, words
        assert "JPEG" in result.stderr or ".bmp" in result.stderr
    assert hashes(work) == before


def test_a_refused_input_leaves_no_new_folder(work: Path) -> None:
    (work / "bad.png").write_bytes(b"no image")
    for words in (
        "restore bad.png --mask m.png -o new/dir/o.png",
        "denoise bad.png -o new/dir/o.png --method median",
        "detect bad.png -o new/dir/o.png",
        "simulate bad.png -o new/dir/o.png --kind fold",
        "convert calibrator bad.png -o new/dir",
        "undo bad.png -o new/dir/o.png",
        "upscale bad.png -o new/dir/o.png --method bicubic --scale 2",
    ):
        assert run(*words.split()).exit_code == 2, words
        assert not (work / "new").exists(), words


def test_no_folder_is_made_only_to_be_left_again(work: Path) -> None:
    before = hashes(work)
    for words in (
        "restore a.png --mask m.png -o none/../o.png --steps 1",
        "denoise a.png -o none/../o.png --method median",
        "detect a.png -o new/none/../o.png",
        "simulate a.png -o none/../../none/o.png --kind fold",
        "tiles a.png -o none/../T --mpp 0.5 --size 64 --source-mpp 0.5",
        "train calibrator --data . -o none/../run --steps 1 --crop 64 --batch 1 --device cpu",
    ):
        result = run(*words.split())
        assert result.exit_code == 2, (words, result.output)
        assert "there is no folder" in result.stderr.replace("\n", " "), result.stderr
        assert not (work / "none").exists(), words
        assert not (work / "new").exists(), words
    assert hashes(work) == before


def test_an_earlier_kill_is_finished_by_whoever_looks_next(work: Path) -> None:
    words = ["denoise", "a.png", "-o", "r.png", "--method", "median"]
    assert run(*words).exit_code == 0
    old = read_image("r.png").pixels
    shutil.copytree(work, work / "later")
    write_image(work / "later" / "a.png", field(5), force=True)
    os.chdir("later")
    assert run(*words, "--force").exit_code == 0
    os.chdir("..")
    # As a kill leaves it: the record of the later call, and its image prepared beside it.
    stage = work / ".histomend.part" / "token"
    (stage / "new").mkdir(parents=True)
    shutil.copy("later/r.png", stage / "new" / "r.png")
    shutil.copy("later/r.ledger.json", "r.ledger.json")
    (stage / "journal.json").write_text(json.dumps(["r.ledger.json", "r.png"]))
    result = run("verify", "r.png")
    assert result.exit_code == 0, result.output
    assert (read_image("r.png").pixels != old).any()
    assert not (work / ".histomend.part").exists()
