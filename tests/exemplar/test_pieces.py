"""A piece says which pixel stands for which, in eight orientations."""

import numpy as np
import pytest

from histomend.exemplar.pieces import ORIENTATIONS, Piece, oriented, placed

EIGHT = range(ORIENTATIONS)


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_box_laid_where_it_was_found_copies_the_box(orientation: int) -> None:
    image = np.arange(30 * 40).reshape(30, 40)
    # What stands at (11, 7) in the image, brought back into the orientation of the hole.
    height, width = oriented(np.zeros((5, 8)), orientation).shape
    shown = image[11 : 11 + height, 7 : 7 + width]
    piece = placed(orientation, (5, 8), (20, 30), (11, 7))
    y, x = np.mgrid[20:25, 30:38]
    copied = image[piece.source(y, x)]
    assert (oriented(copied, orientation) == shown).all()


def test_the_eight_orientations_are_all_there_are() -> None:
    corner = np.arange(4).reshape(2, 2)
    assert len({oriented(corner, k).tobytes() for k in EIGHT}) == 8


@pytest.mark.parametrize("orientation", EIGHT)
def test_a_piece_seen_from_another_corner_copies_the_same_pixels(orientation: int) -> None:
    piece = Piece(orientation, 300, -40)
    moved = piece.seen_from(12, 7)
    y, x = np.mgrid[50:60, 80:90]
    before = piece.source(y, x)
    after = moved.source(y - 12, x - 7)
    assert (before[0] - 12 == after[0]).all()
    assert (before[1] - 7 == after[1]).all()


@pytest.mark.parametrize("orientation", EIGHT)
def test_axes_that_are_walked_backwards_are_known(orientation: int) -> None:
    piece = Piece(orientation, 0, 0)
    rows, columns = piece.source(np.array([0, 1]), np.array([0, 1]))
    assert piece.back == (int(rows[1] < 0), int(columns[1] < 0))
