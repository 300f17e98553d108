"""Label and macro image of a slide that is written as a new pyramid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histomend import restore_slide
from histomend.masks import write_mask
from histomend.models import load_model
from histomend.slides import whole
from histomend.slides.pyramid import write_pyramid
from histomend.slides.whole import open_slide


@pytest.mark.parametrize("lossless", [True, False])
def test_images_beside_a_slide_are_kept_and_are_no_levels(
    tissue: np.ndarray, readers: dict[str, Any], tmp_path: Path, lossless: bool
) -> None:
    pixels = np.tile(tissue[:300], (1, 3, 1))
    label, macro = tissue[:90, :61], tissue[100:201, 3:300]
    plain, out = tmp_path / "plain.tif", tmp_path / "out.tif"
    options: dict[str, Any] = {"mpp": 0.5, "lossless": lossless}
    size = pixels.shape[1::-1]
    write_pyramid(plain, size, lambda start, stop: pixels[start:stop], **options)
    beside = {"label": label, "macro": macro}
    write_pyramid(out, size, lambda start, stop: pixels[start:stop], beside=beside, **options)
    for name, read in readers.items():
        before, after = read(plain), read(out)
        assert len(before) >= 2
        for one, other in zip(before, after, strict=False):
            assert (one == other).all(), name
        more = after[len(before) :]
        assert len(more) == (0 if name in ("openslide", "tiffslide") else 2)
        for found, expected in zip(more, (label, macro), strict=False):
            assert (found == expected).all()
    with tifffile.TiffFile(out) as file:
        assert [series.name for series in file.series][1:] == ["label", "macro"]
        assert len(file.series[0].levels) == 3


def test_the_macro_image_of_a_scanner_is_found(shared_data: Path) -> None:
    openslide = pytest.importorskip("openslide")
    path = shared_data / "slides" / "test3-TRITC_560.ndpi"
    with openslide.OpenSlide(str(path)) as opened:
        macro = np.asarray(opened.associated_images["macro"].convert("RGB"))
    with open_slide(path, sha256="known") as slide:
        (found,) = slide.reader.beside().items()
    assert found[0] == "macro"
    assert (found[1] == macro).all()


@pytest.mark.parametrize("no_label", [False, True])
def test_they_go_with_a_restored_slide_unless_they_are_not_to(
    make_slide: Any,
    tissue: np.ndarray,
    untrained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_label: bool,
) -> None:
    monkeypatch.setattr(whole._ScannedReader, "beside", lambda self: {"label": tissue[:40, :50]})
    monkeypatch.setattr(whole, "_stored", lambda *more: (None, "it is of another kind"))
    monkeypatch.setattr(whole, "_TiffReader", lambda path, size: _as_of_a_scanner(path))
    slide = make_slide(tmp_path / "a.tif", "deflate")
    mask = np.zeros((420, 500), bool)
    mask[200:210, 150:160] = True
    write_mask(tmp_path / "m.geojson", mask)
    model = load_model(untrained, "cpu")
    options: dict[str, Any] = {"preset": "generate", "steps": 1, "device": "cpu", "mpp": 0.5}
    files = slide, tmp_path / "out.tif", tmp_path / "m.geojson"
    restore_slide(*files, model=model, no_label=no_label, **options)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert [series.name for series in file.series][1:] == ([] if no_label else ["label"])
        if not no_label:
            assert (file.series[1].asarray() == tissue[:40, :50]).all()


def _as_of_a_scanner(path: Path) -> Any:
    openslide = pytest.importorskip("openslide")
    return whole._ScannedReader(openslide.OpenSlide(str(path)), path)
