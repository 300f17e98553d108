"""What cannot be appended to a slide is refused, and nothing is left of the try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histomend.errors import (
    JobError,
    MaskError,
    OutputError,
    RegionError,
    SettingError,
    UnsupportedImageError,
)
from histomend.slides.appended import AppendedSlide


def test_pieces_that_do_not_fit_are_refused(make_slide: Any, tmp_path: Path) -> None:
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    pixels, mask = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)
    with AppendedSlide(slide, target) as out:
        with pytest.raises(RegionError):
            out.put((496, 0, 8, 8), pixels, mask)
        with pytest.raises(MaskError):
            out.put((0, 0, 8, 8), pixels, mask[:4])
        with pytest.raises(MaskError):
            out.put((0, 0, 8, 8), pixels, mask.astype(np.uint8))
        with pytest.raises(UnsupportedImageError):
            out.put((0, 0, 8, 8), pixels.astype(np.uint16), mask)
        with pytest.raises(SettingError, match="description"):
            out.finish({"a|b": "c"})
    with pytest.raises(JobError, match="closed"):
        out.put((0, 0, 8, 8), pixels, mask)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.svs"]


def test_targets_are_checked_before_anything_is_done(make_slide: Any, tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "a.svs")
    for target, words in (
        (slide, "source"),
        (tmp_path, "folder"),
        (tmp_path / "none" / "out.svs", "does not exist"),
    ):
        with pytest.raises(OutputError, match=words):
            AppendedSlide(slide, target, force=True)
    other = tmp_path / "b.svs"
    other.write_bytes(b"kept")
    with pytest.raises(OutputError, match="--force"):
        AppendedSlide(slide, other)
    assert other.read_bytes() == b"kept"


def test_a_source_that_changes_stops_the_work(make_slide: Any, blob: Any, tmp_path: Path) -> None:
    slide, target = make_slide(tmp_path / "a.svs"), tmp_path / "out.svs"
    with AppendedSlide(slide, target) as out:
        out.put(*blob(out, 40, 40))
        with slide.open("ab") as file:
            file.write(b"more")
        with pytest.raises(JobError, match="changed"):
            out.finish()
    assert not target.exists()
