from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from histomend.errors import ModelMismatchError, ModelNotFoundError, SettingError
from histomend.evaluate.rows import classical_rows, damaged_row, model_row, translation_rows
from histomend.models import ModelConfig, save_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def tissue(seed: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.standard_normal((size, size)), 2)
    pixels = np.array([205, 150, 195]) + 25 * (noise / noise.std())[..., None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a small network that has learned nothing."""
    folder = tmp_path_factory.mktemp("model")
    config = ModelConfig("artifusion", "small-unet", window=128, fast_steps=2)
    save_model(folder, config.network().state_dict(), config)
    return folder


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a generator of CycleGAN that has learned nothing."""
    folder = tmp_path_factory.mktemp("generator")
    config = ModelConfig("cyclegan", "small", context=False)
    save_model(folder, config.network().state_dict(), config)
    return folder


def test_every_row_keeps_what_lies_outside_the_mask(model: Path, untrained_latent: Path) -> None:
    pixels = tissue(0, 64)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 16:44] = True
    models = [model_row("ours", folder, device="cpu") for folder in (model, untrained_latent)]
    for row in (damaged_row(), *classical_rows(), *models):
        restored = row.restore(pixels, mask, 7)
        assert restored.dtype == np.uint8
        assert np.array_equal(restored[~mask], pixels[~mask])
        json.dumps(dict(row.settings))


def test_cyclegan_has_a_row_of_all_its_output_and_one_inside_the_mask(
    model: Path, generator: Path
) -> None:
    pixels = tissue(0, 64)
    mask = np.zeros((64, 64), bool)
    mask[20:40, 16:44] = True
    whole, pasted = translation_rows("CycleGAN (#1)", generator, device="cpu")
    assert (whole.name, pasted.name) == ("CycleGAN (#1)", "CycleGAN (#1), in the mask")
    assert whole.calls == pasted.calls == 1
    assert whole.model == pasted.model != ""
    output, inside = (row.restore(pixels, mask, 7) for row in (whole, pasted))
    assert output.dtype == np.uint8
    assert (output[~mask] != pixels[~mask]).any()
    assert np.array_equal(inside[~mask], pixels[~mask])
    assert np.array_equal(inside[mask], output[mask])
    with pytest.raises(ModelMismatchError, match="for artifusion, and cyclegan"):
        translation_rows("CycleGAN", model, device="cpu")


def test_a_model_row_says_what_its_figures_depend_on(model: Path) -> None:
    row = model_row("ours", model, device="cpu")
    assert row.calls == 2
    assert len(row.model) == 64
    assert row.settings["preset"] == "generate"
    assert row.settings["device"] == "cpu"
    longer = model_row("ours", model, steps=5, sampler="dpmpp_2m", device="cpu")
    assert longer.calls == 5
    assert longer.settings != row.settings
    assert model_row("ours", model, preset="author_code", device="cpu").calls == 2410


def test_unknown_models_and_presets_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        model_row("ours", tmp_path / "none", device="cpu")
    with pytest.raises(SettingError, match="slow"):
        model_row("ours", model, preset="slow", device="cpu")


def test_the_table_script_writes_its_sections(
    generator: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sklearn")
    lines = ["file,slide,mpp"]
    for number in range(5):
        Image.fromarray(tissue(number, 100)).save(tmp_path / f"t{number}.png")
        lines.append(f"t{number}.png,slide{number % 2},0.5")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    page = tmp_path / "results.md"
    page.write_text("# Results\n\nBy hand.\n")
    arguments = ["--data", tmp_path, "--rows", "telea", "--per-tile", 1, "--size", 96]
    arguments += ["--cyclegan", f"#2={generator}"]
    arguments += ["--records", tmp_path / "r.jsonl", "--out", page]
    monkeypatch.setattr(sys, "argv", ["artifusion_table.py", *map(str, arguments)])
    runpy.run_path(str(BENCHMARKS / "artifusion_table.py"), run_name="__main__")
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Results\n\nBy hand.\n")
    for section in ("fidelity", "as-printed", "texture", "realism"):
        assert f"<!-- begin {section} -->" in text
    assert "96×96 crops of clean tissue of 2 slides" in text
    assert text.count("| Telea (5) |") == 4
    for row in ("CycleGAN (#2) (5)", "CycleGAN (#2), in the mask (5)"):
        assert text.count(f"| {row} |") == 4
    assert "| paper: ArtiFusion (full) | 48.08 | 0.9860 | 55.43 |" in text
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 15
    assert capsys.readouterr().out.count(" dB\n") == 15
