"""The section that says how well models of blur rank blur."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from histomend.evaluate.iqa import IqaConfig, save_iqa


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    module = importlib.import_module("iqa")
    monkeypatch.setattr(module, "DRAWS", 3)
    return module


def test_the_section_has_a_row_for_each_model_blur_and_slide(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    lines = ["file,slide"]
    for number, slide in enumerate(("colon-1", "colon-1", "liver-2")):
        Image.fromarray(rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)).save(
            tmp_path / f"{number}.png"
        )
        lines.append(f"{number}.png,{slide}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    config = IqaConfig("box", part_px=32)
    save_iqa(tmp_path / "model", config.network().state_dict(), config)
    page = tmp_path / "iqa.md"
    arguments = ["--iqa", tmp_path / "model", "--data", tmp_path, "--out", page]
    monkeypatch.setattr(sys, "argv", ["iqa.py", *map(str, arguments)])
    benchmark.main()
    text = page.read_text(encoding="utf-8")
    assert "3 tiles at eleven levels" in text
    for blur in ("box", "gaussian"):
        for slide in ("", ", colon-1", ", liver-2"):
            assert text.count(f"| own IQA (box) on {blur} blur{slide} |") == (1 if slide else 2)
        assert f"| variance of the Laplacian on {blur} blur | " in text
    assert "| true | 1.00 | 0.90 |" in text


def test_tiles_are_taken_evenly_from_all_slides(benchmark: ModuleType, tmp_path: Path) -> None:
    lines = ["file,slide"]
    for number in range(5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{number}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    found = benchmark.clean_fields(tmp_path, 3)
    assert [field.slide for field in found] == ["0", "2", "4"]
