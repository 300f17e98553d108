"""The promises on slides from real scanners, whole levels in every reader that opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histomend.errors import HistomendError, UnreadableImageError, UnsupportedImageError
from histomend.slides.appended import AppendedSlide
from histomend.slides.compact import compact
from histomend.slides.undo import undo, verify

# JPEG 2000 is slow to decode; generated slides show it to the other readers.
SLIDES = {
    "CMU-1-Small-Region.svs": ["openslide", "tiffslide", "tifffile", "libtiff"],
    "TCGA-CR-7395-01A-01-TS1.svs": ["openslide"],
    "pdac-HE_40x_3072.ome.tif": ["openslide", "tifffile", "libtiff"],
}


@pytest.mark.parametrize("name", SLIDES)
def test_real_slides(
    shared_data: Path, name: str, blob: Any, readers: dict[str, Any], tmp_path: Path
) -> None:
    slide, target = shared_data / "slides" / name, tmp_path / name
    with AppendedSlide(slide, target) as out:
        width, height = out.levels[0].width, out.levels[0].height
        # Two in the tissue, and one that the edge of the slide cuts off.
        for x, y in ((900, 1000), (1303, 1417), (width - 200, height - 200)):
            out.put(*blob(out, x, y, side=200))
        sizes = {level.factor: (level.height, level.width) for level in out.levels}
        report = out.finish({"Restored by": "tests"})
    masks = {size: np.zeros(size, bool) for size in sizes.values()}
    for change in report.changes:
        x, y, w, h = change.region
        masks[sizes[change.factor]][y : y + h, x : x + w] = change.grown()
    read = 0
    for reader in (readers[each] for each in SLIDES[name]):
        before, after = reader(slide), reader(target)
        assert [level.shape for level in before] == [level.shape for level in after]
        for one, other in zip(before, after, strict=True):
            differs = (one != other).reshape(*one.shape[:2], -1).any(2)
            mask = masks.get(differs.shape[:2])
            assert not (differs if mask is None else differs & ~mask).any()
            read += mask is not None and bool(differs.any())
    assert read >= len(SLIDES[name])
    proof = verify(target, slide)
    assert proof.ok, proof.problems
    undo(target, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == slide.read_bytes()


def test_label_and_macro_of_a_real_slide_go(shared_data: Path, tmp_path: Path) -> None:
    openslide = pytest.importorskip("openslide")
    slide, small = shared_data / "slides" / "CMU-1-Small-Region.svs", tmp_path / "small.svs"
    with tifffile.TiffFile(slide) as file:
        strips = []
        for page in file.pages[2:4]:
            assert page.description.split("\n")[1].split(" ")[0] in ("label", "macro")
            for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                file.filehandle.seek(offset)
                strips.append(file.filehandle.read(count))
    assert compact(slide, small, drop=("label", "macro")).dropped == ("label", "macro")
    data = small.read_bytes()
    assert len(strips) == 94
    assert not any(strip in data for strip in strips)
    with openslide.OpenSlide(str(small)) as out:
        assert set(out.associated_images) == {"thumbnail"}
        assert out.dimensions == (2220, 2967)


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("test3-TRITC_560.ndpi", UnsupportedImageError),
        ("broken.svs", UnreadableImageError),
        ("camelyon_multiframe.dcm", UnreadableImageError),
    ],
)
def test_what_is_not_appended_is_refused_by_name(
    shared_data: Path, name: str, error: type[HistomendError], tmp_path: Path
) -> None:
    with pytest.raises(error, match=name):
        AppendedSlide(shared_data / "slides" / name, tmp_path / "out.svs")
    assert not list(tmp_path.iterdir())
