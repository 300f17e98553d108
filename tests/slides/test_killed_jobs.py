"""Jobs on slides that are killed go on where they were; `tests/attack/kill_slides.py` does more."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.masks import write_mask


def _attack() -> Any:
    path = Path(__file__).parents[1] / "attack" / "kill_slides.py"
    spec = importlib.util.spec_from_file_location("kill_slides", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_killed_jobs_end_in_the_same_bytes(
    make_slide: Any, untrained: Path, tmp_path: Path
) -> None:
    slide = make_slide(tmp_path / "slide.svs")
    mask = np.zeros((420, 500), bool)
    for x in (20, 320):
        for y in (20, 220):
            mask[y : y + 12, x : x + 15] = True
    write_mask(tmp_path / "mask.geojson", mask)
    wish: dict[str, Any] = {"slide": str(slide), "mask": str(tmp_path / "mask.geojson")}
    wish |= {"model": str(untrained), "device": "cpu", "preset": "generate", "steps": 1}
    (tmp_path / "trials").mkdir()
    before = slide.read_bytes()
    found = list(_attack().trials(3, wish, tmp_path / "trials", seed=1, block_px=128))
    assert sum(kills for _, kills in found) == 3
    assert slide.read_bytes() == before
