"""`histomend adapt`: a model fitted to the clean tissue of the images it is to restore."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import histomend
from histomend.cli.app import app
from histomend.curate import adapting
from histomend.errors import InputError, ModelMismatchError, OutputError
from histomend.models import ModelConfig, load_model, read_config, save_model
from histomend.networks.build import ARCHS, Arch
from histomend.networks.conv_unet import ConvUNet


def flat(text: str) -> str:
    return " ".join(text.split())


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def stained(seed: int, side: int = 256) -> np.ndarray:
    """Return something with the colours and the fine contrast of H&E, (side, side, 3)."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal((side, side)).astype(np.float32), (0, 0), 0.7)
    density = np.array([0.25, 0.6, 0.3]) * (1 + 0.9 * grain[..., None]).clip(0.2, 3)
    return np.rint(250 * np.exp(-density)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a tiny model to start from."""
    tiny = {"channels": 32, "multipliers": (2, 2), "blocks": 1, "patch": 4}
    monkeypatch.setitem(ARCHS, "tiny", Arch(ConvUNet, tiny, "tests"))
    config = ModelConfig("artifusion", "tiny", prediction="x0", schedule="cosine", context=True)
    torch.manual_seed(0)
    save_model(tmp_path / "base", config.network().state_dict(), config)
    return tmp_path / "base"


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    path = tmp_path / "slide.png"
    Image.fromarray(stained(1)).save(path, dpi=(50_800, 50_800))
    return path


@pytest.fixture(autouse=True)
def _nothing_is_an_artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    # The detector knows tissue, not this noise; what it finds is left out is tested below.
    monkeypatch.setattr(adapting, "_is_sound", _masked_only)
    # Half the side, a quarter of the time.
    monkeypatch.setattr(adapting, "SIDES", (128, 64))
    monkeypatch.setattr(adapting, "CROP", 64)


def _masked_only(folder: Path, row: dict[str, Any], report: dict[str, Any], mask: Any) -> bool:
    return mask is None or not mask.read((row["x"], row["y"], 64, 64)).any()


def test_a_model_learns_the_image_and_can_be_used(tmp_path: Path, base: Path, slide: Path) -> None:
    out = tmp_path / "mine"
    done = run(
        "adapt", slide, "-o", out, "--model", base, "--steps", 12, "--device", "cpu", "--json"
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["tiles"] == 4
    assert told["held_out_error"]["after"] < told["held_out_error"]["before"]
    config = read_config(out)
    assert config.card["adapted_to"] == ["slide.png"]
    assert config.sha256 != read_config(base).sha256
    mask = np.zeros((256, 256), bool)
    mask[100:120, 100:140] = True
    model = load_model(out, "cpu")
    restored = histomend.restore(stained(1), mask, model=model, preset="generate", steps=2)
    assert np.array_equal(restored.pixels[~mask], stained(1)[~mask])
    # Nothing else stays, neither tiles nor states.
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "mine", "slide.png"]


def test_the_same_seed_and_steps_give_the_same_model(
    tmp_path: Path, base: Path, slide: Path
) -> None:
    made = [
        histomend.adapt(slide, tmp_path / name, model=base, steps=2, minutes=None, seed=3).model
        for name in ("one", "two")
    ]
    assert read_config(made[0]).sha256 == read_config(made[1]).sha256


def test_nothing_is_learned_from_what_is_masked(tmp_path: Path, base: Path) -> None:
    slide = tmp_path / "big.png"
    Image.fromarray(stained(2, 512)).save(slide, dpi=(50_800, 50_800))
    mask = np.zeros((512, 512), np.uint8)
    mask[:150, :150] = 255
    Image.fromarray(mask).save(tmp_path / "big.mask.png")
    done = histomend.adapt(slide, tmp_path / "out", model=base, steps=1, minutes=None)
    # Of 16 tiles of 128 px four touch the mask.
    assert done.tiles == 12


def test_tiles_with_an_artifact_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    ink = stained(3, 256)
    cv2.circle(ink, (128, 128), 60, (10, 60, 40), -1)
    rows = []
    for name, pixels in (("ink.png", ink), ("sound.png", np.full((256, 256, 3), 240, np.uint8))):
        Image.fromarray(pixels).save(tmp_path / name)
        rows.append({"file": name, "x": 0, "y": 0, "mpp": 0.5})
    sound = [adapting._is_sound(tmp_path, row, {"source_mpp": 0.5}, None) for row in rows]
    assert sound == [False, True]


def test_an_image_without_tissue_teaches_nothing(tmp_path: Path, base: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((512, 512, 3), 244, np.uint8)).save(blank)
    done = run("adapt", blank, "-o", tmp_path / "new" / "out", "--model", base, "--steps", 1)
    assert done.exit_code == 2
    assert "no tissue was found" in flat(done.stderr)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["base", "blank.png"]


def test_too_little_tissue_is_told_with_what_is_missing(tmp_path: Path, base: Path) -> None:
    small = tmp_path / "small.png"
    Image.fromarray(stained(4, 100)).save(small, dpi=(50_800, 50_800))
    with pytest.raises(InputError, match="too little clean tissue to learn from: 1 tiles of 64"):
        histomend.adapt(small, tmp_path / "out", model=base, steps=1)
    assert not (tmp_path / "out").exists()


def test_images_without_tissue_among_others_are_named(
    tmp_path: Path, base: Path, slide: Path
) -> None:
    blank = tmp_path / "blank.png"
    Image.fromarray(np.full((512, 512, 3), 244, np.uint8)).save(blank)
    done = histomend.adapt([slide, blank], tmp_path / "out", model=base, steps=1, minutes=None)
    assert done.images == (slide,)
    assert list(done.passed_over) == [str(blank)]


def test_a_folder_that_holds_something_is_not_touched(
    tmp_path: Path, base: Path, slide: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="nothing in it is replaced"):
        histomend.adapt(slide, tmp_path / "out", model=base, steps=1)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("model", ["rscd-he", "latent-artifusion-he"])
def test_other_models_are_refused_by_name(tmp_path: Path, slide: Path, model: str) -> None:
    with pytest.raises(ModelMismatchError, match="what is fitted to images here is one of"):
        histomend.adapt(slide, tmp_path / "out", model=model, steps=1)


def test_one_mask_is_not_for_several_images(tmp_path: Path, base: Path, slide: Path) -> None:
    done = run("adapt", slide, slide, "-o", tmp_path / "out", "--mask", slide, "--model", base)
    assert done.exit_code == 2
    assert "Put the mask of each beside it" in flat(done.stderr)


def test_held_out_tiles_are_spread_and_never_trained_on(
    tmp_path: Path, base: Path, slide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[dict[str, str]]] = []

    def look(tiles: Path, *_: Any) -> Any:
        with (tiles / "manifest.csv").open(newline="") as file:
            seen.append(list(csv.DictReader(file)))
        raise InputError("enough")

    monkeypatch.setattr(adapting, "_train", look)
    with pytest.raises(InputError, match="enough"):
        histomend.adapt(slide, tmp_path / "out", model=base, steps=1)
    assert [row["split"] for row in seen[0]] == ["train", "train", "val", "train"]
