"""Pieces and sources are shown in colours of their own."""

import numpy as np

from histomend.exemplar.picture import picture
from histomend.exemplar.pieces import Piece
from histomend.exemplar.provenance import COPIED, DRAWN, Part, Provenance


def test_copies_sources_and_what_was_drawn_can_be_told_apart() -> None:
    origin = np.full((10, 10), COPIED, np.uint16)
    origin[:, 5:] = COPIED + 2
    origin[0] = DRAWN
    shifts = np.zeros((2, 3, 3, 3), np.int16)
    part = Part((20, 20, 10, 10), origin, (Piece(0, 0, 20), Piece(0, 20, 0)), shifts, 8)
    shown = picture(Provenance((part,)), np.full((60, 60, 3), 25700, np.uint16)).astype(int)
    assert (shown[20, 20:30] == 255).all()
    assert (shown[0, 0] == 100).all()
    first, second = shown[25, 22], shown[25, 27]
    assert np.ptp(first) > 100
    assert np.abs(first - second).max() > 100
    # The sources, paler in the same colours.
    for copy, source in ((first, shown[25, 42]), (second, shown[45, 27])):
        assert 20 < np.ptp(source) < np.ptp(copy)
        assert source.argmax() == copy.argmax()
