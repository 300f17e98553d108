"""The gallery: its page names what was drawn, of somebody's own images too."""

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as PilImage

import histomend
from histomend.image import write_image

ROOT = Path(__file__).parents[1]


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the script, with verbs that cost nothing."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    module = import_module("gallery")

    def same(image: Any, **_: Any) -> Any:
        pixels = image if isinstance(image, np.ndarray) else image.pixels
        return SimpleNamespace(pixels=pixels, record=SimpleNamespace(figures={}))

    def larger(image: Any, *, scale: float, **_: Any) -> Any:
        return SimpleNamespace(pixels=image.pixels.repeat(int(scale), 0).repeat(int(scale), 1))

    def found(image: Any, **_: Any) -> Any:
        mask = np.zeros(image.pixels.shape[:2], bool)
        mask[20:40, 20:40] = True
        return mask

    for name, verb in {
        "restore": same, "denoise": same, "upscale": larger, "detect": found,
    }.items():  # fmt: skip
        monkeypatch.setattr(histomend, name, verb)
    return module


def pictures(page: Path) -> list[Path]:
    text = page.read_text(encoding="utf-8")
    assert "Not for diagnosis" in text
    return [
        page.parent / line.rpartition("(")[2].rstrip(")")
        for line in text.splitlines()
        if line.startswith("![")
    ]


def test_every_kind_of_damage_and_every_verb_has_its_row(gallery: Any, tmp_path: Path) -> None:
    page = tmp_path / "gallery.md"
    gallery.write(gallery.rows(), gallery.OURS, page, tmp_path / "pictures")
    shown = pictures(page)
    assert [path.stem for path in shown] == [
        "fold", "bubble", "ink", "debris", "dark_spot", "denoised", "enlarged",
    ]  # fmt: skip
    sizes = [np.asarray(PilImage.open(path)).shape for path in shown]
    assert set(sizes) == {(256 + 16, 3 * 256, 3)}
    # What is on the site is of the same rows.
    on_site = pictures(ROOT / "docs" / "gallery.md")
    assert [path.stem for path in on_site] == [path.stem for path in shown]
    assert all(path.is_file() for path in on_site)


def test_own_images_get_the_rows_that_suit_them(
    gallery: Any, tmp_path: Path, tissue: np.ndarray
) -> None:
    write_image(tmp_path / "colours.png", tissue[:300, :280], mpp=0.5)
    tifffile.imwrite(tmp_path / "grey.tif", tissue[:200, :200, 0].astype(np.uint16) * 200)
    names = []
    for name in ("colours.png", "grey.tif"):
        page = tmp_path / f"{name}.md"
        gallery.write(gallery.own_rows(tmp_path / name), "", page, tmp_path / "pictures")
        names += [path.stem for path in pictures(page)]
    assert names == [
        "colours-restored", "colours-enlarged", "colours-denoised", "grey-denoised",
    ]  # fmt: skip
    grey = np.asarray(PilImage.open(tmp_path / "pictures" / "grey-denoised.jpg"))
    assert np.ptp(grey[16:]) > 200, "16 bits are shown over their range"
