"""The plan of `histomend auto`: it does what is sure and small, and leaves the rest alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from histomend.cli.app import app
from histomend.detect.found import Limits, gather
from histomend.detect.places import Places
from histomend.errors import SettingError
from histomend.image import write_image
from histomend.masks.artifact_classes import CLASSES
from histomend.methods import auto


def found(*regions: tuple[str, float, int]) -> object:
    """Return what was found: squares of a class, probability and side, in 40,000 um2 of tissue."""
    artifact, best = np.zeros((100, 100), np.uint8), np.full((100, 100), 2, np.uint8)
    for number, (kind, probability, side) in enumerate(regions):
        here = (slice(5, 5 + side), slice(5 + 30 * number, 5 + 30 * number + side))
        artifact[here] = round(255 * probability)
        best[here] = CLASSES.index(kind)
    places = Places((200, 200), 2.0, 1.0, CLASSES, artifact, best, np.ones((100, 100), bool))
    return gather(places, Limits(peak=0.6, smallest_field_um2=100))


def decided(*regions: tuple[str, float, int], odd: str | None = None, most: float = 0.05) -> object:
    steps, classes = auto._artifacts(found(*regions), odd, most, 0.8)  # type: ignore[arg-type]
    assert any(step.done for step in steps) == bool(classes)
    return classes


def test_only_classes_that_are_sure_in_every_region_are_restored() -> None:
    assert decided(("fold", 0.95, 10), ("ink", 0.9, 10)) == ("fold", "ink")
    assert decided(("fold", 0.95, 10), ("ink", 0.81, 10)) == ("fold", "ink")
    assert decided(("fold", 0.95, 10), ("ink", 0.99, 10), ("ink", 0.7, 10)) == ("fold",)


def test_too_much_an_odd_stain_and_nothing_are_left_alone() -> None:
    assert decided(("fold", 0.95, 25)) == ()  # 6 % of the tissue
    assert decided(("fold", 0.95, 25), most=0.1) == ("fold",)
    assert decided(("fold", 0.95, 10), odd="brown") == ()
    assert decided() == ()
    assert decided(("out_of_focus", 0.95, 20)) == ()


def test_settings_are_checked() -> None:
    with pytest.raises(SettingError, match="--sure"):
        auto.plan(np.zeros((64, 64, 3), np.uint8), sure=2)


def test_noise_and_large_pixels_are_told(shared_data: Path) -> None:
    from PIL import Image

    path = sorted((shared_data / "he_clean_val").glob("*.jpg"))[0]
    pixels = np.asarray(Image.open(path).convert("RGB"))[:256, :256]
    rng = np.random.default_rng(0)
    noisy = np.clip(pixels + rng.normal(0, 10, pixels.shape), 0, 255).astype(np.uint8)
    assert {step.what for step in auto.plan(pixels, mpp=0.5).steps} == {"restore"}
    assert "denoise" in {step.what for step in auto.plan(noisy, mpp=0.5).steps}
    assert "upscale" in {step.what for step in auto.plan(pixels, mpp=1.0).steps}


def test_the_verb_leaves_clean_images_unwritten_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_image(tmp_path / "in" / "a.png", np.full((80, 80, 3), 244, np.uint8), mpp=0.5)
    words = ["auto", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    assert row["restored"] == []
    assert "no artifact" in row["steps"][0]["why"]
    assert not (tmp_path / "out").exists()
