"""The structure of a TIFF, against tifffile's reading of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from histomend.errors import UnreadableImageError, UnsupportedImageError
from histomend.slides.tiff_levels import pyramid_levels
from histomend.slides.tiff_structure import SUB_DIRECTORIES, TiffStructure


def test_all_tags_are_those_that_tifffile_reads(slide: Path) -> None:
    with slide.open("rb") as file, tifffile.TiffFile(slide) as expected:
        tiff = TiffStructure(file, str(slide))
        assert tiff.big == expected.is_bigtiff
        assert tiff.byteorder == expected.byteorder
        assert [d.offset for d in tiff.chain] == [page.offset for page in expected.pages]
        for directory, page in zip(tiff.chain, expected.pages, strict=True):
            assert set(directory.entries) == {tag.code for tag in page.tags}
            for code in (256, 257, 259, 322, 324, 325):
                if code in page.tags:
                    values = np.atleast_1d(page.tags[code].value)
                    assert tiff.numbers(directory, code).tolist() == values.tolist()
            children = directory.children.get(SUB_DIRECTORIES, [])
            assert [child.offset for child in children] == list(page.subifds or ())
        text = tiff.text(tiff.chain[0], 270)
        assert (text or b"").decode() == expected.pages[0].description


def test_levels_are_found_wherever_they_hang(slide: Path) -> None:
    with slide.open("rb") as file:
        levels = pyramid_levels(TiffStructure(file, str(slide)))
    assert [(v.width, v.height, v.factor) for v in levels] == [
        (500, 420, 1),
        (250, 210, 2),
        (125, 105, 4),
    ]
    assert [len(v.offsets) for v in levels] == [56, 16, 4]
    assert levels[0].region(55) == (448, 384, 52, 36)
    assert list(levels[0].tiles((60, 60, 10, 3))) == [0, 1]
    assert list(levels[0].tiles((440, 400, 100, 100))) == [54, 55]


def test_stacks_are_no_pyramids(tissue: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, tissue[None].repeat(2, 0), tile=(64, 64), photometric="rgb")
    with (
        path.open("rb") as file,
        pytest.raises(UnsupportedImageError, match=r"stack\.tif.*z-stack"),
    ):
        pyramid_levels(TiffStructure(file, str(path)))


def test_strips_are_tiles_as_wide_as_the_image(tissue: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, tissue[:100], rowsperstrip=30, photometric="rgb", compression="zlib")
    with path.open("rb") as file:
        (level,) = pyramid_levels(TiffStructure(file, str(path)))
    assert (level.tile_width, level.tile_height, len(level.offsets)) == (512, 30, 4)
    assert level.shape(3) == (10, 512)


def test_a_part_of_a_file_is_read_with_another_header(make_slide: Any, tmp_path: Path) -> None:
    slide = make_slide(tmp_path / "a.svs")
    content = slide.read_bytes()
    path = tmp_path / "b"
    path.write_bytes(b"x" * 100 + b"y" * 8 + content[8:] + b"z" * 9)
    with path.open("rb") as file:
        tiff = TiffStructure(file, "b", start=100, length=len(content), header=content[:8])
        assert len(pyramid_levels(tiff)) == 3
        assert tiff.read(8, 50) == content[8:58]
        with pytest.raises(UnreadableImageError, match="beyond its end"):
            tiff.read(len(content) - 1, 2)
