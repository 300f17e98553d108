"""`histomend denoise` as users meet it: files in, files out, one message per error."""

import json
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
from typer.testing import CliRunner, Result

from histomend.cli.app import app
from histomend.models import (
    CalibratorConfig,
    ModelConfig,
    fit_to_calibrator,
    save_calibrator,
    save_model,
)
from histomend.networks.build import CALIBRATED_ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def flat(text: str) -> str:
    return " ".join(text.split())


def saved(folder: Path, channels: int, t: float) -> Path:
    """Write a model whose calibrator always says `t`."""
    torch.manual_seed(0)
    calibrating = CalibratorConfig("small", channels)
    state = calibrating.network().state_dict()
    state["head.2.weight"].zero_()
    state["head.2.bias"].fill_(t / 100)
    save_calibrator(folder / "beside", state, calibrating)
    config = ModelConfig(
        "rscd", "tiny", "epsilon", channels=channels, context=False, highest_t=200, window=64,
        fast_steps=2,
    )  # fmt: skip
    config = fit_to_calibrator(config, folder / "beside")
    weights = config.network().state_dict()
    torch.nn.init.normal_(weights["head.weight"], 0, 0.1)
    save_model(folder / "model", weights, config, calibrator=folder / "beside")
    return folder / "model"


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings = {"channels": 32, "multipliers": (2,), "blocks": 1, "patch": 4, "local": True}
    monkeypatch.setitem(CALIBRATED_ARCHS, "tiny", Arch(ConvUNet, settings, "tests"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def field(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1000, 60000, shape).astype(np.uint16)


def test_a_two_channel_stack_comes_back_as_it_was_laid_out_with_map_and_record(work: Path) -> None:
    model = saved(work, 2, t=40)
    stack = field(3, 2, 72, 80)
    tifffile.imwrite("in.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    result = run("denoise", "in.tif", "-o", "out/new.tif", "--model", model, "--json")
    assert result.exit_code == 0, result.stderr
    (record,) = json.loads(result.stdout)
    restored = tifffile.imread("out/new.tif")
    assert (restored.shape, restored.dtype) == (stack.shape, stack.dtype)
    assert (restored != stack).any()
    t = tifffile.imread("out/new.t-map.tif")
    assert (t.shape, t.dtype) == ((3, 72, 80), np.float32)
    np.testing.assert_allclose(t, 40, atol=0.1)
    written = json.loads(Path("out/new.ledger.json").read_text())
    assert written["figures"]["t"]["mean"] == pytest.approx(40, abs=0.1)
    assert record["nfe_most"] == 2
    assert run("denoise", "in.tif", "-o", "out/new.tif", "--model", model).exit_code == 2


def test_a_clean_grey_png_stays_as_it_is(work: Path) -> None:
    model = saved(work, 1, t=-3)
    PIL.Image.fromarray((field(80, 90) // 257).astype(np.uint8)).save("in.png")
    words = ("denoise", "in.png", "-o", "new.png", "--model", model, "--t-map", "where/t.tif")
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    with PIL.Image.open("in.png") as source, PIL.Image.open("new.png") as restored:
        np.testing.assert_array_equal(np.asarray(restored), np.asarray(source))
    assert not tifffile.imread("where/t.tif").any()


def test_a_folder_goes_on_after_a_file_that_fails(work: Path) -> None:
    model = saved(work, 1, t=10)
    Path("in").mkdir()
    tifffile.imwrite("in/a.tif", field(80, 90))
    whole = Path("in/a.tif").read_bytes()
    Path("in/b.tif").write_bytes(whole[: len(whole) // 2])
    tifffile.imwrite("in/c.tif", field(80, 90))
    result = run("denoise", "in", "-o", "out", "--model", model)
    assert result.exit_code == 2
    assert "truncated" in flat(result.stderr)
    assert "1 of 3 files" in flat(result.stderr)
    assert sorted(path.name for path in Path("out").glob("?.tif")) == ["a.tif", "c.tif"]
    assert not list(Path("out").glob("b*"))
    again = run("denoise", "out", "-o", "twice", "--model", model)
    assert again.exit_code == 0, "maps in a folder are no images"


def pages_of_two_sizes(path: Path) -> None:
    with tifffile.TiffWriter(path) as file:
        file.write(field(80, 90), metadata=None)
        file.write(field(64, 90), metadata=None)


def nans(path: Path) -> None:
    values = np.full((80, 90), 0.5, np.float32)
    values[2, 3] = np.nan
    tifffile.imwrite(path, values)


BAD = {
    "channels": (lambda path: tifffile.imwrite(path, field(80, 90, 3), photometric="rgb"), "3 ch"),
    "constant": (lambda path: tifffile.imwrite(path, field(80, 90) * 0 + 7), "every value is 7"),
    "nan": (nans, "NaN or infinity at x=3, y=2"),
    "negative": (lambda path: tifffile.imwrite(path, np.eye(80, dtype=np.float32) - 1), "negative"),
    "floats": (lambda path: tifffile.imwrite(path, np.eye(80, dtype=np.float32) * 9), "range"),
    "mixed": (pages_of_two_sizes, "sizes"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence_and_nothing_is_written(
    case: str, work: Path
) -> None:
    write, words = BAD[case]
    write(work / "in.tif")
    result = run("denoise", "in.tif", "-o", "out/new.tif", "--model", saved(work, 1, t=10))
    assert result.exit_code == 2
    assert words in flat(result.stderr)
    assert "in.tif" in flat(result.stderr)
    assert not Path("out").exists()


def test_saturation_is_a_notice(work: Path) -> None:
    values = field(80, 90)
    values[:20] = 65535
    tifffile.imwrite("in.tif", values)
    result = run("denoise", "in.tif", "-o", "new.tif", "--model", saved(work, 1, t=10))
    assert result.exit_code == 0
    assert "saturated" in flat(result.stderr)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--method", "conditional"), "No model for conditional comes with Histomend"),
        (("--method", "magic"), "'magic'"),
        (("--t-map", "map.png"), "Name a .tif"),
    ],
    ids=str,
)
def test_options_that_do_not_fit(words: tuple[str, ...], says: str, work: Path) -> None:
    tifffile.imwrite("in.tif", field(80, 90))
    result = run("denoise", "in.tif", "-o", "new.tif", *words)
    assert result.exit_code == 2
    assert says in flat(result.stderr)
