"""Jobs that are killed after the slide is in place: the next call sees that all is done."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend import denoise_slide, restore_slide
from histomend.errors import OutputError
from histomend.jobs import slide_fields, slide_run
from histomend.jobs.journal import journal_of
from histomend.masks import write_mask
from histomend.models import load_model


class KilledError(BaseException):
    """Stands for the end of a process."""


@pytest.mark.parametrize("verb", ["restore", "denoise"])
def test_a_kill_between_any_two_steps_of_clearing_up_costs_nothing(
    make_slide: Any, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    slide, out = make_slide(tmp_path / "slide.svs"), tmp_path / "out.tif"
    mask = np.zeros((420, 500), bool)
    mask[20:32, 20:35] = True
    write_mask(tmp_path / "mask.geojson", mask)
    model = load_model(untrained, "cpu")

    def call() -> Any:
        if verb == "denoise":
            return denoise_slide(slide, out, method="median", device="cpu")
        options: dict[str, Any] = {"preset": "generate", "steps": 1, "device": "cpu"}
        return restore_slide(slide, out, tmp_path / "mask.geojson", model=model, **options)

    steps = 0
    real = {name: getattr(Path, name) for name in ("unlink", "touch")}
    left = -1

    def killed(name: str) -> Any:
        def step(self: Path, *more: Any, **options: Any) -> Any:
            nonlocal steps
            if self.parent == journal_of(out) and out.exists() and self.suffix != ".part":
                if left >= 0 and steps >= left:
                    raise KilledError
                steps += 1
            return real[name](self, *more, **options)

        return step

    for name in real:
        monkeypatch.setattr(Path, name, killed(name))
    call()
    whole, record, number = out.read_bytes(), (tmp_path / "out.ledger.json").read_bytes(), steps
    assert number >= 6  # marked, the parts, and what is kept to the last
    assert not journal_of(out).exists()
    told = (tmp_path / "out.ledger.json").stat().st_mtime_ns
    for left in range(1, number) if verb == "restore" else (2, number - 1):
        out.unlink()
        (tmp_path / "out.ledger.json").unlink()
        steps = 0
        with pytest.raises(KilledError):
            call()
        steps, before, left = 0, left, -1
        told = (tmp_path / "out.ledger.json").stat().st_mtime_ns
        with monkeypatch.context() as patch:
            for module, name in ((slide_run, "restore_part"), (slide_fields, "_worked_on")):
                patch.setattr(module, name, None)  # nothing is computed once more
            if before == number - 1:  # nothing is left but the folder: that is no job any more
                shutil.rmtree(journal_of(out))
                with pytest.raises(OutputError, match="exists already"):
                    call()
                assert not journal_of(out).exists()  # what is refused leaves nothing behind
            else:
                call()
                assert not journal_of(out).exists()
        assert out.read_bytes() == whole
        assert (tmp_path / "out.ledger.json").stat().st_mtime_ns == told
        assert len(record) == len((tmp_path / "out.ledger.json").read_bytes())
