"""Blocks of a slide: they cover it, and where they meet one fades into the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histomend.tiles import slide_blocks
from histomend.tiles.slide_blocks import Block, Blocks


@settings(max_examples=30, deadline=None)
@given(st.integers(64, 700), st.integers(64, 700), st.sampled_from([1, 2, 3]), st.integers(1, 300))
def test_equal_blocks_join_to_what_they_are_of(
    width: int, height: int, factor: int, rows: int
) -> None:
    whole = np.random.default_rng(0).integers(
        0, 256, (height * factor, width * factor, 3), dtype=np.uint8
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slide_blocks, "BLOCK_PX", 256)
        blocks = Blocks((width, height), factor)
        covered = np.zeros((height, width), int)
        for block in blocks.all():
            x, y, w, h = block.core
            covered[y : y + h, x : x + w] += 1
            assert block.read[0] <= block.kept[0] <= x
            assert block.read[2] >= min(64, width)
        assert (covered == 1).all()

        def read(block: Block, start: int, stop: int) -> np.ndarray:
            x, y, w, h = (side * factor for side in block.kept)
            assert y <= start < stop <= y + h
            return whole[start:stop, x : x + w]

        for start in range(0, height * factor, rows):
            stop = min(start + rows, height * factor)
            joined = blocks.rows(start, stop, read, np.uint8)
            assert (joined == whole[start:stop]).all()


def test_what_differs_is_mixed_from_one_to_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slide_blocks, "BLOCK_PX", 200)
    blocks = Blocks((400, 100))

    def read(block: Block, start: int, stop: int) -> np.ndarray:
        return np.full((stop - start, block.kept[2], 3), 100 * block.column, np.uint8)

    line = blocks.rows(50, 51, read, np.uint8)[0, :, 0].astype(int)
    assert (line[:168] == 0).all()
    assert (line[232:] == 100).all()
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() <= 2
    assert line[200] == 51
