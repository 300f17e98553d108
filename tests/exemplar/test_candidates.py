"""Tissue that fits is searched for among what is clean, in all orientations."""

import numpy as np
import pytest

from histomend.exemplar.candidates import aligned, blocks, places, search
from histomend.exemplar.tissue import describe

CELL = 4


def spotted(side: int) -> np.ndarray:
    """Every 32 px the same."""
    rng = np.random.default_rng(3)
    tile = rng.integers(90, 230, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    return np.tile(tile, (side // 32, side // 32, 1))


def test_nothing_is_proposed_that_is_not_clean_all_over() -> None:
    """The same tissue lies left and right; only the left may be copied."""
    pixels = spotted(256)
    hole = np.zeros((256, 256), bool)
    hole[104:136, 104:136] = True
    clean = ~hole
    clean[:, 100:] = False
    image = blocks(describe(pixels, ~hole, clean, CELL), hole)
    found = search(
        image, places(image), np.zeros(image.known.shape, np.float32), np.random.default_rng(0), 0.0
    )
    assert len(found) > 10
    for piece, place in found:
        rows, columns = np.nonzero(place.footprint)
        y, x = piece.source(rows + place.y, columns + place.x)
        assert image.clean[y, x].all()


@pytest.mark.parametrize("turns", range(4))
def test_a_piece_lies_by_the_pixel_where_its_surroundings_fit(turns: int) -> None:
    """The neighbourhood of the hole is there again, turned, and a few px off all blocks."""
    rng = np.random.default_rng(1)
    pixels = np.full((160, 360, 3), 240, np.uint8)
    around = rng.integers(60, 220, (24, 24, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    pixels[32:128, 32:128] = around
    pixels[35:131, 229:325] = np.rot90(around, turns)
    hole = np.zeros((160, 360), bool)
    hole[72:88, 72:88] = True
    clean = np.zeros_like(hole)
    clean[35:131, 229:325] = True
    tissue = describe(np.where(hole[..., None], 0, pixels).astype(np.uint8), ~hole, clean, CELL)
    image = blocks(tissue, hole)
    cost = np.zeros(image.known.shape, np.float32)
    pieces = aligned(tissue, search(image, places(image), cost, np.random.default_rng(0), 0.0))
    rows, columns = np.nonzero(hole)
    copies = [pixels[piece.source(rows, columns)] for piece in pieces]
    assert any((copy == pixels[hole]).all() for copy in copies)
