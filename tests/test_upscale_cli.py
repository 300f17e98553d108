"""`histomend upscale` as users meet it: files in, files out, one message per error."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.cli.upscale import COLOURS
from histomend.image import read_image, write_image
from histomend.methods.colour import COLOUR_FIXES


def run(*words: object) -> Result:
    return CliRunner().invoke(app, ["upscale", *(str(word) for word in words)])


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tissue: np.ndarray) -> Path:
    monkeypatch.chdir(tmp_path)
    write_image("in.png", tissue[:64, :72], mpp=1.0)
    return tmp_path


def test_an_image_comes_out_larger_with_pixel_size_record_and_control(
    untrained_upscaler: Path,
) -> None:
    words = ("--target-mpp", 0.5, "--control-out", "out/control.tif", "--json")
    result = run("in.png", "-o", "out/new.tif", "--model", untrained_upscaler, *words)
    assert result.exit_code == 0, result.stderr
    (record,) = json.loads(result.stdout)
    image = read_image("out/new.tif")
    assert (image.pixels.shape, image.mpp) == ((128, 144, 3), 0.5)
    assert read_image("out/control.tif").pixels.shape == (128, 144, 3)
    written = json.loads(Path("out/new.ledger.json").read_text())
    assert (written["figures"]["scale"], written["nfe"], record["nfe"]) == (2.0, 2, 2)
    assert written["model"]["restoration_sha256"]
    assert "not for diagnosis" in written["note"]
    again = run("in.png", "-o", "out/new.tif", "--model", untrained_upscaler, "--scale", 2)
    assert again.exit_code == 2
    assert "exists already" in flat(again.stderr)


def test_a_folder_goes_on_after_a_file_that_fails(tissue: np.ndarray) -> None:
    Path("in").mkdir()
    write_image("in/a.png", tissue[:64, :64])
    PIL.Image.fromarray(tissue[:64, :64, 0]).save("in/b.png")
    write_image("in/c.png", tissue[:20, :64])
    write_image("in/d.png", tissue[:32, :64])
    result = run("in", "-o", "out", "--scale", 2, "--method", "lanczos")
    assert result.exit_code == 2
    assert "2 of 4 files" in flat(result.stderr)
    assert sorted(path.name for path in Path("out").glob("*.png")) == ["a.png", "d.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--scale", 9), "between 1 and 8"),
        (("--scale", 0.9), "between 1 and 8"),
        ((), "--scale S or --target-mpp X"),
        (("--scale", 2, "--target-mpp", 1), "not both"),
        (("--scale", 2, "--method", "magic"), "'magic'"),
        (("--scale", 2, "--method", "published"), "--model FILE"),
        (("--scale", 2, "--method", "rrdb-gan"), "histomend train rrdb-gan"),
        (("--scale", 2, "--control-out", "c.png"), "no control latent"),
        (("--scale", 2, "--control-out", "new.png"), "the output itself"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(words: tuple[object, ...], says: str) -> None:
    result = run("in.png", "-o", "new.png", "--method", "bicubic", *words)
    assert result.exit_code == 2
    assert says in flat(result.stderr)
    assert not Path("new.png").exists()


def test_without_a_model_the_bundled_one_is_taken() -> None:
    result = run("in.png", "-o", "new.png", "--scale", 2, "--steps", 1)
    assert result.exit_code == 0, result.stderr
    written = json.loads(Path("new.ledger.json").read_text())
    assert written["model"]["name"] == "histo-diffusion-he"


def test_the_colour_fixes_of_the_verb_are_those_that_there_are() -> None:
    assert set(COLOURS) == set(COLOUR_FIXES)
