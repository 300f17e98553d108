"""Whole slides denoised and enlarged, block by block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from histomend import denoise, read_image
from histomend.cli.app import app
from histomend.errors import JobError, SettingError
from histomend.jobs import slide_fields
from histomend.jobs.journal import journal_of
from histomend.jobs.slide_fields import execute_slide_field
from histomend.methods.slides import decide_slide_field
from histomend.tiles import slide_blocks


def run(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def slide(make_slide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(slide_blocks, "BLOCK_PX", 192)
    return make_slide(tmp_path / "slide.svs")


def pixels_of(path: Path) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        return np.asarray(file.pages[0].asarray())


def test_a_denoised_slide_is_the_image_denoised(
    slide: Path, tmp_path: Path, readers: dict[str, Any]
) -> None:
    """A median looks no further than what is read around a block: so the blocks are the whole."""
    out = tmp_path / "out.tif"
    done = run("denoise", slide, "-o", out, "--method", "median", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)[0]["output"] == str(out)
    expected = denoise(pixels_of(slide), method="median", mpp=0.5).pixels
    for name in ("openslide", "tifffile"):
        levels = readers[name](out)
        assert (levels[0] == expected).all()
        assert levels[0].shape == (420, 500, 3)
    assert b"not for diagnosis" in out.read_bytes()
    assert not journal_of(out).exists()
    checked = run("verify", out, "--source", slide)
    assert checked.exit_code == 0, checked.stdout
    assert run("undo", out, "-o", tmp_path / "back.svs").exit_code == 2


def test_an_enlarged_slide(slide: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    done = run("upscale", slide, "-o", out, "--method", "bicubic", "--scale", "2")
    assert done.exit_code == 0, done.stderr
    large = pixels_of(out)
    assert large.shape == (840, 1000, 3)
    small = cv2.resize(large, (500, 420), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - pixels_of(slide)).mean() < 3
    with tifffile.TiffFile(out) as file:
        assert 'PhysicalSizeX="0.25"' in file.ome_metadata
        assert len(file.series[0].levels) > 1


def test_it_goes_on_where_it_was(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(name: str, **more: Any) -> Any:
        wish = {"method": "median", "device": "cpu", **more}
        return decide_slide_field("denoise", slide, tmp_path / name, **wish)

    execute_slide_field(job("whole.tif"))
    done: list[str] = []
    real = slide_fields._worked_on

    def worked_on(*more: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(more[2].key)
        return real(*more)

    monkeypatch.setattr(slide_fields, "_worked_on", worked_on)
    with pytest.raises(KeyboardInterrupt):
        execute_slide_field(job("out.tif"))
    with pytest.raises(JobError, match="the seed was 0 and is 5"):
        execute_slide_field(job("out.tif", seed=5))
    monkeypatch.setattr(
        slide_fields, "_worked_on", lambda *more: done.append(more[2].key) or real(*more)
    )
    execute_slide_field(job("out.tif"))
    assert len(done) == len(set(done)) == len(job("out.tif").blocks.all())
    assert (tmp_path / "out.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()


def test_a_dry_run_and_what_does_not_fit(slide: Path, tmp_path: Path) -> None:
    words = ("-o", tmp_path / "o.tif", "--method", "median", "--dry-run", "--json")
    said = json.loads(run("denoise", slide, *words).stdout)[0]
    assert (said["width"], said["units"], said["written"]) == (500, 4, "pyramid")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slide.svs"]
    for scale in (None, 1.5, 1):
        with pytest.raises(SettingError, match="whole number"):
            decide_slide_field("upscale", slide, tmp_path / "o.tif", method="bicubic", scale=scale)
    with pytest.raises(SettingError, match="is written as"):
        decide_slide_field("denoise", slide, tmp_path / "o.svs", method="median")


def test_a_region_of_a_slide_is_an_image(slide: Path, tmp_path: Path) -> None:
    """Its whole was read first, which is refused: take a part, it said to who took one."""
    out = tmp_path / "part.tif"
    result = run("denoise", slide, "-o", out, "--method", "median", "--region", "100,50,96,80")
    assert result.exit_code == 0, result.stderr
    part = read_image(slide, region=(100, 50, 96, 80))
    np.testing.assert_array_equal(
        read_image(out).pixels, denoise(part.pixels, method="median").pixels
    )
